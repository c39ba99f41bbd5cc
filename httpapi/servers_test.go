package httpapi

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/aabb9013/hangar/backends"
	"github.com/aabb9013/hangar/supervisor"
)

func recordedFleet() *fakeRuntime {
	rt := testFleet()
	rt.logs = func(id string, n int) ([]backends.LogLine, error) {
		return []backends.LogLine{
			{At: testNow, Epoch: 2, Text: "ready"},
			{At: testNow.Add(1500 * time.Microsecond).In(time.FixedZone("", 7200)), Epoch: 3, Text: "bad \xff byte <b>"},
		}, rt.missing(id)
	}
	rt.crashes = func(id string, limit int) ([]supervisor.Dossier, error) {
		code, signal := 3, "SIGKILL"
		return []supervisor.Dossier{
			{
				ID: "18a-2", Server: "math", Kind: supervisor.DossierCrash, At: testNow, Epoch: 2, Reason: "exit code 3", ExitCode: &code,
				PID: 4711, Uptime: 1500.25, Decision: supervisor.Decision{Action: supervisor.DecisionBackoff, Until: testNow.Add(time.Second)},
				Stderr: []supervisor.DossierLine{{At: testNow, Text: "bad <b>"}},
				Frames: []supervisor.DossierFrame{
					{Direction: "to_server", At: testNow, ID: 7, Method: "tools/call", Size: 99, Head: `{"jsonrpc":"2.0"`},
					{Direction: "from_server", Method: "response", Size: 9},
				},
				LastReplyAt: testNow,
				Calls: []supervisor.DossierCall{
					{ID: 7, Tool: "add", Age: 12.5, Sent: true, ErrorType: "McpServerCrashedError"}, {ID: 8, Tool: "add", Resent: true},
				},
				InFlight: 2, Waiting: 1, Memory: []supervisor.MemorySample{{At: testNow, RSS: 1 << 20}}, Changed: []string{"env.A"},
			},
			{ID: "18a-1", Server: "math", Kind: supervisor.DossierUnresponsive, At: testNow, Epoch: 1, Signal: &signal, OOM: true,
				Decision: supervisor.Decision{Action: supervisor.DecisionRestart}},
		}[:min(limit, 2)], rt.missing(id)
	}
	rt.history = func(id string, from uint64, limit int) ([]HistoryRecord, error) {
		return []HistoryRecord{
			{Version: 4, Position: 1000, Kind: "ToolInvocationCompleted", At: testNow,
				Data: []byte(`{"tool_name":"add","correlation_id":"c","duration_ms":1.5,"result_size_bytes":12,"version":"not mine"}`)},
			{Version: 5, Position: 1<<48 + 2, Kind: "ToolInvocationFailed", At: testNow.Add(time.Second), Data: []byte(`broken`)},
		}, rt.missing(id)
	}
	return rt
}

