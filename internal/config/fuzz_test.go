package config

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/aabb9013/hangar/supervisor"
)

// FuzzParse: any text gives either a config whose every spec is valid, or
// faults, at lines the text has; never a panic, never for long.
func FuzzParse(f *testing.F) {
	for _, name := range []string{"reference.yaml", "bad.yaml"} {
		data, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	for _, h := range hostile() {
		if len(h.text) < 4096 {
			f.Add([]byte(h.text))
		}
	}
	env := environment(map[string]string{"A": "a", "MATH_TTL": "600", "MATH_TOKEN": "${A}"})
	f.Fuzz(func(t *testing.T, data []byte) {
		start := spent(t)
		c, err := Parse("f", data, env)
		if took := spent(t) - start; took > answerWithin {
			t.Errorf("took %v", took)
		}
		if err != nil {
			var faults Faults
			if c != nil || !errors.Is(err, ErrInvalid) || !errors.As(err, &faults) || len(faults) == 0 {
				t.Fatalf("got %v and %v", c, err)
			}
			return
		}
		if len(c.Servers) != len(c.Definitions) {
			t.Errorf("%d servers, %d definitions", len(c.Servers), len(c.Definitions))
		}
		for _, s := range c.Servers {
			if err := s.Validate(); err != nil || s.Provenance != supervisor.FromConfig {
				t.Errorf("server %q: %v", s.ID, err)
			}
		}
		c.Unsupported()
		c.Warnings()
	})
}
