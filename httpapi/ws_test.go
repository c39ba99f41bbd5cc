package httpapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"path"
	"strings"
	"testing"
	"time"

	"github.com/fasthttp/websocket"
	"github.com/google/go-cmp/cmp"
	"github.com/valyala/fasthttp"

	"github.com/aabb9013/hangar/supervisor"
)

// streamPatience bounds what takes moments; a loaded host may need long.
const streamPatience = 30 * time.Second

// streamClient is a client of an event stream.
type streamClient struct {
	t  *testing.T
	ws *websocket.Conn
}

func dialEvents(t *testing.T, addr, query string) *streamClient {
	t.Helper()
	c, _, err := tryEvents(addr, query, nil)
	if err != nil {
		t.Fatalf("cannot connect: %v", err)
	}
	t.Cleanup(func() { c.Close() })
	return &streamClient{t, c}
}

func tryEvents(addr, query string, header http.Header) (*websocket.Conn, *http.Response, error) {
	dialer := websocket.Dialer{HandshakeTimeout: streamPatience}
	return dialer.Dial("ws://"+addr+"/api/ws/events"+query, header)
}

// next is the next message, which must be as documented.
func (c *streamClient) next() string {
	c.t.Helper()
	_ = c.ws.SetReadDeadline(time.Now().Add(streamPatience))
	kind, message, err := c.ws.ReadMessage()
	if err != nil || kind != websocket.TextMessage {
		c.t.Fatalf("no text message: %d, %v", kind, err)
	}
	checkContract(c.t, request{method: "GET", path: "/api/ws/events"},
		reply{status: 101, header: http.Header{"Content-Type": {"application/json"}}, body: message})
	return string(message)
}

func (c *streamClient) want(message string) {
	c.t.Helper()
	if diff := cmp.Diff(message, c.next()); diff != "" {
		c.t.Errorf("message (-want +got):\n%s", diff)
	}
}

func (c *streamClient) send(message string) {
	c.t.Helper()
	if err := c.ws.WriteMessage(websocket.TextMessage, []byte(message)); err != nil {
		c.t.Fatal(err)
	}
}

// wantClosed reads on to the end of the stream.
func (c *streamClient) wantClosed(code int) {
	c.t.Helper()
	for {
		_ = c.ws.SetReadDeadline(time.Now().Add(streamPatience))
		_, _, err := c.ws.ReadMessage()
		if err == nil {
			continue
		}
		if !websocket.IsCloseError(err, code) {
			c.t.Errorf("the stream ended with %v, want %d", err, code)
		}
		return
	}
}

// awaitStreams waits until so many subscriptions are open.
func (f *fakeEvents) awaitStreams(t *testing.T, n int64) {
	t.Helper()
	eventually(t, fmt.Sprintf("%d subscriptions", n), func() bool { return f.open.Load() == n })
}

func record(position uint64, kind, server, data string) EventRecord {
	return EventRecord{HistoryRecord: HistoryRecord{Position: position, Version: 7, Kind: kind, At: testNow, Data: []byte(data)}, Server: server}
}

func TestEventStreamShowsFlatEvents(t *testing.T) {
	rt := testFleet()
	addr, _ := startServer(t, testAPI(rt), nil)
	c := dialEvents(t, addr, "")
	rt.events.awaitStreams(t, 1)
	// Own fields that are called like the common ones do not stand there twice.
	rt.events.add(record(9, "RuntimeStarted", "", `{"version":"1.2","data":{"x":1},"event_id":"mine","position":1}`))
	c.want(`{"event_type":"RuntimeStarted","event_id":"00000000-0000-8000-8000-000000000009","position":9,"occurred_at":1774260930,` +
		`"timestamp":"2026-03-23T10:15:30Z","version":"1.2","data":{"x":1}}`)
	rt.events.add(record(10, "McpServerStopped", "math", `{"mcp_server_id":"math","reason":"<idle>"}`))
	c.want(`{"event_type":"McpServerStopped","event_id":"00000000-0000-8000-8000-00000000000a","position":10,"occurred_at":1774260930,` +
		`"timestamp":"2026-03-23T10:15:30Z","mcp_server_id":"math","reason":"<idle>"}`)
	rt.events.give(func(s *fakeSubscription) { s.dropped = 3; s.pending = []EventRecord{record(14, "E", "", `{}`)} })
	c.want(`{"type":"dropped","count":3}`)
	if got := c.next(); !strings.Contains(got, `"position":14`) {
		t.Errorf("after the dropped ones: %s", got)
	}
}

