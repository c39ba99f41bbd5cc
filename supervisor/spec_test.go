package supervisor

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestValidateID(t *testing.T) {
	t.Parallel()
	tests := []struct {
		id   string
		want string // part of the error, "" if valid
	}{
		{"a", ""},
		{"9", ""},
		{"-", ""},
		{"github-mcp_2", ""},
		{"_leading", ""},
		{"CamelCase", ""},
		{strings.Repeat("x", MaxIDLength), ""},
		{"", "1 to 64 characters, this one has 0"},
		{strings.Repeat("x", MaxIDLength+1), "1 to 64 characters, this one has 65"},
		{"a b", "only letters, digits"},
		{"a/b", "only letters, digits"},
		{"a.b", "only letters, digits"},
		{"..", "only letters, digits"},
		{"a\x00b", "only letters, digits"},
		{"a\n", "only letters, digits"},
		{strings.Repeat("é", 40), "only letters, digits"},
		{"a__b", `must not contain "__"`},
		{"__", `must not contain "__"`},
		{"a_", `end with "_"`},
	}
	for _, tt := range tests {
		checkError(t, fmt.Sprintf("ValidateID(%q)", tt.id), ValidateID(tt.id), tt.want)
	}
}

// checkError: want is part of the text, and every fault is an ErrInvalidSpec.
func checkError(t *testing.T, what string, err error, want string) {
	t.Helper()
	switch {
	case want == "" && err != nil:
		t.Errorf("%s = %v, want no error", what, err)
	case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
		t.Errorf("%s = %v, want an error with %q", what, err, want)
	case err != nil && !errors.Is(err, ErrInvalidSpec):
		t.Errorf("%s = %v, which is not ErrInvalidSpec", what, err)
	case err != nil && len(err.Error()) > 1000:
		t.Errorf("%s: the error has %d bytes", what, len(err.Error()))
	}
}

