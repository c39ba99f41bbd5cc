package httpapi

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aabb9013/hangar/backends"
	"github.com/aabb9013/hangar/supervisor"
)

var callIDs = regexp.MustCompile(`"id":\d+|"progressToken":\d+`)

// masked is a line with the runtime's own ids taken out; they must be the same
// in all places.
func masked(t testing.TB, line string) string {
	t.Helper()
	id := ""
	return callIDs.ReplaceAllStringFunc(line, func(m string) string {
		key, n, _ := strings.Cut(m, ":")
		if id == "" {
			id = n
		}
		if n != id {
			t.Errorf("two ids in %s", line)
		}
		return key + ":N"
	})
}

func TestCallLineIsExact(t *testing.T) {
	fl := newFleet(ready("s", `{"name":"t"}`, `{"name":"a__b"}`, `{"name":"_x"}`), ready("my_server_1", `{"name":"t"}`), ready("a", `{"name":"z"}`, `{"name":"__c"}`))
	unknown := ready("cold", `{"name":"old"}`)
	unknown.ToolsStale = true
	never := ready("never")
	never.Catalogue = nil
	for _, v := range []*supervisor.View{unknown, never} {
		s := &server{stopped: map[uint64]chan error{}}
		s.view.Store(v)
		fl.servers[v.Spec.ID] = s
	}
	f := NewFront(FrontOptions{Runtime: fl})
	s := local()
	const head = `{"jsonrpc":"2.0","id":N,"method":"tools/call","params":`
	for _, tc := range []struct{ params, server, want string }{
		{`{"name":"s__t","arguments":{"a" : 1.50, "b":"\u00e9\n"}}`, "s", `{"name":"t","arguments":{"a" : 1.50, "b":"\u00e9\n"}}`},
		{`{"arguments":{"name":"s__t"},"name":"s__t"}`, "s", `{"arguments":{"name":"s__t"},"name":"t"}`},
		{`{"name":"s__t"}`, "s", `{"name":"t"}`},
		{`{"name":"s__t","arguments":null,"task":{"ttl":1}}`, "s", `{"name":"t","arguments":null,"task":{"ttl":1}}`},
		{`{"name":"s__t","_meta":{"progressToken":"p","x.y/z":[1]},"arguments":{}}`, "s", `{"name":"t","_meta":{"progressToken":N,"x.y/z":[1]},"arguments":{}}`},
		{`{"_meta":{"x":{"progressToken":"five"},"progressToken":7},"name":"s__t"}`, "s", `{"_meta":{"x":{"progressToken":"five"},"progressToken":N},"name":"t"}`},
		{`{"name":"s\u005f_t","arguments":{}}`, "s", `{"name":"t","arguments":{}}`},
		{`{"name":"s__a__b"}`, "s", `{"name":"a__b"}`},
		{`{"name":"s___x"}`, "s", `{"name":"_x"}`},
		{`{"name":"my_server_1__t"}`, "my_server_1", `{"name":"t"}`},
		{`{"name":"a____c"}`, "a", `{"name":"__c"}`},
		{`{"name":"a__z"}`, "a", `{"name":"z"}`},
		{`{"name":"cold__new"}`, "cold", `{"name":"new"}`},
		{`{"name":"never__any \"thing\""}`, "never", `{"name":"any \"thing\""}`},
		{"{\r\n\"name\" :\n\"s__t\"\n,\"arguments\":{\n\"a\":\"\\n\"}}", "s", `{"name" :"t","arguments":{"a":"\n"}}`},
	} {
		server := fl.servers[tc.server]
		before := len(server.sent())
		body := `{"jsonrpc":"2.0","id":"client","method":"tools/call","params":` + tc.params + `,"extra":1}`
		answer := f.ask(t, s, body)
		sent := server.sent()
		if len(sent) != before+1 {
			t.Errorf("%s: nothing reached %s: %s", tc.params, tc.server, answer)
			continue
		}
		want := head + tc.want + "}\n"
		if got := masked(t, sent[before]); got != want {
			t.Errorf("%s:\ngot  %swant %s", tc.params, got, want)
		}
		if string(answer) != `{"jsonrpc":"2.0","id":"client","result":{"content":[]}}` {
			t.Errorf("%s: answer %s", tc.params, answer)
		}
	}
}

