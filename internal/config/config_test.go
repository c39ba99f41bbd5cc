package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aabb9013/hangar/supervisor"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

var referenceEnv = environment(map[string]string{"MATH_TOKEN": "12345", "MATH_TTL": "600"})

func loadReference(t *testing.T) *Config {
	t.Helper()
	c, err := Load(filepath.Join("testdata", "reference.yaml"), referenceEnv)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestReferenceFileGivesSpecsInFileOrder(t *testing.T) {
	t.Parallel()
	c := loadReference(t)
	want := []supervisor.ServerSpec{
		{
			ID: "math", Mode: supervisor.ModeSubprocess, Dir: "/srv/math", Description: "Adds and multiplies",
			Command: []string{"python", "-m", "math_server", "--port", "8081", "--verbose", "true"},
			Env: map[string]string{
				"LOG_LEVEL": "debug", "WORKERS": "4", "COLOR": "yes", "RATIO": "0.50", "API_TOKEN": "12345", "EMPTY": "",
			},
			IdleTTL: 10 * time.Minute, HealthCheckInterval: 7500 * time.Millisecond, MaxFailures: 5, MaxConcurrency: 3,
			StartTimeout: 12 * time.Second, ReadOnly: true,
			Tools: []json.RawMessage{
				json.RawMessage(`{"name":"add","description":"Adds two numbers","inputSchema":{"type":"object","properties":{"a":{"type":"number"},"b":{"type":"number"}}}}`),
				json.RawMessage(`{"name":"noop","inputSchema":{"type":"object"}}`),
			},
		},
		{ID: "defaults", Mode: supervisor.ModeSubprocess, Command: []string{"uvx", "some-server"}, ReadOnly: true},
		{ID: "container", Mode: supervisor.ModeDocker, Image: "ghcr.io/example/tools:1.2", Volumes: []string{"./data:/data:ro"}, Network: "bridge", Limits: supervisor.Limits{Memory: 1 << 30, CPU: 0.5}},
		{ID: "podman", Mode: supervisor.ModeDocker, Image: "ghcr.io/example/tools:1.2", Network: "host", ReadOnly: true, Limits: supervisor.Limits{Memory: 512 << 20, CPU: 1}},
		{ID: "remote", Mode: supervisor.ModeRemote, Endpoint: "https://api.example.com/mcp", ReadOnly: true},
		{ID: "restricted", Mode: supervisor.ModeSubprocess, Command: []string{"npx", "-y", "everything"}, ReadOnly: true},
		{
			ID: "supervised", Mode: supervisor.ModeSubprocess, Command: []string{"uvx", "some-server"}, ReadOnly: true,
			Restart: supervisor.Permanent, MaxRestarts: 3, RestartPeriod: 30 * time.Second,
			Backoff:  supervisor.Backoff{Initial: 200 * time.Millisecond, Max: 5 * time.Second, ResetAfter: 20 * time.Second},
			Strategy: supervisor.RestForOne, DependsOn: []string{"math", "defaults"},
		},
		{ID: "inline", Mode: supervisor.ModeSubprocess, Command: []string{"python", "-m", "math_server"}, ReadOnly: true},
	}
	for i := range want {
		want[i].Provenance = supervisor.FromConfig
		want[i] = want[i].WithDefaults()
	}
	if diff := cmp.Diff(want, c.Servers, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("Servers (-want +got):\n%s", diff)
	}
	for i, d := range c.Definitions {
		if d.ID != c.Servers[i].ID {
			t.Errorf("Definitions[%d] is %s, Servers[%d] is %s", i, d.ID, i, c.Servers[i].ID)
		}
	}
}

func TestReferenceFileGivesSections(t *testing.T) {
	t.Parallel()
	c := loadReference(t)
	got := map[string]any{
		"execution":      [3]int{c.Execution.MaxConcurrency, c.Execution.DefaultServerConcurrency, c.Execution.MaxParallelStarts},
		"level":          c.Logging.Level,
		"json":           c.Logging.JSON,
		"log file":       c.Logging.File,
		"in memory":      c.EventStore.InMemory(),
		"group":          c.Groups[0].ID + " " + c.Groups[0].Strategy,
		"breaker":        c.Groups[0].Breaker.ResetTimeout,
		"members":        len(c.Groups[0].Members),
		"weight":         c.Groups[0].Members[0].Weight,
		"priority":       c.Groups[0].Members[0].Priority,
		"inline command": strings.Join(c.Groups[0].Members[1].Command, " "),
		"sources":        len(c.Discovery.Sources),
		"source mode":    c.Discovery.Sources[2].Mode,
		"opa timeout":    c.Auth.OPA.Timeout,
		"sample rate":    c.Observability.Langfuse.SampleRate,
		"role scope":     c.Auth.RoleAssignments[1].Scope,
		"reload":         c.ConfigReload.Interval,
		"remote headers": c.Definitions[4].HTTP.Headers["X-Team"],
		"docker cpu":     c.Definitions[2].Resources.CPU,
		"user":           c.Definitions[3].User,
	}
	want := map[string]any{
		"execution": [3]int{100, 20, 4}, "level": "WARNING", "json": true, "log file": "/var/log/hangar.log",
		"in memory": false, "group": "pool weighted_round_robin", "breaker": 30 * time.Second, "members": 2,
		"weight": 70, "priority": 1, "inline command": "python -m math_server", "sources": 4,
		"source mode": "additive", "opa timeout": 2 * time.Second, "sample rate": 0.1, "role scope": "global",
		"reload": 10 * time.Second, "remote headers": "7", "docker cpu": "0.5", "user": "1000",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestReferenceFileTellsWhatHasNoEffectAndWhatIsNotBuilt(t *testing.T) {
	t.Parallel()
	c := loadReference(t)
	var b strings.Builder
	b.WriteString("warnings\n")
	for _, w := range c.Warnings() {
		fmt.Fprintln(&b, w)
		if w.Unwrap() != nil || !w.Warning {
			t.Errorf("%v is not a mere warning", w)
		}
	}
	b.WriteString("\nunsupported\n")
	for _, u := range c.Unsupported() {
		fmt.Fprintln(&b, u)
		if !errors.Is(u, ErrNotBuilt) {
			t.Errorf("%v is not ErrNotBuilt", u)
		}
	}
	golden(t, "reference.golden", b.String())
}

func TestFileOfDefaultsHasThem(t *testing.T) {
	t.Parallel()
	c := mustParse(t, "mcp_servers: {a: {command: [x]}}", nil)
	if len(c.Warnings()) != 0 || len(c.Unsupported()) != 0 {
		t.Errorf("got warnings %v, unsupported %v, want none", c.Warnings(), c.Unsupported())
	}
	if c.Execution.MaxConcurrency != 50 || c.Execution.DefaultServerConcurrency != 10 || c.Execution.MaxParallelStarts != 0 {
		t.Errorf("got execution %+v", c.Execution)
	}
	if c.Logging.Level != "INFO" || c.Logging.JSON || !c.ConfigReload.Enabled || c.EventStore.InMemory() || c.Auth.Enabled {
		t.Errorf("got logging %+v, reload %+v, store %+v", c.Logging, c.ConfigReload, c.EventStore)
	}
	want := supervisor.ServerSpec{
		ID: "a", Mode: supervisor.ModeSubprocess, Command: []string{"x"}, ReadOnly: true, Provenance: supervisor.FromConfig,
	}.WithDefaults()
	if diff := cmp.Diff([]supervisor.ServerSpec{want}, c.Servers); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestEveryFaultOfAFileIsTold(t *testing.T) {
	t.Parallel()
	_, err := Load(filepath.Join("testdata", "bad.yaml"), environment(nil))
	if !errors.Is(err, ErrInvalid) {
		t.Fatalf("got %v, want ErrInvalid", err)
	}
	golden(t, "bad.golden", err.Error()+"\n")
	if strings.Contains(err.Error(), "hunter2") {
		t.Error("a secret is in the text of a fault")
	}
	var faults Faults
	errors.As(err, &faults)
	for i := 1; i < len(faults); i++ {
		if faults[i].Line < faults[i-1].Line {
			t.Errorf("fault %d of line %d comes after line %d", i, faults[i].Line, faults[i-1].Line)
		}
	}
}

func TestUnreadableFileNamesPathAndReason(t *testing.T) {
	t.Parallel()
	missing := filepath.Join(t.TempDir(), "missing.yaml")
	_, err := Load(missing, nil)
	if !errors.Is(err, ErrUnreadable) || !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), missing) {
		t.Errorf("missing file: got %v", err)
	}
	dir := t.TempDir()
	_, err = Load(dir, nil)
	if !errors.Is(err, ErrUnreadable) || !strings.Contains(err.Error(), dir) {
		t.Errorf("directory: got %v", err)
	}
}

func TestFileOverOneMebibyteIsRefused(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "big.yaml")
	if err := os.WriteFile(path, make([]byte, 1_100_000), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Load(path, nil)
	if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "larger than 1048576 bytes") {
		t.Errorf("got %v", err)
	}
}

func TestFaultTextHasWhatIsKnown(t *testing.T) {
	t.Parallel()
	for want, f := range map[string]Fault{
		"f: m":               {File: "f", Message: "m"},
		"f:3: m":             {File: "f", Line: 3, Message: "m"},
		"f:3:4: a.b: m":      {File: "f", Line: 3, Column: 4, Path: "a.b", Message: "m"},
		"f:3: warning: a: m": {File: "f", Line: 3, Path: "a", Message: "m", Warning: true},
	} {
		if got := f.Error(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// TestFileWithoutServersIsAcceptedIfItSaysSo: as in the reference, all of them
// may come by the API; and the export of an empty fleet must load.
func TestFileWithoutServersIsAcceptedIfItSaysSo(t *testing.T) {
	t.Parallel()
	c := mustParse(t, "mcp_servers: {}\n", nil)
	e, err := c.Export()
	if err != nil || e.YAML != "mcp_servers: {}\n" {
		t.Fatalf("%q, %v", e.YAML, err)
	}
	if e, err = Default().Export(); err != nil {
		t.Fatal(err)
	}
	mustParse(t, e.YAML, nil)
}

// TestToolsOfTheReferenceHaveTheirSchema: it reads two spellings.
func TestToolsOfTheReferenceHaveTheirSchema(t *testing.T) {
	t.Parallel()
	c := mustParse(t, oneServer("tools: [{name: a, input_schema: {type: object, required: [x]}, output_schema: {type: object}}, {name: b, inputSchema: {type: object, title: B}, input_schema: {}}]"), nil)
	got := fmt.Sprintf("%s %s", c.Servers[0].Tools[0], c.Servers[0].Tools[1])
	want := `{"name":"a","inputSchema":{"type":"object","required":["x"]},"outputSchema":{"type":"object"}} {"name":"b","inputSchema":{"type":"object","title":"B"},"input_schema":{}}`
	if got != want {
		t.Errorf("got %s", got)
	}
}

func TestCanaryOfTheReference(t *testing.T) {
	t.Parallel()
	const group = "mcp_servers:\n  s: {command: [x]}\n  g: {mode: group, members: [{id: s}], canary: {member: s, %s}}\n"
	c := mustParse(t, fmt.Sprintf(group, "split_pct: 20"), nil)
	if got := c.GroupSpecs[0].Canary; got == nil || got.Percent != 20 || len(c.Warnings()) != 0 {
		t.Errorf("got %+v, %v", got, c.Warnings())
	}
	if f := oneFault(t, fmt.Sprintf(group, "split_pct: 20, percent: 30"), nil); f.Path != "mcp_servers.g.canary.split_pct" {
		t.Errorf("got %v", f)
	}
	if u := mustParse(t, fmt.Sprintf(group, "pinned_tenants: {t: s}"), nil).Unsupported(); len(u) != 1 || u[0].Path != "mcp_servers.g.canary.pinned_tenants" {
		t.Errorf("got %v", u)
	}
}
