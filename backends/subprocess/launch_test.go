package subprocess

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/aabb9013/hangar/backends"
)

// output runs a command line to its end and returns its stderr.
func output(t *testing.T, b *Backend, edit func(*backends.LaunchSpec)) []string {
	t.Helper()
	e := make(ends, 1)
	spec := e.spec()
	edit(&spec)
	launch(t, b, spec)
	await(t, e)
	var lines []string
	for _, line := range spec.Log.Tail(1000) {
		lines = append(lines, line.Text)
	}
	return lines
}

func TestEnvironmentOfAChild(t *testing.T) {
	t.Setenv("HANGAR_TEST_PLAIN", "inherited")
	t.Setenv("HANGAR_TEST_OVER", "inherited")
	t.Setenv("HANGAR_TEST_API_KEY", "secret")
	t.Setenv("github_token", "secret")
	t.Setenv(RunTagEnv, "of the parent")
	b := open(t, Options{})
	env := output(t, b, func(s *backends.LaunchSpec) {
		s.Command = []string{"/bin/sh", "-c", "env >&2"}
		s.RunTag = "run-1"
		s.Env = map[string]string{"HANGAR_TEST_OVER": "declared", "MY_TOKEN": "declared", RunTagEnv: "forged", "EMPTY": ""}
	})
	for _, want := range []string{"HANGAR_TEST_PLAIN=inherited", "HANGAR_TEST_OVER=declared", "MY_TOKEN=declared", RunTagEnv + "=run-1", "EMPTY="} {
		if !slices.Contains(env, want) {
			t.Errorf("%s is missing", want)
		}
	}
	for _, line := range env {
		if strings.Contains(line, "secret") || strings.Contains(line, "forged") || strings.Contains(line, "of the parent") {
			t.Errorf("the child got %s", line)
		}
	}
	// Every name once: programs differ in which of two they take.
	declared := b.environ(backends.LaunchSpec{RunTag: "r", Env: map[string]string{"HANGAR_TEST_OVER": "x", "PATH": "/bin"}})
	seen := make(map[string]bool)
	for _, kv := range declared {
		name, _, _ := strings.Cut(kv, "=")
		if seen[name] {
			t.Errorf("%s twice", name)
		}
		seen[name] = true
	}
}

func TestSecretNamesAreNotInherited(t *testing.T) {
	for name, want := range map[string]bool{
		"AWS_SECRET_ACCESS_KEY": true, "GITHUB_TOKEN": true, "OPENAI_API_KEY": true, "SSH_AUTH_SOCK": true, "db_password": true,
		"SIGNING_KEY": true, "PATH": false, "HOME": false, "LANG": false, "KEYBOARD": false, "MONKEY": false,
	} {
		if got := looksSecret(name); got != want {
			t.Errorf("looksSecret(%s) = %v", name, got)
		}
	}
}

func TestArgumentsPassWithoutAShell(t *testing.T) {
	args := []string{"a b", "$HOME", "`id`", "*", "'\"", ";exit", "", "-n", "ż"}
	got := output(t, open(t, Options{}), func(s *backends.LaunchSpec) {
		s.Command = append([]string{"/bin/sh", "-c", `for a in "$@"; do printf '<%s>\n' "$a" >&2; done`, "name"}, args...)
	})
	var want []string
	for _, a := range args {
		want = append(want, "<"+a+">")
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestProgramIsFoundAsAShellWould(t *testing.T) {
	dir := t.TempDir()
	for _, sub := range []string{"bin", "other"} {
		if err := os.Mkdir(filepath.Join(dir, sub), 0o755); err != nil {
			t.Fatal(err)
		}
		script := "#!/bin/sh\necho " + sub + " in $(basename $PWD) >&2\n"
		if err := os.WriteFile(filepath.Join(dir, sub, "program"), []byte(script), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	b := open(t, Options{})
	for name, edit := range map[string]func(*backends.LaunchSpec){
		"bin in other": func(s *backends.LaunchSpec) {
			s.Command, s.Dir = []string{"../bin/program"}, filepath.Join(dir, "other")
		},
		"other in bin": func(s *backends.LaunchSpec) {
			s.Command, s.Dir = []string{"program"}, filepath.Join(dir, "bin")
			s.Env = map[string]string{"PATH": filepath.Join(dir, "other") + ":/bin:/usr/bin"}
		},
	} {
		if got := output(t, b, edit); !slices.Equal(got, []string{name}) {
			t.Errorf("got %q, want %q", got, name)
		}
	}
}
