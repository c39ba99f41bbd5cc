package config

import (
	"strings"
	"testing"
)

// dependents is a file of servers, each with what it depends on.
func dependents(needs ...string) string {
	var b strings.Builder
	b.WriteString("mcp_servers:\n")
	for _, entry := range needs {
		id, list, _ := strings.Cut(entry, " ")
		b.WriteString("  " + id + ": {command: [x], depends_on: [" + list + "]}\n")
	}
	return b.String()
}

func TestDependenciesOfAFile(t *testing.T) {
	t.Parallel()
	const group = "  g: {mode: group, members: [{id: a}]}\n"
	for _, tt := range []struct{ name, text, want string }{
		{"none", dependents("a "), ""},
		{"later in the file", dependents("a b", "b c", "c "), ""},
		{"unknown", dependents("a ", "b a, c"), "hangar.yaml:3:21: mcp_servers.b.depends_on: no server c is defined in mcp_servers"},
		{"a group", dependents("a ", "b g") + group, "hangar.yaml:3:21: mcp_servers.b.depends_on: g is a group; a server depends on servers"},
		{"itself", dependents("a a"), "mcp_servers.a.depends_on: depends_on names the server itself"},
		{"twice", dependents("a ", "b a, a"), `mcp_servers.b.depends_on: depends_on names "a" twice`},
		{"no id", dependents("a 'b c'"), `depends_on entry 0, "b c", is not the id of a server`},
		{
			"circle", dependents("a ", "b c", "c d", "d a, b"),
			"hangar.yaml:3:21: mcp_servers.b.depends_on: depends_on goes in a circle: b -> c -> d -> b; take one of these dependencies out",
		},
	} {
		faults := faultsOf(t, tt.text, nil)
		switch {
		case tt.want == "" && len(faults) == 0:
		case len(faults) != 1 || tt.want == "" || !strings.Contains(faults[0].Error(), tt.want):
			t.Errorf("%s: got %v, want one fault with %q", tt.name, faults, tt.want)
		}
	}
}

func TestEveryMistakeOfDependenciesIsTold(t *testing.T) {
	t.Parallel()
	faults := faultsOf(t, dependents("a z", "b c", "c b"), nil)
	if len(faults) != 2 || !strings.Contains(faults[0].Error(), "no server z") || !strings.Contains(faults[1].Error(), "b -> c -> b") {
		t.Errorf("%v", faults)
	}
}

func TestBackoffFaultsStandAtTheirKey(t *testing.T) {
	t.Parallel()
	faults := faultsOf(t, oneServer("backoff: {initial_s: 5, max_s: 1}"), nil)
	if len(faults) != 1 || faults[0].Path != "mcp_servers.s.backoff" || faults[0].Line != 4 {
		t.Errorf("%v", faults)
	}
	c := mustParse(t, oneServer("backoff: {initial_s: 60, jitter: 0}"), nil)
	if b := c.Servers[0].Backoff; b.Max != b.Initial || b.Jitter != 0 {
		t.Errorf("%+v", b)
	}
}