func TestEventStreamFilters(t *testing.T) {
	rt := testFleet()
	rt.events.position = 50
	addr, _ := startServer(t, testAPI(rt), nil)
	c := dialEvents(t, addr, "?event_type=Mcp*,Group%3f&event_type=Tool&mcp_server_id=ma*&after=40")
	rt.events.awaitStreams(t, 1)
	position := uint64(50)
	shows := func(kind, server string) bool {
		position += 2
		rt.events.add(record(position, kind, server, `{}`))
		// Whether the one before came shows in what comes next.
		rt.events.give(func(s *fakeSubscription) { s.pending = append(s.pending, record(position+1, "Mark", "", `{}`)) })
		shown := false
		for {
			got := c.next()
			if strings.Contains(got, fmt.Sprintf(`"position":%d,`, position+1)) {
				return shown
			}
			shown = true
		}
	}
	check := func(want map[[2]string]bool) {
		t.Helper()
		for e, want := range want {
			if got := shows(e[0], e[1]); got != want {
				t.Errorf("event %v shown: %v, want %v", e, got, want)
			}
		}
	}
	check(map[[2]string]bool{
		{"McpServerStarted", "math"}: true, {"Groups", "math"}: true, {"Tool", "ma"}: true, {"GroupXY", "math"}: false,
		{"McpServerStarted", "other"}: false, {"McpServerStarted", ""}: false, {"mcpServerStarted", "math"}: false,
	})
	rt.events.give(func(s *fakeSubscription) {
		if s.after != 40 {
			t.Errorf("the stream begins behind %d, want 40", s.after)
		}
	})
	c.send(`{"type":"subscribe"}`)
	c.want(`{"type":"subscribed","event_types":null,"mcp_server_ids":null}`)
	check(map[[2]string]bool{{"Any", ""}: true, {"Any", "x"}: true})
	c.send(`{"event_types":["*Started"],"mcp_server_ids":null}`)
	c.want(`{"type":"subscribed","event_types":["*Started"],"mcp_server_ids":null}`)
	// What is refused changes nothing.
	for _, bad := range []struct{ message, error, text string }{
		{`{`, "InvalidRequestError", "not valid JSON"},
		{``, "InvalidRequestError", "required"},
		{`[]`, "InvalidRequestError", "object"},
		{`{"event_types":["a"],"event_types":["b"]}`, "InvalidRequestError", "twice"},
		{`{}`, "InvalidRequestError", "needs a type"},
		{`{"type":"unsubscribe"}`, "InvalidRequestError", "unknown"},
		{`{"type":7}`, "ValidationError", "string"},
		{`{"type":"subscribe","event_types":["[a"]}`, "ValidationError", "event_types has the pattern"},
		{`{"type":"subscribe","event_types":[""]}`, "ValidationError", "pattern"},
		{`{"type":"subscribe","event_types":"*"}`, "ValidationError", "list of strings"},
		{`{"type":"subscribe","mcp_server_ids":["` + strings.Repeat("x", 201) + `"]}`, "ValidationError", "mcp_server_ids"},
		{`{"type":"subscribe","event_types":[` + strings.Repeat(`"a",`, 100) + `"a"]}`, "ValidationError", "the limit is 100"},
		{`{"type":"subscribe","event_type":["a"]}`, "ValidationError", "unknown field"},
		{`{"type":"subscribe","after":-1}`, "ValidationError", "after"},
		{`{"type":"subscribe","after":51}`, "ValidationError", "the log ends at 50"},
	} {
		c.send(bad.message)
		if got := c.next(); !strings.HasPrefix(got, `{"type":"error","error":"`+bad.error+`"`) || !strings.Contains(got, bad.text) {
			t.Errorf("%s was answered by %s, want %s: %s", bad.message, got, bad.error, bad.text)
		}
	}
	check(map[[2]string]bool{{"McpServerStarted", "x"}: true, {"McpServerStopped", "x"}: false})
	c.send(`{"type":"subscribe","event_types":[],"mcp_server_ids":[],"after":0}`)
	c.want(`{"type":"subscribed","event_types":[],"mcp_server_ids":[]}`)
	check(map[[2]string]bool{{"McpServerStarted", "x"}: false})
	rt.events.give(func(s *fakeSubscription) {
		if s.after != 0 {
			t.Errorf("the stream goes on behind %d, want 0", s.after)
		}
	})
	c.send(`{"type":"ping"}`)
	c.want(`{"type":"pong"}`)
}