func TestAnswersAreAsRecorded(t *testing.T) {
	for _, c := range []struct {
		name   string
		req    request
		status int
	}{
		{"list", request{method: "GET", path: "/api/mcp_servers"}, 200},
		{"list_state", request{method: "GET", path: "/api/mcp_servers?state=dead"}, 200},
		{"list_unknown_state", request{method: "GET", path: "/api/mcp_servers?state=sleeping"}, 200},
		{"create", request{method: "POST", path: "/api/mcp_servers", body: `{"mcp_server_id":"new","mode":"subprocess","command":["x"]}`}, 201},
		{"get_ready", request{method: "GET", path: "/api/mcp_servers/math"}, 200},
		{"get_backoff", request{method: "GET", path: "/api/mcp_servers/flaky"}, 200},
		{"get_cold", request{method: "GET", path: "/api/mcp_servers/planned"}, 200},
		{"get_dead", request{method: "GET", path: "/api/mcp_servers/lost"}, 200},
		{"update", request{method: "PUT", path: "/api/mcp_servers/math", body: `{"idle_ttl_s":10}`}, 200},
		{"delete", request{method: "DELETE", path: "/api/mcp_servers/math"}, 200},
		{"start", request{method: "POST", path: "/api/mcp_servers/math/start"}, 200},
		{"start_no_tools", request{method: "POST", path: "/api/mcp_servers/lost/start"}, 200},
		{"stop", request{method: "POST", path: "/api/mcp_servers/math/stop", body: `{"reason":"maintenance"}`}, 200},
		{"tools", request{method: "GET", path: "/api/mcp_servers/math/tools"}, 200},
		{"tools_none", request{method: "GET", path: "/api/mcp_servers/lost/tools"}, 200},
		{"health", request{method: "GET", path: "/api/mcp_servers/math/health"}, 200},
		{"health_dead", request{method: "GET", path: "/api/mcp_servers/lost/health"}, 200},
		{"logs", request{method: "GET", path: "/api/mcp_servers/math/logs"}, 200},
		{"crashes", request{method: "GET", path: "/api/mcp_servers/math/crashes"}, 200},
		{"history", request{method: "GET", path: "/api/mcp_servers/math/tools/history"}, 200},
		{"system", request{method: "GET", path: "/api/system"}, 200},
		{"backup", request{method: "POST", path: "/api/system/backup"}, 201},
		{"me", request{method: "GET", path: "/api/system/me"}, 200},
		{"live", request{method: "GET", path: "/health/live"}, 200},
		{"live", request{method: "GET", path: "/healthz"}, 200},
		{"ready", request{method: "GET", path: "/health/ready"}, 200},
		{"startup", request{method: "GET", path: "/health/startup"}, 200},
		{"not_found", request{method: "GET", path: "/api/mcp_servers/nobody"}, 404},
		{"invalid", request{method: "POST", path: "/api/mcp_servers", body: `{"mcp_server_id":"new","mode":"vm","idle_ttl_s":0}`}, 422},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := testAPI(recordedFleet())
			r := send(t, a, c.req)
			if r.status != c.status {
				t.Fatalf("status %d, want %d: %s", r.status, c.status, r.body)
			}
			if bytes.Contains(r.body, []byte("hunter2")) {
				t.Errorf("a secret leaks: %s", r.body)
			}
			golden(t, c.name, r.body)

			slash := c.req
			slash.path, _, _ = strings.Cut(slash.path, "?")
			if slash.path == c.req.path {
				slash.path += "/"
				if got := send(t, testAPI(recordedFleet()), slash); !bytes.Equal(got.body, r.body) && !bytes.Contains(r.body, []byte("NotFound")) {
					t.Errorf("with a slash at the end: %s, want %s", got.body, r.body)
				}
			}
			if c.req.method == "GET" {
				head := c.req
				head.method = "HEAD"
				if got := send(t, testAPI(recordedFleet()), head); got.status != c.status {
					t.Errorf("HEAD answers %d, GET %d", got.status, c.status)
				}
			}
		})
	}
}

func TestEmptyFleetHasEmptyLists(t *testing.T) {
	a := testAPI(&fakeRuntime{})
	if r := send(t, a, request{method: "GET", path: "/api/mcp_servers"}); string(r.body) != `{"mcp_servers":[]}` {
		t.Errorf("list of none: %s", r.body)
	}
	r := send(t, a, request{method: "GET", path: "/api/mcp_servers/x/tools/history"})
	if r.status != 200 || string(r.body) != `{"mcp_server_id":"x","history":[],"total":0}` {
		t.Errorf("history of an unknown server: %d %s", r.status, r.body)
	}
}