func TestWithDefaults(t *testing.T) {
	t.Parallel()
	defaults := ServerSpec{
		IdleTTL:             300 * time.Second,
		HealthCheckInterval: 60 * time.Second,
		StartTimeout:        30 * time.Second,
		MaxFailures:         3,
		Restart:             Transient,
		MaxRestarts:         5,
		RestartPeriod:       60 * time.Second,
		Backoff:             Backoff{Initial: 100 * time.Millisecond, Max: 30 * time.Second, Jitter: 0.2, ResetAfter: 60 * time.Second},
		Strategy:            OneForOne,
		Network:             "none",
		Provenance:          FromAPI,
	}
	if diff := cmp.Diff(defaults, ServerSpec{}.WithDefaults()); diff != "" {
		t.Errorf("defaults of the empty spec (-want +got):\n%s", diff)
	}
	full := ServerSpec{
		ID: "a", Mode: ModeSubprocess, Command: []string{"x"}, Network: "host", Provenance: FromConfig,
		IdleTTL: time.Second, HealthCheckInterval: 5 * time.Second, MaxFailures: 9, StartTimeout: time.Minute,
		Restart: Temporary, MaxRestarts: 1, RestartPeriod: time.Second, Strategy: AllForOne, DependsOn: []string{"b"},
		Backoff: Backoff{Initial: time.Second, Max: time.Minute, ResetAfter: time.Hour},
	}
	if diff := cmp.Diff(full, full.WithDefaults()); diff != "" {
		t.Errorf("a full spec changed (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(defaults, defaults.WithDefaults()); diff != "" {
		t.Errorf("WithDefaults twice (-once +twice):\n%s", diff)
	}
	for given, want := range map[Mode]Mode{
		"container": ModeDocker, "podman": ModeDocker, ModeDocker: ModeDocker,
		ModeRemote: ModeRemote, ModeInProcess: ModeInProcess, "other": "other", "": "",
	} {
		if got := (ServerSpec{Mode: given}).WithDefaults().Mode; got != want {
			t.Errorf("mode %q became %q, want %q", given, got, want)
		}
	}
}

func TestValidate(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 40<<10)
	tests := []struct {
		name   string
		change func(*ServerSpec)
		want   string
	}{
		{"valid subprocess", func(*ServerSpec) {}, ""},
		{"valid docker", func(s *ServerSpec) { s.Mode, s.Image = ModeDocker, "alpine/x:1" }, ""},
		{"valid remote", func(s *ServerSpec) { s.Mode, s.Endpoint = ModeRemote, "https://x/mcp" }, ""},
		{"valid in process", func(s *ServerSpec) { s.Mode, s.Command = ModeInProcess, nil }, ""},
		{"bad id", func(s *ServerSpec) { s.ID = "a b" }, "mcp_server_id"},
		{"no mode", func(s *ServerSpec) { s.Mode = "" }, `mode "" is not one of`},
		{"mode group", func(s *ServerSpec) { s.Mode = "group" }, `mode "group" is not one of`},
		{"no command", func(s *ServerSpec) { s.Command = nil }, "command is required"},
		{"empty program", func(s *ServerSpec) { s.Command = []string{"", "x"} }, "command is required"},
		{"no image", func(s *ServerSpec) { s.Mode = ModeDocker }, "image is required"},
		{"no endpoint", func(s *ServerSpec) { s.Mode = ModeRemote }, "endpoint is required"},
		{"100 words", func(s *ServerSpec) { s.Command = words(100) }, ""},
		{"101 words", func(s *ServerSpec) { s.Command = words(101) }, "command has 101 words, the limit is 100"},
		{"long word", func(s *ServerSpec) { s.Command = []string{"x", long} }, "command word 1 is longer"},
		{"NUL in word", func(s *ServerSpec) { s.Command = []string{"x\x00"} }, "command word 0"},
		{"100 variables", func(s *ServerSpec) { s.Env = variables(100) }, ""},
		{"101 variables", func(s *ServerSpec) { s.Env = variables(101) }, "env has 101 variables"},
		{"empty variable name", func(s *ServerSpec) { s.Env = map[string]string{"": "x"} }, `env name ""`},
		{"digit first", func(s *ServerSpec) { s.Env = map[string]string{"1A": "x"} }, `env name "1A"`},
		{"equal sign in name", func(s *ServerSpec) { s.Env = map[string]string{"A=B": "x"} }, `env name "A=B"`},
		{"long name", func(s *ServerSpec) { s.Env = map[string]string{long: "x"} }, "env name"},
		{"long value", func(s *ServerSpec) { s.Env = map[string]string{"A": long} }, `env value of "A"`},
		{"longest value", func(s *ServerSpec) { s.Env = map[string]string{"A": long[:MaxEnvBytes]} }, ""},
		{"NUL in value", func(s *ServerSpec) { s.Env = map[string]string{"A": "\x00"} }, `env value of "A"`},
		{"long description", func(s *ServerSpec) { s.Description = long[:4097] }, "description is longer"},
		{"NUL in directory", func(s *ServerSpec) { s.Dir = "/tmp\x00" }, "cwd"},
		{"long endpoint", func(s *ServerSpec) { s.Endpoint = long }, "endpoint is longer"},
		{"101 volumes", func(s *ServerSpec) { s.Volumes = words(101) }, "volumes has 101 entries"},
		{"NUL in volume", func(s *ServerSpec) { s.Volumes = []string{"a", "b\x00"} }, "volume 1"},
		{"good tool", func(s *ServerSpec) { s.Tools = tools(`{"name":"x","inputSchema":{}}`) }, ""},
		{"broken tool", func(s *ServerSpec) { s.Tools = tools(`{"name":"x"}`, `{"name":`) }, "tool 1 must be"},
		{"tool without name", func(s *ServerSpec) { s.Tools = tools(`{}`) }, "tool 0 must be"},
		{"tool that is no object", func(s *ServerSpec) { s.Tools = tools(`[]`) }, "tool 0 must be"},
		{"shortest idle TTL", func(s *ServerSpec) { s.IdleTTL = time.Second }, ""},
		{"too short idle TTL", func(s *ServerSpec) { s.IdleTTL = time.Second - 1 }, "idle_ttl_s"},
		{"negative idle TTL", func(s *ServerSpec) { s.IdleTTL = -1 }, "idle_ttl_s"},
		{"longest idle TTL", func(s *ServerSpec) { s.IdleTTL = MaxIdleTTL }, ""},
		{"too long idle TTL", func(s *ServerSpec) { s.IdleTTL = MaxIdleTTL + 1 }, "idle_ttl_s"},
		{"shortest interval", func(s *ServerSpec) { s.HealthCheckInterval = MinHealthCheckInterval }, ""},
		{"too short interval", func(s *ServerSpec) { s.HealthCheckInterval = MinHealthCheckInterval - 1 }, "health_check_interval_s"},
		{"too long interval", func(s *ServerSpec) { s.HealthCheckInterval = MaxHealthCheckInterval + 1 }, "health_check_interval_s"},
		{"negative limit of failures", func(s *ServerSpec) { s.MaxFailures = -1 }, "max_consecutive_failures"},
		{"large limit of failures", func(s *ServerSpec) { s.MaxFailures = 101 }, "max_consecutive_failures"},
		{"negative concurrency", func(s *ServerSpec) { s.MaxConcurrency = -1 }, "max_concurrency"},
		{"large concurrency", func(s *ServerSpec) { s.MaxConcurrency = 10001 }, "max_concurrency"},
		{"no start timeout", func(s *ServerSpec) { s.StartTimeout = 0 }, "start_timeout_s"},
		{"negative start timeout", func(s *ServerSpec) { s.StartTimeout = -1 }, "start_timeout_s"},
		{"unknown restart", func(s *ServerSpec) { s.Restart = "always" }, `restart "always" is not one of`},
		{"unknown strategy", func(s *ServerSpec) { s.Strategy = "one_for_all" }, `strategy "one_for_all" is not one of`},
		{"negative restarts", func(s *ServerSpec) { s.MaxRestarts = -1 }, "max_restarts"},
		{"most restarts", func(s *ServerSpec) { s.MaxRestarts = MaxMaxRestarts }, ""},
		{"too many restarts", func(s *ServerSpec) { s.MaxRestarts = MaxMaxRestarts + 1 }, "max_restarts"},
		{"short period", func(s *ServerSpec) { s.RestartPeriod = time.Second - 1 }, "period_s"},
		{"long period", func(s *ServerSpec) { s.RestartPeriod = MaxRestartPeriod + 1 }, "period_s"},
		{"short backoff", func(s *ServerSpec) { s.Backoff.Initial = MinBackoff - 1 }, "backoff.initial_s"},
		{"cap below the first delay", func(s *ServerSpec) { s.Backoff.Max = s.Backoff.Initial - 1 }, "backoff.max_s"},
		{"cap at the first delay", func(s *ServerSpec) { s.Backoff.Max = s.Backoff.Initial }, ""},
		{"long backoff", func(s *ServerSpec) { s.Backoff.Max = MaxBackoff + 1 }, "backoff.max_s"},
		{"no jitter", func(s *ServerSpec) { s.Backoff.Jitter = 0 }, ""},
		{"all jitter", func(s *ServerSpec) { s.Backoff.Jitter = 1 }, ""},
		{"too much jitter", func(s *ServerSpec) { s.Backoff.Jitter = 1.01 }, "backoff.jitter"},
		{"jitter that is no number", func(s *ServerSpec) { s.Backoff.Jitter = math.NaN() }, "backoff.jitter"},
		{"short uptime", func(s *ServerSpec) { s.Backoff.ResetAfter = time.Second - 1 }, "backoff.reset_after_s"},
		{"two dependencies", func(s *ServerSpec) { s.DependsOn = []string{"b", "c"} }, ""},
		{"itself as dependency", func(s *ServerSpec) { s.DependsOn = []string{"a"} }, "depends_on names the server itself"},
		{"dependency twice", func(s *ServerSpec) { s.DependsOn = []string{"b", "c", "b"} }, `depends_on names "b" twice`},
		{"no id as dependency", func(s *ServerSpec) { s.DependsOn = []string{"b", "c d"} }, `depends_on entry 1, "c d", is not the id`},
		{"101 dependencies", func(s *ServerSpec) { s.DependsOn = words(101) }, "depends_on has 101 entries"},
		{"long start timeout", func(s *ServerSpec) { s.StartTimeout = time.Hour + 1 }, "start_timeout_s"},
	}
	for _, tt := range tests {
		spec := ServerSpec{ID: "a", Mode: ModeSubprocess, Command: []string{"python", "-m", "x"}}.WithDefaults()
		tt.change(&spec)
		checkError(t, tt.name, spec.Validate(), tt.want)
	}
}

