package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func writeFile(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestConfigCommandsAnswerWithTextAndExitCode(t *testing.T) {
	good := writeFile(t, "good.yaml", "mcp_servers:\n  a: {command: [x], env: {TOKEN: hunter2}, idle_tt1_s: 3}\n")
	same := writeFile(t, "same.yaml", "# the same\nmcp_servers:\n  a:\n    env: {'TOKEN': \"hunter2\"}\n    idle_ttl_s: 300\n    command: [x]\n    mode: subprocess\n")
	other := writeFile(t, "other.yaml", "mcp_servers:\n  a: {command: [x], env: {TOKEN: hunter3}}\n  b: {command: [y]}\n")
	bad := writeFile(t, "bad.yaml", "mcp_servers:\n  a: {command: 3}\n")
	unbuilt := writeFile(t, "unbuilt.yaml", "mcp_servers:\n  a: {command: [x]}\napprovals: {enabled: true}\n")
	missing := filepath.Join(t.TempDir(), "missing.yaml")
	for _, c := range []struct {
		name           string
		args           []string
		code           int
		stdout, stderr string // parts
	}{
		{"check", []string{"config", "check", good}, 0, "1 servers, 0 groups, 1 warnings", "did you mean idle_ttl_s"},
		{"check by flag", []string{"-c", good, "config", "check"}, 0, "1 servers", ""},
		{"check by variable", []string{"MCP_CONFIG=" + good, "config", "check"}, 0, "1 servers", ""},
		{"check strictly", []string{"HANGAR_CONFIG_STRICT=1", "config", "check", good}, 1, "", "unknown key"},
		{"check bad", []string{"config", "check", bad}, 1, "", "bad.yaml:2:16: mcp_servers.a.command"},
		{"check unbuilt", []string{"config", "check", unbuilt}, 1, "", "unbuilt.yaml:3:13"},
		{"check missing", []string{"config", "check", missing}, 2, "", "missing.yaml"},
		{"check a directory", []string{"config", "check", os.TempDir()}, 2, "", "next: name a file"},
		{"check nothing", []string{"config", "check"}, 1, "", "--config or MCP_CONFIG"},
		{"check two", []string{"config", "check", good, bad}, 1, "", "takes one file"},
		{"same", []string{"config", "diff", good, same}, 0, "", ""},
		{"diff", []string{"config", "diff", good, other}, 1, "+  b:\n", ""},
		{"diff bad", []string{"config", "diff", good, bad}, 2, "", "bad.yaml:2:16"},
		{"diff missing", []string{"config", "diff", good, missing}, 2, "", "missing.yaml"},
		{"diff one", []string{"config", "diff", good}, 2, "", "takes two files"},
		{"export", []string{"config", "export", good}, 0, "TOKEN: ${A_TOKEN}\n", "mcp_servers.a.env.TOKEN became ${A_TOKEN}"},
		{"export bad", []string{"config", "export", bad}, 1, "", "bad.yaml:2:16"},
		{"schema", []string{"config", "schema"}, 0, `"title": "Configuration of Hangar"`, ""},
		{"no subcommand", []string{"config"}, 0, "check", ""},
		{"wrong subcommand", []string{"config", "chek"}, 1, "", "chek"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var env []string
			for strings.Contains(c.args[0], "=") {
				env, c.args = append(env, c.args[0]), c.args[1:]
			}
			p := launch(t, env, c.args...)
			if code := p.exit(); code != c.code {
				t.Errorf("exit code %d, want %d", code, c.code)
			}
			stdout, stderr := p.stdout.String(), p.stderr.String()
			if !strings.Contains(stdout, c.stdout) || !strings.Contains(stderr, c.stderr) || strings.Contains(stdout+stderr, "hunter") {
				t.Errorf("want %q on stdout, %q on stderr, and no secret", c.stdout, c.stderr)
			}
			if c.code == 1 && c.stderr == "" && stderr != "" {
				t.Errorf("an answer is told as a failure: %s", stderr)
			}
			if c.name == "same" && stdout != "" {
				t.Error("files of one meaning differ")
			}
			if c.name == "schema" && !json.Valid([]byte(stdout)) {
				t.Error("no JSON")
			}
		})
	}
}

// TestConfigurationIsFoundWhereTheReferenceLooks: that of the user before that of
// the working directory, and none of them if one is named.
func TestConfigurationIsFoundWhereTheReferenceLooks(t *testing.T) {
	home := t.TempDir()
	t.Setenv("HOME", home)
	t.Chdir(t.TempDir())
	if got := findConfig(); got != "" {
		t.Errorf("found %q where there is none", got)
	}
	if err := os.Mkdir("config.yaml", 0o700); err != nil {
		t.Fatal(err)
	}
	if got := findConfig(); got != "" {
		t.Errorf("found the directory %q", got)
	}
	user := filepath.Join(home, ".config", "mcp-hangar", "config.yaml")
	if err := os.MkdirAll(filepath.Dir(user), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"config.yaml", user} {
		if err := os.RemoveAll(path); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte("mcp_servers: {a: {command: [x]}}"), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := findConfig(); got != path {
			t.Errorf("found %q, want %q", got, path)
		}
	}
	p := launch(t, []string{"HOME=" + home}, "config", "check")
	if code := p.exit(); code != 0 || !strings.Contains(p.stdout.String(), user+": 1 servers") {
		t.Errorf("exit code %d\n%s%s", code, &p.stdout, &p.stderr)
	}
	named := writeFile(t, "named.yaml", "mcp_servers: {}")
	p = launch(t, []string{"HOME=" + home}, "config", "check", "-c", named)
	if code := p.exit(); code != 0 || !strings.Contains(p.stdout.String(), named+": 0 servers") {
		t.Errorf("exit code %d\n%s%s", code, &p.stdout, &p.stderr)
	}
}