func TestCreateHandsOverTheWholeSpec(t *testing.T) {
	rt := testFleet()
	var got supervisor.ServerSpec
	rt.create = func(s supervisor.ServerSpec) error { got = s; return nil }
	a := testAPI(rt)
	r := send(t, a, request{method: "POST", path: "/api/mcp_servers", body: `{
		"mcp_server_id": "full", "mode": "subprocess", "command": ["prog", "arg one"], "env": {"A": "1"},
		"idle_ttl_s": 3e2, "health_check_interval_s": 30.0, "description": "d", "volumes": ["/a:/b"], "network": "bridge",
		"read_only": false, "cwd": "/tmp", "max_consecutive_failures": 5, "max_concurrency": 7, "start_timeout_s": 9, "image": null,
		"restart": "permanent", "max_restarts": 2, "period_s": 10, "strategy": "all_for_one", "depends_on": ["b", "c"],
		"backoff": {"initial_s": 0.25, "max_s": 4, "jitter": 0}
	}`})
	if r.status != 201 {
		t.Fatalf("%d %s", r.status, r.body)
	}
	want := supervisor.ServerSpec{
		ID: "full", Mode: supervisor.ModeSubprocess, Command: []string{"prog", "arg one"}, Env: map[string]string{"A": "1"},
		IdleTTL: 300 * time.Second, HealthCheckInterval: 30 * time.Second, Description: "d", Volumes: []string{"/a:/b"},
		Network: "bridge", Dir: "/tmp", MaxFailures: 5, MaxConcurrency: 7, StartTimeout: 9 * time.Second, Provenance: supervisor.FromAPI,
		Restart: supervisor.Permanent, MaxRestarts: 2, RestartPeriod: 10 * time.Second,
		Backoff:  supervisor.Backoff{Initial: 250 * time.Millisecond, Max: 4 * time.Second, ResetAfter: time.Minute},
		Strategy: supervisor.AllForOne, DependsOn: []string{"b", "c"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("spec (-want +got):\n%s", diff)
	}

	send(t, a, request{method: "POST", path: "/api/mcp_servers", body: `{"mcp_server_id":"d","mode":"podman","image":"x"}`})
	want = supervisor.ServerSpec{ID: "d", Mode: supervisor.ModeDocker, Image: "x", ReadOnly: true, Provenance: supervisor.FromAPI}.WithDefaults()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("spec of defaults (-want +got):\n%s", diff)
	}
}

func TestUpdateAppliesOnlyItsFourFields(t *testing.T) {
	for _, method := range []string{"PUT", "PATCH"} {
		rt := testFleet()
		var got supervisor.Patch
		rt.update = func(_ string, p supervisor.Patch) error { got = p; return nil }
		a := testAPI(rt)
		r := send(t, a, request{method: method, path: "/api/mcp_servers/math",
			body: `{"env":{},"description":"","health_check_interval_s":5,"idle_ttl_s":null,"command":["evil"],"provenance":"config"}`})
		if r.status != 200 {
			t.Fatalf("%s: %d %s", method, r.status, r.body)
		}
		empty, interval := "", 5*time.Second
		want := supervisor.Patch{Description: &empty, Env: &map[string]string{}, HealthCheckInterval: &interval}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s patch (-want +got):\n%s", method, diff)
		}
		before := rt.changed()
		if r := send(t, a, request{method: method, path: "/api/mcp_servers/math", body: `{"command":["evil"]}`}); r.status != 200 || rt.changed() != before {
			t.Errorf("%s of unknown fields alone: %d, %d changes", method, r.status, rt.changed()-before)
		}
	}
}

func TestStopReasonIsNeverInTheWay(t *testing.T) {
	for body, want := range map[string]string{
		"":                           "user_request",
		"{":                          "user_request",
		"[]":                         "user_request",
		`{"reason":5}`:               "user_request",
		`{"reason":null}`:            "user_request",
		`{"reason":""}`:              "user_request",
		`{"reason":"a\nb"}`:          `a\u000ab`,
		`{"reason":"weekend","x":1}`: "weekend",
	} {
		rt := testFleet()
		var got string
		rt.stop = func(_, reason string) error { got = reason; return nil }
		r := send(t, testAPI(rt), request{method: "POST", path: "/api/mcp_servers/math/stop", body: body})
		if r.status != 200 || got != want {
			t.Errorf("body %q: %d, reason %q, want %q", body, r.status, got, want)
		}
	}
}

