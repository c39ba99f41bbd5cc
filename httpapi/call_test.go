package httpapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/aabb9013/hangar/backends"
	"github.com/aabb9013/hangar/supervisor"
)

const addCall = "/api/mcp_servers/math/tools/add/call"

// answering makes the fleet answer calls with the rest of a response.
func answering(rest string) *fakeRuntime {
	rt := testFleet()
	rt.do = func(c *backends.Call, _ time.Duration) error {
		c.Answer = fmt.Appendf(c.Answer[:0], `{"jsonrpc":"2.0","id":%d,%s}`, c.ID, rest)
		return nil
	}
	return rt
}

func TestCallGoesThroughUntouched(t *testing.T) {
	rt := testFleet()
	var line, tool string
	var id, session uint64
	var timeout time.Duration
	rt.do = func(c *backends.Call, d time.Duration) error {
		line, tool, id, session, timeout = string(c.Line), c.Tool, c.ID, c.Session, d
		c.Answer = append(c.Answer[:0], `{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":"3"}],"big":12345678901234567890}}`...)
		return nil
	}
	begin := testNow
	a := testAPI(rt, func(o *Options) {
		o.Now = func() time.Time { begin = begin.Add(1500 * time.Microsecond); return begin }
	})
	r := send(t, a, request{method: "POST", path: addCall, body: "{\n\"a\": 1.0,\r\n \"b\":\"x\\ny\"\n}"})
	if r.status != 200 {
		t.Fatalf("%d %s", r.status, r.body)
	}
	want := fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":"tools/call","params":{"name":"add","arguments":{ "a": 1.0,   "b":"x\ny" }}}`+"\n", id)
	if line != want || tool != "add" || session>>63 != 1 || timeout != 60*time.Second {
		t.Errorf("line %q, want %q; tool %q, session %x, timeout %v", line, want, tool, session, timeout)
	}
	golden(t, "call", r.body)

	send(t, a, request{method: "POST", path: addCall})
	if !strings.Contains(line, `"arguments":{}}}`) {
		t.Errorf("without a body: %q", line)
	}
}

func TestToolNamesAreQuotedInTheLine(t *testing.T) {
	rt := testFleet()
	var line string
	rt.do = func(c *backends.Call, _ time.Duration) error {
		line = string(c.Line)
		return supervisor.ErrClosing
	}
	r := send(t, testAPI(rt), request{method: "POST", path: "/api/mcp_servers/flaky/tools/a%22%7D%2Fb%0Ac/call"})
	wantError(t, r, 503, "RuntimeClosingError", "")
	if !json.Valid([]byte(line)) || strings.Count(line, "\n") != 1 || !strings.Contains(line, `"name":"a\"}/b\nc"`) {
		t.Errorf("line %q", line)
	}
}

func TestToolErrorIsStillAnAnswer(t *testing.T) {
	r := send(t, testAPI(answering(`"result":{"content":[],"isError":true}`)), request{method: "POST", path: addCall})
	if m := r.decode(t); r.status != 200 || m["is_error"] != true {
		t.Errorf("%d %s", r.status, r.body)
	}
}