func words(n int) []string {
	list := make([]string, n)
	for i := range list {
		list[i] = "x"
	}
	return list
}

func variables(n int) map[string]string {
	env := map[string]string{}
	for i := range n {
		env[fmt.Sprintf("V%d", i)] = "x"
	}
	return env
}

func tools(raw ...string) []json.RawMessage {
	var list []json.RawMessage
	for _, r := range raw {
		list = append(list, json.RawMessage(r))
	}
	return list
}

func TestValidateReportsEveryFaultInOneOrder(t *testing.T) {
	t.Parallel()
	spec := ServerSpec{ID: "a b", Mode: "x", Env: map[string]string{"1": "", "2": "", "3": "", "A": "\x00"}}
	want := `invalid spec: mcp_server_id "a b" may have only letters, digits, _ and -
invalid spec: mode "x" is not one of subprocess, docker, remote
invalid spec: env name "1" must be at most 256 letters, digits and _, not starting with a digit
invalid spec: env name "2" must be at most 256 letters, digits and _, not starting with a digit
invalid spec: env name "3" must be at most 256 letters, digits and _, not starting with a digit
invalid spec: env value of "A" is longer than 32768 bytes or has a NUL byte`
	for range 20 {
		if diff := cmp.Diff(want, spec.WithDefaults().Validate().Error()); diff != "" {
			t.Fatalf("faults (-want +got):\n%s", diff)
		}
	}
}