func TestQueryNumbersAreClamped(t *testing.T) {
	rt := testFleet()
	var n, limit int
	var from uint64
	rt.logs = func(_ string, k int) ([]backends.LogLine, error) { n = k; return nil, nil }
	crashes := 0
	rt.crashes = func(_ string, k int) ([]supervisor.Dossier, error) { crashes = k; return nil, nil }
	rt.history = func(_ string, f uint64, l int) ([]HistoryRecord, error) { from, limit = f, l; return nil, nil }
	a := testAPI(rt)
	for raw, want := range map[string]int{
		"": 100, "x": 100, "1.5": 100, "0": 1, "-5": 1, "7": 7, "1000": 1000, "1001": 1000, "99999999999999999999": 1000, "-99999999999999999999": 1,
	} {
		send(t, a, request{method: "GET", path: "/api/mcp_servers/math/logs?lines=" + raw})
		send(t, a, request{method: "GET", path: "/api/mcp_servers/math/tools/history?limit=" + raw + "&from_position=" + raw})
		send(t, a, request{method: "GET", path: "/api/mcp_servers/math/crashes?limit=" + raw})
		if wanted := min(want, 20); crashes != wanted {
			t.Errorf("%q: %d crashes, want %d", raw, crashes, wanted)
		}
		if n != want || limit != min(want, 500) {
			t.Errorf("%q: lines %d, limit %d, want %d", raw, n, limit, want)
		}
	}
	for raw, want := range map[string]uint64{"": 0, "x": 0, "-1": 0, "12": 12, "99999999999999999999": 1 << 53} {
		send(t, a, request{method: "GET", path: "/api/mcp_servers/math/tools/history?from_position=" + raw})
		if from != want {
			t.Errorf("from_position %q: %d, want %d", raw, from, want)
		}
	}
}

// TestRuntimeErrorsAreAnswered walks every mutation and read with every error
// that its Runtime method may return.
func TestRuntimeErrorsAreAnswered(t *testing.T) {
	crash := &backends.CrashError{Server: "math", Exit: backends.Exit{Code: 1}, Sent: true}
	for _, c := range []struct {
		err     error
		status  int
		name    string
		message string
	}{
		{fmt.Errorf("%w: math", supervisor.ErrServerNotFound), 404, "McpServerNotFoundError", "math"},
		{supervisor.ErrServerExists, 422, "ValidationError", "exists"},
		{fmt.Errorf("%w: too\nbad", supervisor.ErrInvalidSpec), 422, "ValidationError", "too; bad"},
		{supervisor.ErrNotBuilt, 422, "ValidationError", "not built in this version"},
		{supervisor.ErrReadOnly, 507, "StateReadOnlyError", ""},
		{supervisor.ErrClosing, 503, "RuntimeClosingError", ""},
		{&supervisor.StartFailedError{Server: "math", Reason: "no such program"}, 500, "McpServerStartError", "no such program"},
		{&backends.StartError{Server: "math", Stage: backends.StageSpawn, Err: backends.ErrResource}, 500, "McpServerStartError", "spawn"},
		{&supervisor.CannotStartError{Server: "math", Reason: "backoff", RetryAfter: 2500 * time.Millisecond}, 500, "CannotStartMcpServerError", "backoff"},
		{crash, 502, "McpServerCrashedError", "exit code 1"},
		{errors.New("disk path /secret"), 500, "InternalServerError", "internal error"},
		{supervisor.ErrInternal, 500, "InternalServerError", "internal error"},
	} {
		rt := testFleet()
		rt.create = func(supervisor.ServerSpec) error { return c.err }
		rt.update = func(string, supervisor.Patch) error { return c.err }
		rt.remove = func(string) error { return c.err }
		rt.start = func(context.Context, string) (*supervisor.View, error) { return nil, c.err }
		rt.stop = func(string, string) error { return c.err }
		rt.logs = func(string, int) ([]backends.LogLine, error) { return nil, c.err }
		rt.crashes = func(string, int) ([]supervisor.Dossier, error) { return nil, c.err }
		a := testAPI(rt)
		for _, req := range []request{
			{method: "POST", path: "/api/mcp_servers", body: `{"mcp_server_id":"math","mode":"subprocess","command":["x"]}`},
			{method: "PUT", path: "/api/mcp_servers/math", body: `{"idle_ttl_s":10}`},
			{method: "PATCH", path: "/api/mcp_servers/math", body: `{"idle_ttl_s":10}`},
			{method: "DELETE", path: "/api/mcp_servers/math"},
			{method: "POST", path: "/api/mcp_servers/math/start"},
			{method: "POST", path: "/api/mcp_servers/math/stop"},
			{method: "GET", path: "/api/mcp_servers/math/logs"},
			{method: "GET", path: "/api/mcp_servers/math/crashes"},
		} {
			r := send(t, a, req)
			wantError(t, r, c.status, c.name, c.message)
			if bytes.Contains(r.body, []byte("/secret")) {
				t.Errorf("an inner error leaks: %s", r.body)
			}
			if cannot := (*supervisor.CannotStartError)(nil); errors.As(c.err, &cannot) && r.header.Get("Retry-After") != "3" {
				t.Errorf("Retry-After %q, want 3", r.header.Get("Retry-After"))
			}
		}
	}
}

