package hangar_test

import (
	"encoding/json"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fasthttp/websocket"
	"go.uber.org/goleak"

	"github.com/aabb9013/hangar"
	"github.com/aabb9013/hangar/internal/leaktest"
)

// streamed is one message of an event stream: an event, or one of the stream's own.
type streamed struct {
	Kind     string  `json:"event_type"`
	ID       string  `json:"event_id"`
	Position uint64  `json:"position"`
	At       float64 `json:"occurred_at"`
	Time     string  `json:"timestamp"`
	Server   string  `json:"mcp_server_id"`
	Tool     string  `json:"tool_name"`

	Type  string `json:"type"`
	Count uint64 `json:"count"`
	text  string
}

type events struct {
	t  *testing.T
	ws *websocket.Conn
}

// follow opens a stream of a runtime that f serves.
func (f *front) follow(query string) events {
	f.t.Helper()
	dialer := websocket.Dialer{HandshakeTimeout: patience}
	ws, _, err := dialer.DialContext(f.t.Context(), "ws"+strings.TrimPrefix(f.url, "http")+"/api/ws/events"+query, nil)
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { ws.Close() })
	return events{f.t, ws}
}

func (e events) read() (m streamed, err error) {
	_ = e.ws.SetReadDeadline(time.Now().Add(patience))
	_, message, err := e.ws.ReadMessage()
	if err == nil {
		err = json.Unmarshal(message, &m)
	}
	m.text = string(message)
	return m, err
}

func (e events) next() streamed {
	e.t.Helper()
	m, err := e.read()
	if err != nil {
		e.t.Fatalf("no message: %v", err)
	}
	return m
}

// await reads on until an event of the kind.
func (e events) await(kind string) streamed {
	e.t.Helper()
	for {
		if m := e.next(); m.Kind == kind {
			return m
		}
	}
}

func (e events) send(message string) {
	e.t.Helper()
	if err := e.ws.WriteMessage(websocket.TextMessage, []byte(message)); err != nil {
		e.t.Fatal(err)
	}
}

func TestEventStreamTellsTheFleetsLife(t *testing.T) {
	rt := open(t, hangar.Options{DataDir: t.TempDir()})
	f := serve(t, rt)
	all := f.follow("")
	some := f.follow("?event_type=ToolInvocation*&mcp_server_id=b")
	some.send(`{"type":"ping"}`)
	if m := some.next(); m.Type != "pong" {
		t.Fatalf("got %s", m.text)
	}
	create(t, rt, stub("a"), stub("b"))
	echo(t, rt, "a")
	rt.Call(t.Context(), "b", "crash", map[string]any{"code": 9})
	var last streamed
	var kinds []string
	for len(kinds) == 0 || kinds[len(kinds)-1] != "McpServerCrashed" {
		m := all.next()
		if m.Position != last.Position+1 && last.Position != 0 || m.At <= 0 || m.ID == "" || m.Time == "" {
			t.Errorf("behind position %d came %s", last.Position, m.text)
		}
		kinds, last = append(kinds, m.Kind), m
	}
	at := 0
	for _, kind := range []string{"McpServerRegistered", "McpServerRegistered", "McpServerStarted", "McpServerCrashed"} {
		for at < len(kinds) && kinds[at] != kind {
			at++
		}
		if at++; at > len(kinds) {
			t.Errorf("%s is missing in %v", kind, kinds)
		}
	}
	if m := some.next(); m.Kind != "ToolInvocationFailed" || m.Server != "b" {
		t.Errorf("the filter let through %s", m.text)
	}
	// The same event is the same in every read.
	again := f.follow(fmt.Sprint("?after=", last.Position-1)).next()
	if again.text != last.text {
		t.Errorf("read again: %s\nfirst: %s", again.text, last.text)
	}
	some.send(`{"type":"subscribe","mcp_server_ids":["a"],"after":0}`)
	for m := some.next(); ; m = some.next() {
		if m.Kind == "ToolInvocationCompleted" {
			break
		}
		if m.Kind != "" && m.Server != "a" {
			t.Errorf("the new filter let through %s", m.text)
		}
	}
}