func TestClipKeepsCharactersWhole(t *testing.T) {
	t.Parallel()
	for _, tt := range [][2]string{
		{"short", "short"},
		{strings.Repeat("x", 81), strings.Repeat("x", 80) + "…"},
		{strings.Repeat("x", 79) + "é!", strings.Repeat("x", 79) + "…"},
		{strings.Repeat("\x80", 100), strings.Repeat("\x80", 76) + "…"},
	} {
		if got := clip(tt[0]); got != tt[1] {
			t.Errorf("clip(%q) = %q, want %q", tt[0], got, tt[1])
		}
	}
}

func TestPolicyOf(t *testing.T) {
	t.Parallel()
	want := Policy{
		Restart: Transient, MaxRestarts: 5, Period: time.Minute,
		BackoffInitial: 100 * time.Millisecond, BackoffMax: 30 * time.Second, Jitter: 0.2, StableAfter: time.Minute,
		MaxFailures: 3, IdleTTL: 5 * time.Minute, ProbeInterval: time.Minute,
	}
	if diff := cmp.Diff(want, PolicyOf(ServerSpec{})); diff != "" {
		t.Errorf("policy of the empty spec (-want +got):\n%s", diff)
	}
	want.MaxFailures, want.IdleTTL, want.ProbeInterval = 7, time.Hour, 10*time.Second
	got := PolicyOf(ServerSpec{MaxFailures: 7, IdleTTL: time.Hour, HealthCheckInterval: 10 * time.Second})
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("policy of a spec with its own values (-want +got):\n%s", diff)
	}
}

func TestPolicyOfSupervisionKeys(t *testing.T) {
	t.Parallel()
	got := PolicyOf(ServerSpec{
		Restart: Permanent, MaxRestarts: 2, RestartPeriod: time.Hour,
		Backoff: Backoff{Initial: time.Minute, ResetAfter: time.Second},
	})
	want := Policy{
		Restart: Permanent, MaxRestarts: 2, Period: time.Hour,
		// The cap follows the first delay, no jitter means none.
		BackoffInitial: time.Minute, BackoffMax: time.Minute, StableAfter: time.Second,
		MaxFailures: 3, ProbeInterval: time.Minute, // and no idle stop: it is permanent
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("policy (-want +got):\n%s", diff)
	}
}

// TestStoredSpecOfAnEarlierVersion: what was written before a field was there
// loads with the field's default.
func TestStoredSpecOfAnEarlierVersion(t *testing.T) {
	t.Parallel()
	var old ServerSpec
	body := `{"mcp_server_id":"a","mode":"subprocess","command":["x"],"read_only":true,"idle_ttl":1000000000,` +
		`"health_check_interval":5000000000,"max_consecutive_failures":3,"start_timeout":1000000000,"provenance":"api"}`
	if err := json.Unmarshal([]byte(body), &old); err != nil {
		t.Fatal(err)
	}
	old = old.WithDefaults()
	if err := old.Validate(); err != nil {
		t.Fatal(err)
	}
	if old.Restart != Transient || old.MaxRestarts != 5 || old.RestartPeriod != time.Minute ||
		old.Backoff != DefaultBackoff() || old.Strategy != OneForOne || len(old.DependsOn) != 0 {
		t.Errorf("%+v", old)
	}
	body2, err := json.Marshal(old)
	var again ServerSpec
	if err != nil || json.Unmarshal(body2, &again) != nil || cmp.Diff(old, again) != "" {
		t.Errorf("a spec written and read again (-before +after): %v\n%s", err, cmp.Diff(old, again))
	}
}

func TestNamesOfEnums(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		value fmt.Stringer
		want  string
	}{
		{State(0), "unset"}, {Cold, "cold"}, {Initializing, "initializing"}, {Ready, "ready"},
		{Degraded, "degraded"}, {Dead, "dead"}, {State(9), "state(9)"},
		{PhaseNone, ""}, {PhaseStopping, "stopping"}, {PhaseBackoff, "backoff"}, {PhaseGaveUp, "gave_up"}, {Phase(9), "phase(9)"},
		{FailTransient, "transient"}, {FailPermanent, "permanent"}, {FailResource, "resource"}, {FailDependency, "dependency"}, {FailureClass(9), "class(9)"},
		{TimerRetry, "retry"}, {TimerProbe, "probe"}, {TimerIdle, "idle"}, {TimerStable, "stable"}, {TimerKinds, "timer(4)"},
	} {
		if got := tt.value.String(); got != tt.want {
			t.Errorf("String of %#v = %q, want %q", tt.value, got, tt.want)
		}
	}
	data, err := json.Marshal(Degraded)
	if err != nil || string(data) != `"degraded"` {
		t.Errorf("JSON of Degraded = %s, %v", data, err)
	}
}