func TestUnknownToolsAreRefused(t *testing.T) {
	fl := newFleet(ready("s", `{"name":"t"}`))
	f := NewFront(FrontOptions{Runtime: fl})
	for _, name := range []string{`"x__t"`, `"s__nope"`, `"s__"`, `"__t"`, `"s"`, `""`, `"hangar_nope"`, `"S__t"`, `"s__t "`, `"\u202es__x"`, `5`, `null`, `{}`} {
		wantRPCError(t, f.ask(t, local(), callWith(name)), "1", codeInvalidParams, "")
	}
	for _, params := range []string{`{}`, `[]`, `["s__t"]`} {
		wantRPCError(t, f.ask(t, local(), `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":`+params+`}`), "1", codeInvalidParams, "params.name")
	}
	if n := len(fl.servers["s"].sent()); n > 0 {
		t.Errorf("%d calls reached the server", n)
	}
	long := f.ask(t, local(), callWith(`"`+strings.Repeat("x", 10000)+`"`))
	if len(long) > 300 {
		t.Errorf("the answer repeats %d bytes", len(long))
	}
}

func callWith(name string) string {
	return `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":` + name + `}}`
}

func TestAnswersPassThrough(t *testing.T) {
	fl := newFleet(ready("s", `{"name":"t"}`))
	_, c := serveFront(t, fl)
	s := c.with("2025-11-25")
	for _, answer := range []string{
		`{"jsonrpc":"2.0","id":ID,"result":{"content":[{"type":"text","text":"\u003c\/b>é"}],"isError":true,"structuredContent":{"n":1.50,"b":1e400}}}`,
		`{"result":[ 1 , 2 ],"id":ID,"jsonrpc":"2.0"}`,
		`{"jsonrpc":"2.0","id":ID,"result":null}`,
		`{"jsonrpc":"2.0","id":ID,"error":{"code":-32042,"message":"go there","data":{"elicitations":[{"url":"https://x"}]}}}`,
		`{"error":{"message":"m","code":1},"extra":7,"jsonrpc":"2.0","id":ID}`,
	} {
		fl.servers["s"].do = func(c *backends.Call, _ time.Duration) error {
			return answerWith(c, strings.Replace(answer, "ID", fmt.Sprint(c.ID), 1))
		}
		if got, want := s.call(`"me"`, "s__t", "{}"), strings.Replace(answer, "ID", `"me"`, 1); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
	big := `"` + strings.Repeat("x", 10<<20) + `"`
	fl.servers["s"].do = func(c *backends.Call, _ time.Duration) error { return result(c, big) }
	for range 3 {
		if got := s.call(`1`, "s__t", "{}"); got != `{"jsonrpc":"2.0","id":1,"result":`+big+`}` {
			t.Errorf("10 MiB came back as %d bytes", len(got))
		}
	}
	fl.servers["s"].do = nil
	if got := s.call(`2`, "s__t", "{}"); got != `{"jsonrpc":"2.0","id":2,"result":{"content":[]}}` {
		t.Errorf("after a big answer: %s", got)
	}
}

func TestEveryErrorHasItsCode(t *testing.T) {
	fl := newFleet(ready("s", `{"name":"t"}`))
	var log strings.Builder
	f := NewFront(FrontOptions{Runtime: fl, Logger: logger(&log)})
	for _, tc := range []struct {
		err  error
		code int
	}{
		{supervisor.ErrServerNotFound, -32602}, {supervisor.ErrToolNotFound, -32602},
		{supervisor.ErrStartFailed, -32010}, {supervisor.ErrCannotStart, -32010}, {supervisor.ErrStopped, -32010}, {supervisor.ErrNotBuilt, -32010},
		{&supervisor.CannotStartError{Server: "s", Reason: "backoff", RetryAfter: 3 * time.Second}, -32010},
		{&backends.StartError{Server: "s", Stage: backends.StageSpawn, Err: backends.ErrPermanent}, -32010}, {backends.ErrResource, -32010},
		{supervisor.ErrOverloaded, -32011}, {backends.ErrBusy, -32011}, {errSessionBusy, -32011},
		{supervisor.ErrCallTimeout, -32001}, {backends.ErrDeadline, -32001}, {context.DeadlineExceeded, -32001},
		{supervisor.ErrClosing, -32012}, {supervisor.ErrReadOnly, -32012}, {context.Canceled, -32012},
		{&backends.CrashError{Server: "s", Exit: backends.Exit{Code: 1}, Sent: true}, -32000},
		{backends.ErrCrashed, -32000}, {backends.ErrProtocol, -32000}, {backends.ErrClosed, -32000}, {backends.ErrStdinStalled, -32000}, {backends.ErrStdinClosed, -32000},
		{backends.ErrStdoutClosed, -32000}, {backends.ErrMessageTooLarge, -32000}, {backends.ErrUnresponsive, -32000},
		{errCancelled, -32013}, {errDuplicateID, -32600},
	} {
		fl.servers["s"].do = func(*backends.Call, time.Duration) error { return fmt.Errorf("%w: more\nlines", tc.err) }
		first, _, _ := strings.Cut(tc.err.Error(), "\n")
		wantRPCError(t, f.ask(t, local(), callWith(`"s__t"`)), "1", tc.code, first)
	}
	if log.Len() > 0 {
		t.Errorf("known errors are not for the log: %s", log.String())
	}
	for _, err := range []error{supervisor.ErrInternal, fmt.Errorf("%w: %w", supervisor.ErrInternal, supervisor.ErrStopped), errors.New("secret")} {
		log.Reset()
		fl.servers["s"].do = func(*backends.Call, time.Duration) error { return err }
		answer := f.ask(t, local(), callWith(`"s__t"`))
		wantRPCError(t, answer, "1", codeInternal, "internal error")
		if strings.Contains(string(answer), "secret") || !strings.Contains(log.String(), err.Error()) {
			t.Errorf("%v: %s, log %s", err, answer, log.String())
		}
	}
}

func TestPanicsAreContained(t *testing.T) {
	fl := newFleet(ready("s", `{"name":"t"}`))
	var log strings.Builder
	f, c := serveFront(t, fl, func(o *FrontOptions) { o.Logger = logger(&log) })
	s, old := c.with("2025-11-25"), c.with("2025-03-26")
	fl.servers["s"].do = func(*backends.Call, time.Duration) error { panic("ouch") }
	wantRPCError(t, []byte(s.call("1", "s__t", "{}")), "1", codeInternal, "internal error")
	wantRPCError(t, []byte(s.call("1", "s__t", "{}")), "1", codeInternal, "internal error") // the id is free again
	batch := string(old.post("[" + callBody("1", "s__t", "{}") + `,{"jsonrpc":"2.0","id":2,"method":"ping"}]`).body)
	if want := `[{"jsonrpc":"2.0","id":1,"error":{"code":-32603,"message":"internal error, see the runtime's log"}},{"jsonrpc":"2.0","id":2,"result":{}}]`; batch != want {
		t.Errorf("batch: %s", batch)
	}
	stream := s.post(`{"jsonrpc":"2.0","id":"p","method":"tools/call","params":{"name":"s__t","_meta":{"progressToken":1}}}`)
	if want := `data: {"jsonrpc":"2.0","id":"p","error":{"code":-32603`; !strings.Contains(string(stream.body), want) {
		t.Errorf("stream: %s", stream.body)
	}
	structured, _ := s.tool("hangar_call", `{"calls":[{"mcp_server":"s","tool":"t","arguments":{}}]}`)
	if !strings.Contains(string(structured), `"error_type":"InternalServerError"`) {
		t.Errorf("hangar_call: %s", structured)
	}
	fl.start = func(context.Context, string) (*supervisor.View, error) { panic("ouch") }
	wantRPCError(t, []byte(s.call("1", "hangar_start", `{"mcp_server":"s"}`)), "1", codeInternal, "internal error")
	if n := strings.Count(log.String(), "panic in the MCP front"); n != 6 || strings.Contains(string(stream.body), "ouch") {
		t.Errorf("%d panics in the log", n)
	}
	f.batches.Load().mu.Lock()
	defer f.batches.Load().mu.Unlock()
	if len(f.batches.Load().all) != 0 || len(f.batches.Load().servers) != 0 {
		t.Error("a panic kept its slots")
	}
}

func TestDuplicateIDsAndBusySessions(t *testing.T) {
	fl := newFleet(ready("s", `{"name":"t"}`))
	sv := fl.servers["s"]
	sv.do = sv.hang
	f := NewFront(FrontOptions{Runtime: fl, CallTimeout: 20 * time.Second})
	s := local()
	var wg sync.WaitGroup
	for i := range maxSessionCalls {
		wg.Go(func() {
			wantRPCError(t, f.ask(t, s, callBody(fmt.Sprint(i), "s__t", "{}")), fmt.Sprint(i), codeCancelled, "cancelled")
		})
	}
	eventually(t, "all calls hang", func() bool { return sv.hanging() == maxSessionCalls })
	wantRPCError(t, f.ask(t, s, callBody("7", "s__t", "{}")), "7", codeInvalidRequest, "in use")
	wantRPCError(t, f.ask(t, s, `{"jsonrpc":"2.0","id":7,"method":"ping"}`), "7", codeInvalidRequest, "in use")
	wantRPCError(t, f.ask(t, s, callBody(`"7"`, "s__t", "{}")), `"7"`, codeOverloaded, "too many")
	if got := string(f.ask(t, local(), `{"jsonrpc":"2.0","id":7,"method":"ping"}`)); !strings.Contains(got, "result") {
		t.Errorf("another session: %s", got)
	}
	for i := range maxSessionCalls {
		s.cancel(callID{number: uint64(i)})
	}
	wg.Wait()
	if len(s.calls) > 0 {
		t.Errorf("%d requests are still noted", len(s.calls))
	}
}

func TestCancellationOverHTTP(t *testing.T) {
	fl := newFleet(ready("s", `{"name":"t"}`))
	sv := fl.servers["s"]
	sv.do = sv.hang
	_, c := serveFront(t, fl)
	s, other := c.with("2025-11-25"), c.with("2025-11-25")
	cancel := func(c *client, id string) {
		t.Helper()
		if r := c.post(`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":` + id + `,"reason":"x"}}`); r.status != 202 || len(r.body) > 0 {
			t.Errorf("cancel: %d %s", r.status, r.body)
		}
	}
	for _, id := range []string{"5", `"5"`, `"a-b"`, "-3", "1.5"} {
		answer := make(chan string, 1)
		go func() { answer <- s.call(id, "s__t", "{}") }()
		eventually(t, "the call hangs", func() bool { return sv.hanging() == 1 })
		before := sv.cancels.Load()
		for _, wrong := range []string{"6", `"x"`, "null", "{}"} {
			cancel(s, wrong)
		}
		cancel(other, id) // another client's request of the same id
		if sv.cancels.Load() != before || sv.hanging() != 1 {
			t.Fatalf("id %s: a cancellation of something else got through", id)
		}
		cancel(s, id)
		wantRPCError(t, []byte(<-answer), id, codeCancelled, "cancelled by the client")
		cancel(s, id) // too late, nothing happens
		if sv.cancels.Load() != before+1 {
			t.Errorf("id %s: %d cancellations", id, sv.cancels.Load()-before)
		}
	}
}

func TestCancellationBeforeTheCallBegan(t *testing.T) {
	fl := newFleet(ready("s", `{"name":"t"}`))
	f := NewFront(FrontOptions{Runtime: fl})
	s := local()
	for _, body := range []string{callBody("1", "s__t", "{}"), callBody("1", "hangar_call", `{"calls":[{"mcp_server":"s","tool":"t","arguments":{}}]}`)} {
		key := callID{number: 1}
		if err := s.begin(key); err != nil {
			t.Fatal(err)
		}
		s.cancel(key)
		env := scanned(t, body)
		wantRPCError(t, f.begun(nil, s, key, []byte(body), env, nil), "1", codeCancelled, "cancelled")
	}
	if len(fl.servers["s"].sent()) > 0 || fl.servers["s"].cancels.Load() > 0 {
		t.Error("the server heard of it")
	}
}

func TestHangarToolsCanBeCancelled(t *testing.T) {
	fl := newFleet(ready("s", `{"name":"t"}`))
	sv := fl.servers["s"]
	sv.do = sv.hang
	entered := make(chan struct{}, 1)
	fl.start = func(ctx context.Context, _ string) (*supervisor.View, error) {
		entered <- struct{}{}
		<-ctx.Done()
		return nil, ctx.Err()
	}
	f := NewFront(FrontOptions{Runtime: fl})
	s := local()
	answer := make(chan []byte, 1)
	go func() { answer <- f.ask(t, s, callBody("1", "hangar_start", `{"mcp_server":"s"}`)) }()
	<-entered
	s.cancel(callID{number: 1})
	wantRPCError(t, <-answer, "1", codeCancelled, "cancelled")

	go func() {
		answer <- f.ask(t, s, callBody("2", "hangar_call", `{"max_concurrency":2,"calls":[`+strings.Repeat(`{"mcp_server":"s","tool":"t","arguments":{}},`, 5)+`{"mcp_server":"s","tool":"t","arguments":{}}]}`))
	}()
	eventually(t, "two calls hang", func() bool { return sv.hanging() == 2 })
	s.cancel(callID{number: 2})
	wantRPCError(t, <-answer, "2", codeCancelled, "cancelled")
	if n := len(sv.sent()); n != 2 {
		t.Errorf("%d calls were made", n)
	}
}
