package httpapi

import (
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/aabb9013/hangar/backends"
	"github.com/aabb9013/hangar/internal/leaktest"
)

// quick makes a front's streams tick fast.
func quick(f *Front) {
	f.ping, f.pause = 40*time.Millisecond, 20*time.Millisecond
}

// noLeak checks that no goroutine is left that was not there before.
func noLeak(t *testing.T) (check func()) {
	before := goleak.IgnoreCurrent() // other tests' servers may be on their way out
	return func() {
		t.Helper()
		goleak.VerifyNone(t, before, leaktest.FasthttpWorkers, leaktest.FasthttpDate)
	}
}

// serveQuick is serveFront with fast streams; it ends before the goroutines
// are counted.
func serveQuick(t *testing.T, rt Runtime, change ...func(*Front)) (*Front, *client) {
	t.Helper()
	t.Cleanup(noLeak(t))
	f := NewFront(FrontOptions{Runtime: rt})
	quick(f)
	for _, c := range change {
		c(f)
	}
	return f, connect(t, f, rt)
}

func progressCall(id, token string) string {
	return `{"jsonrpc":"2.0","id":` + id + `,"method":"tools/call","params":{"name":"s__t","_meta":{"progressToken":` + token + `}}}`
}

func TestProgressComesBeforeTheResult(t *testing.T) {
	fl := newFleet(ready("s", `{"name":"t"}`))
	sv := fl.servers["s"]
	sv.do = func(c *backends.Call, _ time.Duration) error {
		for i := range 5 {
			report(c, i)
		}
		return answerWith(c, fmt.Sprintf("{\"jsonrpc\":\"2.0\",\r\n\"id\":%d,\r\"result\":{\n\"a\":1}}", c.ID))
	}
	_, c := serveQuick(t, fl)
	s := c.with("2025-11-25")
	for _, token := range []string{`"tok\u0065n"`, `7`, `1.50`, `""`} {
		for range 2 { // the connection is used again
			r := s.post(progressCall(`"x"`, token))
			var want strings.Builder
			for i := range 5 {
				fmt.Fprintf(&want, "event: message\ndata: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/progress\",\"params\":{\"progressToken\":%s,\"progress\":%d}}\n\n", token, i)
			}
			want.WriteString("event: message\ndata: {\"jsonrpc\":\"2.0\",\"id\":\"x\",\"result\":{\"a\":1}}\n\n")
			if r.status != 200 || string(r.body) != want.String() {
				t.Errorf("got %d %s\nwant %s", r.status, r.body, want.String())
			}
			if r.header.Get("Content-Type") != "text/event-stream" || r.header.Get("Cache-Control") != "no-cache" {
				t.Errorf("header %v", r.header)
			}
		}
	}
	for _, r := range []reply{
		s.post(callBody(`"x"`, "s__t", "{}")),
		s.post(progressCall(`"x"`, "1"), "Accept", "application/json"),
		s.post(progressCall(`"x"`, "{}")), // no token that MCP knows
	} {
		if r.header.Get("Content-Type") != "application/json" || !strings.HasPrefix(string(r.body), `{"jsonrpc"`) {
			t.Errorf("should be plain JSON: %v %s", r.header, r.body)
		}
	}
	if r := s.post(`{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"_meta":{"progressToken":1}}}`); r.header.Get("Content-Type") != "application/json" {
		t.Errorf("a list has no progress: %v", r.header)
	}
	// Errors come as events, too.
	sv.do = func(*backends.Call, time.Duration) error { return backends.ErrUnresponsive }
	if r := s.post(progressCall(`3`, "1")); !strings.Contains(string(r.body), `data: {"jsonrpc":"2.0","id":3,"error":{"code":-32000`) {
		t.Errorf("got %s", r.body)
	}
}

func TestProgressIsSentAtOnceAndWaitingStreamsPing(t *testing.T) {
	fl := newFleet(ready("s", `{"name":"t"}`))
	sv := fl.servers["s"]
	sv.do = func(c *backends.Call, timeout time.Duration) error {
		report(c, 1)
		return sv.hang(c, timeout)
	}
	_, c := serveQuick(t, fl)
	s := c.with("2025-11-25")
	resp, err := s.send("POST", progressCall("1", "9"))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	stream := eventsOf(resp)
	if data, _ := stream.next(t); !strings.Contains(data, `"progressToken":9,"progress":1`) {
		t.Fatalf("got %q", data)
	}
	for range 2 {
		if data, ok := stream.next(t); data != "" || !ok {
			t.Fatalf("got %q, want a ping", data)
		}
	}
	s.post(`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}`)
	for {
		data, ok := stream.next(t)
		if !ok {
			t.Fatal("the stream ended without an answer")
		}
		if data != "" {
			wantRPCError(t, []byte(data), "1", codeCancelled, "cancelled")
			break
		}
	}
	if _, ok := stream.next(t); ok {
		t.Error("the stream goes on after the answer")
	}
}

