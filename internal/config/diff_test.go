package config

import (
	"fmt"
	"strings"
	"testing"

	"github.com/aabb9013/hangar/supervisor"
)

func TestDiffGoesByMeaning(t *testing.T) {
	t.Parallel()
	const base = "mcp_servers:\n  a: {command: [x, y], env: {A: b}}\n"
	for _, c := range []struct{ name, after, keys string }{
		{"spelling", "mcp_servers: {a: {args: [y], command: [x], env: {A: 'b'}, idle_ttl_s: 300.0, mode: SUBPROCESS, tools: [], volumes: []}}", ""},
		{"live", "mcp_servers: {a: {command: [x, y], env: {A: b}, description: d, idle_ttl_s: 1, max_concurrency: 3}}", "[description idle_ttl_s max_concurrency] false"},
		{"command", "mcp_servers: {a: {command: [x], env: {A: b}}}", "[command] true"},
		{"env and live", "mcp_servers: {a: {command: [x, y], env: {A: c}, description: d}}", "[env description] true"},
		{"opaque", "mcp_servers: {a: {command: [x, y], env: {A: b}, build: {x: 1}}}", "[build] true"},
	} {
		p := Diff(mustParse(t, base, nil), mustParse(t, c.after, nil))
		got := ""
		if len(p.Changed) > 0 {
			got = fmt.Sprint(p.Changed[0].Keys, p.Changed[0].Restart)
		}
		if got != c.keys || p.Empty() != (c.keys == "") {
			t.Errorf("%s: got %+v, want %s", c.name, p, c.keys)
		}
	}
}

func TestDiffListsServersGroupsAndSections(t *testing.T) {
	t.Parallel()
	before := mustParse(t, `
mcp_servers:
  a: {command: [x]}
  b: {command: [x]}
  c: {mode: remote, endpoint: 'http://h', auth: {type: bearer, token: t}}
  g: {mode: group, members: [{id: a}]}
  h: {mode: group}
logging: {level: INFO}
auth: {storage: {driver: sqlite, dsn: x}}
`, nil)
	after := mustParse(t, `
mcp_servers:
  d: {command: [x]}
  b: {command: [x]}
  c: {mode: remote, endpoint: 'http://h', auth: {token: u, type: bearer}}
  g: {mode: group, members: [{id: d}]}
  i: {mode: group}
logging: {level: error}
auth: {storage: {driver: sqlite, dsn: y}}
execution: {max_concurrency: 3}
health: {enabled: false}
`, nil)
	got := fmt.Sprintf("%+v", Diff(before, after))
	const want = "{Added:[d] Removed:[a] Unchanged:[b] Changed:[{ID:c Keys:[auth] Restart:true}] AddedGroups:[i] RemovedGroups:[h] ChangedGroups:[g] UnchangedGroups:[] " +
		"Sections:[execution.max_concurrency logging.level auth.storage.*]}"
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if p := Diff(before, before); !p.Empty() {
		t.Errorf("a configuration differs from itself: %+v", p)
	}
}

// TestAdoptTakesServersAndWhatWasApplied: the rest is still what runs, so the
// next comparison tells it again.
func TestAdoptTakesServersAndWhatWasApplied(t *testing.T) {
	t.Parallel()
	vars := map[string]string{"L": "DEBUG", "C": "7", "TTL": "60"}
	before := mustParse(t, "mcp_servers: {a: {command: [x]}}\nlogging: {file: /var/log/a}", vars)
	after := mustParse(t, "mcp_servers:\n  b:\n    command: [y]\n    idle_ttl_s: ${TTL}\nlogging: {level: '${L}', file: /var/log/b}\nexecution:\n  max_concurrency: ${C}\n", vars)
	now := before.Adopt(after, []string{"execution.max_concurrency", "logging.level"})
	if got := Diff(now, after); len(got.Added)+len(got.Changed)+len(got.Removed) != 0 || fmt.Sprint(got.Sections) != "[logging.file]" {
		t.Errorf("got %+v", got)
	}
	e, err := now.Export()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"level: ${L}\n", "file: /var/log/a\n", "max_concurrency: ${C}\n", "idle_ttl_s: ${TTL}\n"} {
		if !strings.Contains(e.YAML, want) {
			t.Errorf("%q is missing in\n%s", want, e.YAML)
		}
	}
	if before.Execution.MaxConcurrency != 50 || len(before.Definitions) != 1 || before.Logging.Level != "INFO" {
		t.Errorf("the old configuration changed: %+v", before.Execution)
	}
}

func TestConfigurationOfAFleetHasTheServersOfFileAndAPI(t *testing.T) {
	t.Parallel()
	c := mustParse(t, "mcp_servers:\n  a: {command: [x], canary: {k: v}}\n  b: {command: [x]}\n", nil)
	changed := c.Servers[0]
	changed.Description = "changed"
	made := supervisor.ServerSpec{ID: "made", Mode: supervisor.ModeRemote, Endpoint: "http://h", ReadOnly: true, Provenance: supervisor.FromAPI}.WithDefaults()
	found, attached := made, made
	found.ID, found.Provenance = "found", supervisor.FromDiscovery
	attached.ID, attached.Provenance, attached.Mode = "attached", supervisor.FromEmbedder, supervisor.ModeInProcess
	now := c.WithSpecs([]supervisor.ServerSpec{changed, made, found, attached})
	p := Diff(c, now)
	if got := fmt.Sprint(p.Added, p.Removed, p.Changed, p.Unchanged); got != "[made] [b] [{a [description] false}] []" {
		t.Errorf("got %s", got)
	}
	text, err := encode(now.tree(starred{}))
	if err != nil {
		t.Fatal(err)
	}
	const want = `mcp_servers:
  a:
    canary:
      k: v
    command:
      - x
    description: changed
    mode: subprocess
  made:
    endpoint: http://h
    mode: remote
`
	if text != want {
		t.Errorf("got\n%s", text)
	}
}

// TestTextDiffIsEmptyForOneMeaning: what is written differently and means the
// same is no difference.
func TestTextDiffIsEmptyForOneMeaning(t *testing.T) {
	t.Parallel()
	vars := map[string]string{"DIR": "/srv/a", "TTL": "60"}
	const text = `mcp_servers:
  a:
    command: [x, y]
    cwd: /srv/a
    idle_ttl_s: 60
    network: bridge
  g: {mode: group, members: [{id: own, command: [x, y], network: bridge}]}
`
	before := mustParse(t, text, vars)
	for name, other := range map[string]string{
		"variables": strings.NewReplacer("/srv/a", "${DIR}", "60", "${TTL}").Replace(text),
		"args":      strings.NewReplacer("command: [x, y]\n", "command: [x]\n    args: [y]\n", "command: [x, y],", "command: [x], args: [y],").Replace(text),
		"network":   strings.ReplaceAll(text, "network:", "network_mode:"),
		"defaults":  text + "logging: {level: info}\nexecution:\ndiscovery: {sources: []}\n",
	} {
		after := mustParse(t, other, vars)
		if p := Diff(before, after); !p.Empty() {
			t.Errorf("%s: %+v", name, p)
		}
		if d, err := TextDiff("a", "b", before, after); err != nil || d != "" {
			t.Errorf("%s: %v\n%s", name, err, d)
		}
	}
}