func TestCallFailures(t *testing.T) {
	failing := func(err error) *fakeRuntime {
		rt := testFleet()
		rt.do = func(*backends.Call, time.Duration) error { return err }
		return rt
	}
	const bare = "/api/mcp_servers/flaky/tools/other/call" // its list is stale and so proves nothing
	for _, c := range []struct {
		name    string
		rt      *fakeRuntime
		path    string
		status  int
		error   string
		message string
	}{
		{"rpc error", answering(`"error":{"code":-32603,"message":"boom\nline","data":{"x":1}}`), addCall, 502, "ToolInvocationError", `boom\u000aline`},
		{"bad arguments", answering(`"error":{"code":-32602,"message":"a must be a number"}`), addCall, 502, "ToolInvocationError", "a must be a number"},
		{"unknown tool, said by the server", answering(`"error":{"code":-32602,"message":"Unknown tool: other"}`), bare, 404, "ToolNotFoundError", "other"},
		{"tool not found, said by the server", answering(`"error":{"code":-32602,"message":"MCP error: Tool other not found"}`), bare, 404, "ToolNotFoundError", "other"},
		{"unknown tool, known before", testFleet(), "/api/mcp_servers/math/tools/nothing/call", 404, "ToolNotFoundError", "nothing"},
		{"unknown server", testFleet(), "/api/mcp_servers/nobody/tools/add/call", 404, "McpServerNotFoundError", "nobody"},
		{"server deleted meanwhile", failing(supervisor.ErrServerNotFound), addCall, 404, "McpServerNotFoundError", "math"},
		{"timeout", failing(supervisor.ErrCallTimeout), addCall, 504, "ToolTimeoutError", "did not answer in 1m0s"},
		{"crash", failing(&backends.CrashError{Server: "math", Exit: backends.Exit{Code: -1, Signal: "SIGKILL", Err: backends.ErrUnresponsive}, Sent: true}), addCall, 502, "McpServerCrashedError", "SIGKILL"},
		{"gone", failing(backends.ErrClosed), addCall, 502, "McpServerCrashedError", ""},
		{"overloaded", failing(fmt.Errorf("math: %w", supervisor.ErrOverloaded)), addCall, 429, "RateLimitExceededError", "math"},
		{"busy", failing(backends.ErrBusy), addCall, 429, "RateLimitExceededError", ""},
		{"stopped", failing(supervisor.ErrStopped), addCall, 409, "McpServerNotReadyError", ""},
		{"start failed", failing(&supervisor.StartFailedError{Server: "math", Reason: "r"}), addCall, 500, "McpServerStartError", ""},
		{"cannot start", failing(&supervisor.CannotStartError{Server: "math", Reason: "r", RetryAfter: 1}), addCall, 500, "CannotStartMcpServerError", ""},
		{"gave up", failing(&supervisor.CannotStartError{Server: "math", Reason: "r"}), addCall, 500, "CannotStartMcpServerError", ""},
		{"neither result nor error", answering(`"x":1`), addCall, 502, "ToolInvocationError", "no JSON-RPC response"},
		{"broken answer", answering(`"result"`), addCall, 502, "ToolInvocationError", "no JSON-RPC response"},
		{"timeout_s low", testFleet(), addCall + "?timeout_s=0", 422, "ValidationError", "timeout_s must be a number between 1 and 300"},
		{"timeout_s high", testFleet(), addCall + "?timeout_s=301", 422, "ValidationError", "timeout_s"},
		{"timeout_s word", testFleet(), addCall + "?timeout_s=soon", 422, "ValidationError", "timeout_s"},
		{"timeout_s NaN", testFleet(), addCall + "?timeout_s=NaN", 422, "ValidationError", "timeout_s"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := send(t, testAPI(c.rt), request{method: "POST", path: c.path, body: "{}"})
			wantError(t, r, c.status, c.error, c.message)
			retry := r.header.Get("Retry-After")
			if (c.status == 503 || c.status == 429 || c.name == "cannot start") != (retry != "") {
				t.Errorf("Retry-After is %q", retry)
			}
			if told := bytes.Contains(r.body, []byte(`"sent":true`)); told != (c.name == "crash") {
				t.Errorf("sent is told: %v, in %s", told, r.body)
			}
			if c.name == "rpc error" {
				golden(t, "call_rpc_error", r.body)
			}
		})
	}
}

func TestBadArgumentsReachNoServer(t *testing.T) {
	for _, body := range []string{
		"[]", "1", "null", "{", `{"a":}`, "{}{}", "{\"a\":\"\xff\"}", "x",
		`{"a":` + strings.Repeat("[", maxArgumentsDepth) + strings.Repeat("]", maxArgumentsDepth) + `}`,
	} {
		rt := testFleet()
		r := send(t, testAPI(rt), request{method: "POST", path: addCall, body: body})
		if r.status != 400 || rt.changed() != 0 {
			t.Errorf("%q: %d, %d calls", body, r.status, rt.changed())
		}
	}
}

func TestCallTimeoutIsPassedOn(t *testing.T) {
	rt := testFleet()
	var got time.Duration
	rt.do = func(_ *backends.Call, d time.Duration) error { got = d; return errors.New("x") }
	send(t, testAPI(rt), request{method: "POST", path: addCall + "?timeout_s=1.5"})
	if got != 1500*time.Millisecond {
		t.Errorf("timeout %v", got)
	}
}

// TestLostCallIsForgotten: after an internal error the call may still belong to
// the runtime and must not become another request's.
func TestLostCallIsForgotten(t *testing.T) {
	rt := testFleet()
	late := map[*backends.Call]bool{}
	rt.do = func(c *backends.Call, _ time.Duration) error {
		if late[c] {
			t.Error("a lost call was used again")
		}
		late[c] = true
		return supervisor.ErrInternal
	}
	a := testAPI(rt)
	for range 50 {
		send(t, a, request{method: "POST", path: addCall})
	}
}

// TestNothingOfARequestIsKept: sendRaw overwrites the request's memory, as
// fasthttp does, and what went into the runtime must not change.
func TestNothingOfARequestIsKept(t *testing.T) {
	rt := testFleet()
	var spec supervisor.ServerSpec
	var kept []string
	rt.create = func(s supervisor.ServerSpec) error { spec = s; return nil }
	rt.stop = func(id, reason string) error { kept = append(kept, id, reason); return nil }
	rt.do = func(c *backends.Call, _ time.Duration) error {
		kept = append(kept, c.Tool)
		return errors.New("x")
	}
	a := testAPI(rt)
	send(t, a, request{method: "POST", path: "/api/mcp_servers", body: `{"mcp_server_id":"keep","mode":"subprocess","command":["run"],"env":{"NAME":"value"}}`})
	send(t, a, request{method: "POST", path: "/api/mcp_servers/math/stop", body: `{"reason":"because"}`})
	send(t, a, request{method: "POST", path: addCall, body: `{}`})
	text := fmt.Sprint(spec, kept)
	if strings.Contains(text, "BB") || !strings.Contains(text, "keep") || fmt.Sprint(kept) != "[math because add]" {
		t.Errorf("kept %s", text)
	}
	if !bytes.Equal(openAPIDocument[:1], []byte("{")) {
		t.Error("the document was overwritten")
	}
}