func TestClientThatLeavesEndsItsStreamNotItsCall(t *testing.T) {
	fl := newFleet(ready("s", `{"name":"t"}`))
	sv := fl.servers["s"]
	sv.do = sv.hang
	f, c := serveQuick(t, fl)
	s := c.with("2025-11-25")
	resp, err := s.send("POST", progressCall("1", "9"))
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the call hangs", func() bool { return sv.hanging() == 1 })
	resp.Body.Close()
	time.Sleep(4 * f.ping)
	if sv.hanging() != 1 || sv.cancels.Load() > 0 {
		t.Error("the call was cancelled")
	}
	s.post(`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}`)
	eventually(t, "the call ends", func() bool { return sv.hanging() == 0 })
}

func TestClientThatDoesNotReadHoldsUpNobody(t *testing.T) {
	fl := newFleet(ready("s", `{"name":"t"}`))
	ended := make(chan time.Duration, 1)
	fl.servers["s"].do = func(c *backends.Call, _ time.Duration) error {
		began := time.Now()
		for i := range 10 * progressWaiting {
			report(c, i)
		}
		ended <- time.Since(began)
		return result(c, `"`+strings.Repeat("x", 1<<20)+`"`)
	}
	f := NewFront(FrontOptions{Runtime: fl})
	f.patience = 50 * time.Millisecond
	own, err := f.sessions.open("2025-11-25")
	if err != nil {
		t.Fatal(err)
	}
	check := noLeak(t)
	// A pipe has no buffer that could hold what the client does not read.
	conn, end := net.Pipe()
	done := make(chan error, 1)
	srv := testAPI(fl, func(o *Options) { o.MCP = f }).Server()
	go func() { done <- srv.ServeConn(end) }()
	body := progressCall("1", "1")
	fmt.Fprintf(conn, "POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nMcp-Session-Id: %s\r\nContent-Length: %d\r\n\r\n%s", own.id, len(body), body)
	if _, err := conn.Read(make([]byte, 10)); err != nil {
		t.Fatal(err)
	}
	// The header goes out under the server's own, longer limit.
	for buf, got := make([]byte, 1), ""; !strings.HasSuffix(got, "data: "); got += string(buf) {
		if _, err := conn.Read(buf); err != nil {
			t.Fatal(err)
		}
	}
	if took := <-ended; took > 5*time.Second {
		t.Errorf("progress took %s: it waited for the client", took)
	}
	select {
	case err := <-done:
		if err == nil {
			t.Error("the answer passes for written")
		}
	case <-time.After(10 * time.Second):
		t.Error("the server waits for a client that does not read")
	}
	conn.Close()
	eventually(t, "the request is forgotten", func() bool {
		own.mu.Lock()
		defer own.mu.Unlock()
		return len(own.calls) == 0
	})
	check()
}

// A reader that is slow but reads gets everything: the patience is for a
// piece, not for the whole answer.
func TestSlowReaderGetsItsAnswer(t *testing.T) {
	fl := newFleet(ready("s", `{"name":"t"}`))
	big := `"` + strings.Repeat("x", 15<<20) + `"`
	fl.servers["s"].do = func(c *backends.Call, _ time.Duration) error { return result(c, big) }
	_, c := serveQuick(t, fl, func(f *Front) { f.patience = 2 * time.Second })
	resp, err := c.with("2025-11-25").send("POST", progressCall("1", "1"))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	total, buf := 0, make([]byte, 1<<20)
	for {
		n, err := resp.Body.Read(buf)
		if total/(1<<20) != (total+n)/(1<<20) {
			time.Sleep(150 * time.Millisecond) // longer than the patience in all
		}
		if total += n; err != nil {
			break
		}
	}
	if total < len(big) {
		t.Errorf("got %d bytes", total)
	}
}

func openStream(t *testing.T, s *client) (*http.Response, *events) {
	t.Helper()
	resp, err := s.send("GET", "")
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != 200 || resp.Header.Get("Content-Type") != "text/event-stream" {
		t.Fatalf("GET: %d %v", resp.StatusCode, resp.Header)
	}
	return resp, eventsOf(resp)
}

func TestStandingStreamTellsOfChanges(t *testing.T) {
	fl := newFleet(ready("s", `{"name":"t"}`))
	f, c := serveQuick(t, fl, func(f *Front) { f.pause = 100 * time.Millisecond; f.ping = 250 * time.Millisecond })
	s := c.with("2025-11-25")
	// A change between initialize and GET is told, too.
	fl.version.Add(1)
	resp, stream := openStream(t, s)
	defer resp.Body.Close()
	if data, _ := stream.next(t); data != listChanged {
		t.Fatalf("got %q", data)
	}
	if r := s.do("GET", "", "MCP-Protocol-Version", "x"); r.status != 400 {
		t.Errorf("a second stream of a bad version: %d", r.status)
	}
	// Many changes become one message a tick; silence becomes a ping.
	began, told, pings := time.Now(), 0, 0
	changed := make(chan struct{})
	go func() {
		defer close(changed)
		for range 300 {
			fl.version.Add(1)
			time.Sleep(time.Millisecond)
		}
	}()
	for pings == 0 {
		data, ok := stream.next(t)
		switch {
		case !ok:
			t.Fatal("the stream ended")
		case data == "":
			pings++
		default:
			told++
		}
	}
	<-changed
	if most := int(time.Since(began)/f.pause) + 1; told < 1 || told > most {
		t.Errorf("told %d times in %s", told, time.Since(began))
	}
	// Who has listed the tools since needs no message.
	fl.version.Add(1)
	s.post(`{"jsonrpc":"2.0","id":1,"method":"tools/list"}`)
	if data, ok := stream.next(t); data != "" || !ok {
		t.Errorf("got %q, want a ping", data)
	}
}

