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
	for _, text := range []string{secretsFile, oneServer("args: ['${A}', 'x${A}y', \"${NONE:-d}\"]\nidle_ttl_s: ${MATH_TTL}\ncanary: {k: '${A}', n: ${MATH_TTL}}")} {
		f.Add([]byte(text))
	}
	env := environment(map[string]string{"A": "a", "TOKEN": "hunter2", "MATH_TTL": "600", "MATH_TOKEN": "${A}"})
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
		exportsTheSame(t, c, env)
	})
}

// exportsTheSame: what is exported loads, with its variables set, means the same,
// and is exported the same again.
func exportsTheSame(t *testing.T, c *Config, env func(string) (string, bool)) {
	t.Helper()
	first, err := c.Export()
	if err != nil {
		t.Fatal(err)
	}
	vars := make(map[string]string)
	c.tree(recording{newReferences(c), vars})
	back, err := Parse("export", []byte(first.YAML), func(name string) (string, bool) {
		if value, ok := vars[name]; ok {
			return value, true
		}
		return env(name)
	})
	if err != nil {
		t.Fatalf("the export does not load: %v\n%s", err, first.YAML)
	}
	if p := Diff(c, back); !p.Empty() {
		t.Errorf("the export means something else: %+v\n%s", p, first.YAML)
	}
	second, err := back.Export()
	if err != nil || first.YAML != second.YAML {
		t.Errorf("exported again: %v\n%s\nwas\n%s", err, second.YAML, first.YAML)
	}
}
