package backendtest

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/aabb9013/hangar/backends"
	"github.com/aabb9013/hangar/internal/jsonrpc"
)

var callCases = []contractCase{
	{"echo", callEcho},
	{"each of 1,000 concurrent calls gets its own answer", callConcurrent},
	{"calls of one sender arrive in order", callOrder},
	{"an answer of 1 MiB arrives whole", callBig},
	{"progress reaches its call only", callProgress},
	{"cancel frees the slot and drops the late answer", callCancel},
	{"tool errors and JSON-RPC errors pass raw", callErrors},
	{"a control request gets result or error", callRequest},
}

func callEcho(b *bench) {
	s := b.ready(Behaviour{})
	for _, text := range []string{"", "hello", "zażółć gęślą jaźń \U0001F600 \" \\ \u2028 \n\t\x00", strings.Repeat("x", 200_000)} {
		if got := s.text("echo", args{"text": text}); got != text {
			b.Errorf("echo of %.40q gave %.40q", text, got)
		}
	}
	if n := s.InFlight(); n != 0 {
		b.Errorf("%d calls in flight", n)
	}
}

func callConcurrent(b *bench) {
	s := b.ready(Behaviour{})
	var wg sync.WaitGroup
	var failures atomic.Int64
	for i := range 1000 {
		wg.Go(func() {
			want := "text " + strconv.Itoa(i)
			c := newCall("echo", args{"text": want})
			if err := s.try(c); err != nil {
				failures.Add(1)
				b.Errorf("Send: %v", err)
				return
			}
			<-c.Done()
			if got, err := answerText(c); err != nil || got != want {
				failures.Add(1)
				b.Errorf("got %q, %v; want %q", got, err, want)
			}
			c.Release()
		})
	}
	wg.Wait()
	if n := s.InFlight(); n != 0 {
		b.Errorf("%d calls in flight", n)
	}
}

func callOrder(b *bench) {
	s := b.ready(Behaviour{})
	var sent []*backends.Call
	for range 500 {
		sent = append(sent, s.send("count", nil))
	}
	for i, c := range sent {
		if got, err := answerText(s.finished(c)); err != nil || got != strconv.Itoa(i+1) {
			b.Fatalf("call %d was number %q (%v)", i+1, got, err)
		}
	}
}

func callBig(b *bench) {
	s := b.ready(Behaviour{})
	if got := s.text("big", args{"bytes": 1 << 20}); len(got) != 1<<20 {
		b.Errorf("got %d bytes", len(got))
	}
}

func callProgress(b *bench) {
	s := b.ready(Behaviour{NotifyFlood: 300}) // with progress of unknown tokens
	var mu sync.Mutex
	got := make(map[uint64][]string)
	var sent []*backends.Call
	for range 3 {
		c := newCall("progress", args{"n": 5, "delay_ms": 5})
		id := c.ID
		c.Progress = func(raw []byte, env *jsonrpc.Envelope) {
			mu.Lock()
			defer mu.Unlock()
			token, ok := jsonrpc.ParseID(env.ParamsToken.Of(raw))
			if !ok || token != id {
				got[id] = append(got[id], "foreign token")
			}
			_, rest, _ := strings.Cut(string(raw), `"progress":`)
			n, _, _ := strings.Cut(rest, ",")
			got[id] = append(got[id], n)
		}
		if err := s.try(c); err != nil {
			b.Fatal(err)
		}
		sent = append(sent, c)
	}
	none := s.send("progress", args{"n": 5, "delay_ms": 1}) // no one listens
	for _, c := range append(sent, none) {
		if text, err := answerText(s.finished(c)); err != nil || text != "done" {
			b.Errorf("got %q, %v", text, err)
		}
	}
	mu.Lock()
	defer mu.Unlock()
	for _, c := range sent {
		if seen := fmt.Sprint(got[c.ID]); seen != "[1 2 3 4 5]" {
			b.Errorf("call %d saw %s", c.ID, seen)
		}
	}
	if len(got) != 3 {
		b.Errorf("progress of %d calls", len(got))
	}
}

var errGaveUp = errors.New("the client gave up")

func callCancel(b *bench) {
	s := b.ready(Behaviour{})
	c := s.send("sleep", args{"ms": 3_600_000})
	if n := s.InFlight(); n != 1 {
		b.Errorf("%d in flight", n)
	}
	if !s.Cancel(c.ID, errGaveUp) {
		b.Error("Cancel found no call")
	}
	if s.finished(c); c.Err != errGaveUp || !c.Sent() {
		b.Errorf("finished with %v, sent %v", c.Err, c.Sent())
	}
	if n := s.InFlight(); n != 0 {
		b.Errorf("%d in flight after the cancel", n)
	}
	if s.Cancel(c.ID, errGaveUp) {
		b.Error("Cancel found the call again")
	}
	// Both orders of answer and cancel are possible; each ends the call once.
	for range 200 {
		c := s.send("echo", args{"text": "x"})
		cancelled := s.Cancel(c.ID, errGaveUp)
		if s.finished(c); cancelled != (c.Err == errGaveUp) {
			b.Fatalf("Cancel said %v, the call ended with %v", cancelled, c.Err)
		}
	}
	if got := s.text("echo", args{"text": "after"}); got != "after" {
		b.Errorf("got %q", got)
	}
	if got := s.text("count", nil); got != "203" {
		b.Errorf("the server saw %s calls, want 203", got)
	}
}

func callErrors(b *bench) {
	s := b.ready(Behaviour{})
	c := s.finished(s.send("fail", nil))
	if c.Err != nil || c.Env.Kind != jsonrpc.Response || !c.Env.IsError || !strings.Contains(string(c.Answer), "failed as asked") {
		b.Errorf("fail: %v %+v %s", c.Err, c.Env, c.Answer)
	}
	c = s.finished(s.send("rpcerror", nil))
	if c.Err != nil || c.Env.Kind != jsonrpc.ErrorResponse || !strings.Contains(string(c.Env.Error.Of(c.Answer)), "-32050") {
		b.Errorf("rpcerror: %v %+v %s", c.Err, c.Env, c.Answer)
	}
	c = s.finished(s.send("no_such_tool", nil))
	if c.Err != nil || c.Env.Kind != jsonrpc.ErrorResponse {
		b.Errorf("unknown tool: %v %s", c.Err, c.Answer)
	}
}

func callRequest(b *bench) {
	s := b.ready(Behaviour{})
	if raw, err := s.Request(b.Context(), "ping", nil); err != nil || string(raw) != "{}" {
		b.Errorf("ping: %s, %v", raw, err)
	}
	var rpc *backends.RPCError
	if _, err := s.Request(b.Context(), "no/such/method", []byte(`{}`)); !errors.As(err, &rpc) || rpc.Code != -32601 || rpc.Message == "" {
		b.Errorf("unknown method: %v", err)
	}
	if n := s.InFlight(); n != 0 {
		b.Errorf("%d in flight: control requests are no calls", n)
	}
}