func TestModeThatIsNotBuiltIsNamed(t *testing.T) {
	rt := testFleet()
	rt.create = func(supervisor.ServerSpec) error { return fmt.Errorf("backend: %w", supervisor.ErrNotBuilt) }
	r := send(t, testAPI(rt), request{method: "POST", path: "/api/mcp_servers", body: `{"mcp_server_id":"d","mode":"container","image":"x"}`})
	wantError(t, r, 422, "ValidationError", "mode docker is not built in this version")
}

func TestUnknownServerIsNotFoundEverywhere(t *testing.T) {
	rt := testFleet()
	a := testAPI(rt)
	for _, row := range routes() {
		if !strings.Contains(row.path, "{id}") || strings.HasSuffix(row.path, "/history") {
			continue
		}
		for _, id := range []string{"nobody", "%2e%2e", "a%2Fb", "%00", "%zz", "%ff", strings.Repeat("x", 5000), "💥"} {
			path := strings.NewReplacer("{id}", id, "{tool}", "t").Replace(row.path)
			req := request{method: row.method, path: path}
			if row.method == "PUT" || row.method == "PATCH" {
				req.body = "{}"
			}
			r := send(t, a, req)
			wantError(t, r, 404, "McpServerNotFoundError", "not found")
			if len(r.body) > 400 {
				t.Errorf("a long id comes back whole: %d bytes", len(r.body))
			}
		}
	}
}

func TestURLEncodedIDIsDecoded(t *testing.T) {
	r := send(t, testAPI(testFleet()), request{method: "GET", path: "/api/mcp_servers/%6dath"})
	if r.status != 200 {
		t.Errorf("%d %s", r.status, r.body)
	}
}

func TestStartThatTakesTooLongCannotStart(t *testing.T) {
	rt := testFleet()
	rt.start = func(ctx context.Context, _ string) (*supervisor.View, error) {
		if _, ok := ctx.Deadline(); !ok {
			t.Error("a start without a deadline")
		}
		return nil, context.DeadlineExceeded
	}
	r := send(t, testAPI(rt), request{method: "POST", path: "/api/mcp_servers/math/start"})
	wantError(t, r, 500, "CannotStartMcpServerError", "waited too long")
	if r.header.Get("Retry-After") != "1" {
		t.Errorf("Retry-After %q", r.header.Get("Retry-After"))
	}
}

func TestHealthTellsOfTheRuntime(t *testing.T) {
	rt := testFleet()
	rt.info.ReadOnly = "disk is full"
	r := send(t, testAPI(rt), request{method: "GET", path: "/health/ready"})
	if m := r.decode(t); r.status != 200 || m["degraded"] != true || m["reason"] != "disk is full" {
		t.Errorf("read-only: %d %s", r.status, r.body)
	}
	rt.info.Ready = false
	a := testAPI(rt)
	r = send(t, a, request{method: "GET", path: "/health/ready"})
	wantError(t, r, 503, "NotReady", "not ready")
	golden(t, "not_ready", r.body)
	r = send(t, a, request{method: "GET", path: "/health/startup"})
	wantError(t, r, 503, "NotReady", "start-up")
	if r := send(t, a, request{method: "GET", path: "/health/live"}); r.status != 200 {
		t.Errorf("live while starting: %d", r.status)
	}
}