// A client that lost its stream once got 409 for as long as the server had not
// seen it go, up to half a minute; the SDKs give up before that.
func TestStandingStreamIsReplaced(t *testing.T) {
	fl := newFleet(ready("s", `{"name":"t"}`))
	_, c := serveQuick(t, fl, func(f *Front) { f.pause = 20 * time.Millisecond; f.ping = time.Hour })
	s := c.with("2025-11-25")
	first, lost := openStream(t, s)
	defer first.Body.Close()
	fl.version.Add(1)
	if data, _ := lost.next(t); data != listChanged {
		t.Fatalf("got %q", data)
	}
	second, stream := openStream(t, s)
	defer second.Body.Close()
	if data, ok := lost.next(t); ok {
		t.Errorf("the old stream goes on with %q", data)
	}
	// The old stream's client may not have got its last message.
	if data, _ := stream.next(t); data != listChanged {
		t.Errorf("got %q", data)
	}
	// The end of the old stream is not the end of the new one.
	fl.version.Add(1)
	if data, _ := stream.next(t); data != listChanged {
		t.Errorf("got %q", data)
	}
}

func TestStandingStreamEnds(t *testing.T) {
	fl := newFleet()
	for name, end := range map[string]func(*Front, *client){
		"DELETE": func(_ *Front, s *client) {
			if r := s.do("DELETE", ""); r.status != 204 {
				t.Errorf("DELETE: %d", r.status)
			}
		},
		"Close": func(f *Front, _ *client) { f.Close(); f.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			f, c := serveQuick(t, fl)
			s := c.with("2025-11-25")
			resp, stream := openStream(t, s)
			defer resp.Body.Close()
			end(f, s)
			for {
				if _, ok := stream.next(t); !ok {
					break
				}
			}
		})
	}
}

func TestStandingStreamMayBeOpenedAgain(t *testing.T) {
	f, c := serveQuick(t, newFleet())
	s := c.with("2025-11-25")
	for range 3 {
		resp, stream := openStream(t, s)
		if _, ok := stream.next(t); !ok {
			t.Fatal("the stream ended")
		}
		resp.Body.Close()
		own := f.sessions.find([]byte(s.session), time.Now())
		eventually(t, "the server sees that the client left", func() bool { return own.stream.Load() == nil })
	}
}

func TestStandingStreamEndsWithTheServer(t *testing.T) {
	check := noLeak(t)
	fl := newFleet()
	f := NewFront(FrontOptions{Runtime: fl})
	quick(f)
	addr, stop := startServer(t, testAPI(fl, func(o *Options) { o.MCP = f }), nil)
	transport := &http.Transport{}
	c := &client{t: t, url: "http://" + addr + "/mcp", http: &http.Client{Transport: transport}}
	resp, stream := openStream(t, c.with("2025-11-25"))
	began := time.Now()
	if err := stop(); err != nil {
		t.Errorf("Serve: %v", err)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("the shutdown took %s", took)
	}
	for {
		if _, ok := stream.next(t); !ok {
			break
		}
	}
	resp.Body.Close()
	transport.CloseIdleConnections()
	check()
}

func TestStandingStreamKeepsItsSession(t *testing.T) {
	clock := newClock()
	fl := newFleet()
	t.Cleanup(noLeak(t))
	f := NewFront(FrontOptions{Runtime: fl, Now: clock.now})
	quick(f)
	s := connect(t, f, fl).with("2025-11-25")
	resp, stream := openStream(t, s)
	defer resp.Body.Close()
	for range 4 {
		clock.advance(SessionIdle - time.Minute)
		stream.next(t)
		stream.next(t)
	}
	if r := s.post(`{"jsonrpc":"2.0","id":1,"method":"ping"}`); r.status != 200 {
		t.Errorf("got %d", r.status)
	}
}

func TestPanicInAStreamEndsOnlyTheStream(t *testing.T) {
	fl := newFleet()
	fused := &fuse{fleet: fl}
	_, c := serveQuick(t, fused)
	s := c.with("2025-11-25")
	fused.burning.Store(true)
	resp, stream := openStream(t, s)
	for {
		if _, ok := stream.next(t); !ok {
			break
		}
	}
	resp.Body.Close()
	fused.burning.Store(false)
	if r := s.post(`{"jsonrpc":"2.0","id":1,"method":"ping"}`); r.status != 200 {
		t.Errorf("got %d", r.status)
	}
}