func TestEventStreamRefusals(t *testing.T) {
	rt := testFleet()
	rt.events.position = 5
	addr, _ := startServer(t, testAPI(rt, func(o *Options) { o.AllowedOrigins = []string{"https://console.example"} }), nil)
	const upgrade = "Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n"
	const version, key = "Sec-WebSocket-Version: 13\r\n", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
	for _, c := range []struct {
		name, query, header string
		status              int
		error               string
	}{
		{"plain request", "", "", 426, "UpgradeRequired"},
		{"other protocol", "", "Connection: Upgrade\r\nUpgrade: h2c\r\n", 426, "UpgradeRequired"},
		{"older version", "", upgrade + key + "Sec-WebSocket-Version: 8\r\n", 426, "UpgradeRequired"},
		{"no key", "", upgrade + version, 400, "InvalidRequestError"},
		{"short key", "", upgrade + version + "Sec-WebSocket-Key: YQ==\r\n", 400, "InvalidRequestError"},
		{"bad pattern", "?event_type=%5Bx", upgrade + version + key, 422, "ValidationError"},
		{"no position", "?after=new", upgrade + version + key, 422, "ValidationError"},
		{"position of another log", "?after=6", upgrade + version + key, 422, "ValidationError"},
		{"other site", "", upgrade + version + key + "Origin: https://evil.example\r\n", 403, "ForbiddenOrigin"},
		{"origin null", "", upgrade + version + key + "Origin: null\r\n", 403, "ForbiddenOrigin"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := exchange(t, addr, "GET /api/ws/events"+c.query+" HTTP/1.1\r\nHost: localhost\r\n"+c.header+"\r\n")
			checkContract(t, request{method: "GET", path: "/api/ws/events"}, r)
			wantError(t, r, c.status, c.error, "")
			if got := r.header.Get("Upgrade"); c.status == 426 && got != "websocket" {
				t.Errorf("Upgrade is %q", got)
			}
			if got := r.header.Get("Sec-WebSocket-Version"); c.name == "older version" && got != "13" {
				t.Errorf("Sec-WebSocket-Version is %q", got)
			}
		})
	}
	for _, origin := range []string{"https://console.example", "http://" + addr, "http://localhost:3000"} {
		ws, _, err := tryEvents(addr, "", http.Header{"Origin": {origin}})
		if err != nil {
			t.Fatalf("origin %s: %v", origin, err)
		}
		ws.Close()
	}
	rt.events.awaitStreams(t, 0)
	rt.events.refused.Store(true)
	_, r, err := tryEvents(addr, "", nil)
	if err == nil || r.StatusCode != 503 || r.Header.Get("Retry-After") == "" {
		t.Errorf("while the runtime closes: %v, %v", r, err)
	}
}

func TestEventStreamsAreBounded(t *testing.T) {
	rt := testFleet()
	a := testAPI(rt)
	a.sockets.max = 2
	addr, _ := startServer(t, a, nil)
	first := dialEvents(t, addr, "")
	dialEvents(t, addr, "")
	rt.events.awaitStreams(t, 2)
	_, resp, err := tryEvents(addr, "", nil)
	if err == nil {
		t.Fatal("a third stream was opened")
	}
	var body bytes.Buffer
	_, _ = body.ReadFrom(resp.Body)
	r := reply{status: resp.StatusCode, header: resp.Header, body: body.Bytes()}
	checkContract(t, request{method: "GET", path: "/api/ws/events"}, r)
	wantError(t, r, 503, "TooManyEventStreams", "too many event streams")
	first.ws.Close()
	eventually(t, "room again", func() bool {
		ws, _, err := tryEvents(addr, "", nil)
		if err == nil {
			t.Cleanup(func() { ws.Close() })
		}
		return err == nil
	})
}

func TestEventStreamAsksQuietClients(t *testing.T) {
	for _, answers := range []bool{true, false} {
		a := testAPI(testFleet())
		a.sockets.ping, a.sockets.pong = 20*time.Millisecond, streamPatience
		if !answers {
			a.sockets.pong = 20 * time.Millisecond
		}
		addr, _ := startServer(t, a, nil)
		c := dialEvents(t, addr, "")
		c.want(`{"type":"ping"}`)
		if !answers {
			c.wantClosed(websocket.ClosePolicyViolation)
			continue
		}
		for range 3 {
			c.send(`{"type":"pong"}`)
			c.want(`{"type":"ping"}`)
		}
	}
}

func TestEventStreamEndsWithTheRuntime(t *testing.T) {
	for err, code := range map[error]int{
		fmt.Errorf("the end: %w", supervisor.ErrClosing): websocket.CloseGoingAway,
		errors.New("the log is damaged at hunter2"):      websocket.CloseInternalServerErr,
	} {
		rt := testFleet()
		addr, _ := startServer(t, testAPI(rt), nil)
		c := dialEvents(t, addr, "")
		rt.events.awaitStreams(t, 1)
		rt.events.give(func(s *fakeSubscription) { s.err = err })
		c.wantClosed(code)
		rt.events.awaitStreams(t, 0)
	}
}