// TestEventStreamResumesUnderWriters: clients that come and go with the last
// position they saw miss nothing and see nothing twice, also over a restart of
// the runtime.
func TestEventStreamResumesUnderWriters(t *testing.T) {
	dir := t.TempDir()
	const each, writers, readers = 150, 4, 3
	var after [readers]uint64
	follow := func(run int) {
		rt := open(t, hangar.Options{DataDir: dir})
		f := serve(t, rt)
		if run == 0 {
			create(t, rt, stub("a"), stub("b"))
		}
		last := fmt.Sprint("last-of-run-", run)
		var writing, reading sync.WaitGroup
		for w := range writers {
			writing.Go(func() {
				for range each {
					echo(t, rt, string(rune('a'+w%2)))
				}
			})
		}
		for r := range readers {
			reading.Go(func() {
				for n, seen := 0, false; !seen; n++ {
					e := f.follow(fmt.Sprint("?after=", after[r]))
					for range 1 + 37*n%200 {
						m, err := e.read()
						if err != nil || m.Position != after[r]+1 {
							t.Errorf("reader %d: behind %d came %s, %v", r, after[r], m.text, err)
							return
						}
						after[r] = m.Position
						if seen = m.Kind == "McpServerRegistered" && m.Server == last; seen {
							break
						}
					}
					e.ws.Close()
				}
			})
		}
		writing.Wait()
		create(t, rt, stub(last))
		reading.Wait()
		shut(t, rt)
	}
	for run := range 2 {
		follow(run)
	}
}

// narrowListener keeps little of what a client does not read in the kernel.
type narrowListener struct{ net.Listener }

func (l narrowListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.SetWriteBuffer(4 << 10)
	}
	return c, err
}

func TestSlowEventStreamIsToldWhatItLost(t *testing.T) {
	rt := open(t, hangar.Options{})
	create(t, rt, stub("a"))
	echo(t, rt, "a")
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := serveOn(t, rt, narrowListener{ln})
	dialer := websocket.Dialer{HandshakeTimeout: patience, ReadBufferSize: 512, NetDial: func(network, addr string) (net.Conn, error) {
		c, err := net.Dial(network, addr)
		if err == nil {
			_ = c.(*net.TCPConn).SetReadBuffer(4 << 10)
		}
		return c, err
	}}
	// A host that is so slow that the calls take longer than a client may leave
	// its stream unread gets another try.
	for range 5 {
		ws, _, err := dialer.Dial("ws://"+ln.Addr().String()+"/api/ws/events", nil)
		if err != nil {
			t.Fatal(err)
		}
		e := events{t, ws}
		e.send(`{"type":"ping"}`)
		e.next()
		var calls sync.WaitGroup
		for range 8 {
			calls.Go(func() {
				for range 500 {
					echo(t, rt, "a")
				}
			})
		}
		calls.Wait()
		last, dropped := uint64(0), uint64(0)
		f.send("POST", "/api/mcp_servers/a/stop", "")
		for m, err := e.read(); err == nil; m, err = e.read() {
			if m.Type == "dropped" {
				if dropped += m.Count; last != 0 {
					last += m.Count
				}
				continue
			}
			if last != 0 && m.Position != last+1 {
				t.Fatalf("behind %d came %s", last, m.text)
			}
			last = m.Position
			if m.Kind == "McpServerStopped" {
				break
			}
		}
		ws.Close()
		if dropped > 0 {
			return
		}
	}
	t.Error("nothing was dropped")
}

// TestCloseEndsEventStreams: Close waits for none of their clients, and leaves
// nothing of them.
func TestCloseEndsEventStreams(t *testing.T) {
	before := goleak.IgnoreCurrent()
	rt := open(t, hangar.Options{DataDir: t.TempDir()})
	f, done := serveUntilClose(t, rt)
	create(t, rt, stub("a"))
	reads, unread, behind := f.follow(""), f.follow(""), f.follow("?after=0&event_type=None")
	echo(t, rt, "a")
	shut(t, rt)
	reads.await("McpServerStopped")
	for _, e := range []events{reads, unread, behind} {
		for {
			if _, err := e.read(); err != nil {
				if !websocket.IsCloseError(err, websocket.CloseGoingAway) {
					t.Errorf("the stream ended with %v", err)
				}
				break
			}
		}
		e.ws.Close()
	}
	if err := <-done; err != nil {
		t.Errorf("Serve: %v", err)
	}
	if err := leaktest.Find(before, leaktest.FasthttpWorkers, leaktest.FasthttpDate); err != nil {
		t.Error(err)
	}
}
