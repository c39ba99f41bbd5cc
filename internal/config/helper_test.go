package config

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files")

// environment is a getenv over a map.
func environment(vars map[string]string) func(string) (string, bool) {
	return func(name string) (string, bool) {
		value, ok := vars[name]
		return value, ok
	}
}

// mustParse returns the config of a valid text.
func mustParse(t *testing.T, text string, vars map[string]string) *Config {
	t.Helper()
	c, err := Parse("hangar.yaml", []byte(text), environment(vars))
	if err != nil {
		t.Fatalf("Parse: %v\n%s", err, text)
	}
	return c
}

// faultsOf returns the faults of an invalid text, warnings left out.
func faultsOf(t *testing.T, text string, vars map[string]string) Faults {
	t.Helper()
	_, err := Parse("hangar.yaml", []byte(text), environment(vars))
	if err == nil {
		return nil
	}
	if !errors.Is(err, ErrInvalid) {
		t.Fatalf("error %v is not ErrInvalid", err)
	}
	var all, faults Faults
	if !errors.As(err, &all) {
		t.Fatalf("error of type %T, want Faults", err)
	}
	for _, f := range all {
		if !f.Warning {
			faults = append(faults, f)
		}
	}
	return faults
}

// oneFault fails unless the text has exactly one fault.
func oneFault(t *testing.T, text string, vars map[string]string) Fault {
	t.Helper()
	faults := faultsOf(t, text, vars)
	if len(faults) != 1 {
		t.Fatalf("got %d faults, want 1: %v\n%s", len(faults), faults, text)
	}
	return faults[0]
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(got, "\n")); diff != "" {
		t.Errorf("%s differs (-want +got); run with -update if the change is meant:\n%s", name, diff)
	}
}

// servers wraps the body of one server into a file.
func oneServer(body string) string {
	return "mcp_servers:\n  s:\n    command: [x]\n" + indent(body, "    ")
}

func indent(text, by string) string {
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	return by + strings.Join(lines, "\n"+by) + "\n"
}