// TestShutdownEndsEventStreams has one client that reads and one that does not,
// so that the write to it hangs.
func TestShutdownEndsEventStreams(t *testing.T) {
	rt := testFleet()
	addr, stop := startServer(t, testAPI(rt), nil)
	c := dialEvents(t, addr, "")
	dialEvents(t, addr, "")
	rt.events.awaitStreams(t, 2)
	long := record(1, "E", "", `{"x":"`+strings.Repeat("x", 30<<10)+`"}`)
	for range 500 {
		rt.events.add(long)
	}
	rt.events.add(record(2, "Last", "", `{}`))
	for !strings.Contains(c.next(), "Last") {
	}
	stopped := make(chan error, 1)
	go func() { stopped <- stop() }()
	c.wantClosed(websocket.CloseGoingAway)
	if err := <-stopped; err != nil {
		t.Errorf("Serve: %v", err)
	}
	if n := rt.events.open.Load(); n != 0 {
		t.Errorf("%d subscriptions are open after Serve", n)
	}
}

// TestEventStreamOfAHostsOwnServer: who embeds the handler serves it as he likes.
func TestEventStreamOfAHostsOwnServer(t *testing.T) {
	rt := testFleet()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := &fasthttp.Server{Handler: testAPI(rt).Handler()}
	done := make(chan error, 1)
	go func() { done <- srv.Serve(ln) }()
	c := dialEvents(t, ln.Addr().String(), "")
	rt.events.awaitStreams(t, 1)
	if err := srv.Shutdown(); err != nil {
		t.Error(err)
	}
	c.wantClosed(websocket.CloseGoingAway)
	rt.events.awaitStreams(t, 0)
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestClientThatDoesNotReadIsClosed(t *testing.T) {
	rt := testFleet()
	a := testAPI(rt)
	a.sockets.patience = 50 * time.Millisecond
	addr, _ := startServer(t, a, nil)
	dialEvents(t, addr, "")
	rt.events.awaitStreams(t, 1)
	long := record(1, "E", "", `{"x":"`+strings.Repeat("x", 30<<10)+`"}`)
	eventually(t, "its stream ends", func() bool {
		for range 100 {
			rt.events.add(long)
		}
		return rt.events.open.Load() == 0
	})
}

func TestEventStreamSurvivesBadClientsAndBugs(t *testing.T) {
	rt := testFleet()
	var log bytes.Buffer
	a := testAPI(rt, func(o *Options) { o.Logger = logTo(&log) })
	addr, stop := startServer(t, a, nil)
	big := dialEvents(t, addr, "")
	big.send(strings.Repeat("x", maxStreamMessage+1))
	big.wantClosed(websocket.CloseMessageTooBig)
	raw, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	fmt.Fprintf(raw, "GET /api/ws/events HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\nGET / HTTP/1.1\r\n\r\n")
	rt.events.awaitStreams(t, 0)
	c := dialEvents(t, addr, "")
	rt.events.awaitStreams(t, 1)
	rt.events.panics.Store(true)
	rt.events.add(record(1, "E", "", `{}`))
	rt.events.awaitStreams(t, 0)
	if _, _, err := c.ws.ReadMessage(); err == nil {
		t.Error("the stream of a panic goes on")
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
	if !strings.Contains(log.String(), "panic in an event stream") || a.sockets.open.Load() != 0 {
		t.Errorf("%d streams are counted; log: %s", a.sockets.open.Load(), log.String())
	}
}

// FuzzStreamRequest: whatever a client sends is answered by an error or is a
// request within the bounds, and never ends the program.
func FuzzStreamRequest(f *testing.F) {
	f.Add(`{"type":"subscribe","event_types":["Mcp*","[a-z]?"],"mcp_server_ids":null,"after":3e2}`)
	f.Add(`{"event_types":["[","\\"]}`)
	f.Add(`{"type":"pong"}`)
	f.Fuzz(func(t *testing.T, message string) {
		r := parseStreamRequest([]byte(message))
		if r.err != nil {
			if frame := errorFrame(r.err); !json.Valid(frame) || len(frame) > 8<<10 {
				t.Errorf("%q is answered by %s", message, frame)
			}
			return
		}
		for _, list := range [][]string{r.filter.kinds, r.filter.servers} {
			for _, p := range list {
				if _, err := path.Match(p, "McpServerStarted"); err != nil || len(list) > maxPatterns || len(p) > maxPattern {
					t.Errorf("%q lets through the pattern %q, %v", message, p, err)
				}
			}
		}
		r.filter.wants()("McpServerStarted", "math")
	})
}
