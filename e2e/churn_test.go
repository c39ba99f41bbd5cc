package e2e_test

import (
	"fmt"
	"math"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fasthttp/websocket"
)

// churn is how many rounds a churn test makes: the whole number when
// HANGAR_CHURN=full, a twentieth otherwise.
func churn(whole int) int {
	if os.Getenv("HANGAR_CHURN") == "full" {
		return whole
	}
	return whole / 20
}

// TestChurnLeavesNothingBehind proves E13 over HTTP; the packages' own tests
// look for goroutines with goleak.
func TestChurnLeavesNothingBehind(t *testing.T) {
	h := start(t, servers{"busy": stub(), "quiet": stub()})
	client := h.newRPC()
	calls := func(n int) {
		var wg sync.WaitGroup
		for worker := range 8 {
			wg.Go(func() {
				for i := range n / 8 {
					text := fmt.Sprint(worker, "/", i)
					if result, err := h.call("quiet", "echo", map[string]any{"text": text}); err != nil || result.text() != text {
						t.Errorf("got %q, %v; want %q", result.text(), err, text)
						return
					}
				}
			})
		}
		wg.Wait()
	}
	starts := func(n int) {
		for range n {
			for _, verb := range []string{"start", "stop"} {
				if err := h.request("POST", "/api/mcp_servers/busy/"+verb, nil, nil); err != nil {
					t.Fatalf("%s: %v", verb, err)
				}
			}
		}
	}
	streams := func(n int) {
		address := strings.TrimPrefix(h.url, "http://")
		for range n {
			conn, err := net.Dial("tcp", address)
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(conn, "GET /mcp HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\nMcp-Session-Id: %s\r\n\r\n", client.session)
			var head [12]byte
			conn.SetReadDeadline(time.Now().Add(patience))
			if _, err := conn.Read(head[:]); err != nil || string(head[:]) != "HTTP/1.1 200" {
				t.Fatalf("a stream: got %q, %v", head, err)
			}
			conn.Close()
		}
	}
	sockets := func(n int) {
		dialer := websocket.Dialer{HandshakeTimeout: patience}
		for i := range n {
			ws, _, err := dialer.Dial("ws"+strings.TrimPrefix(h.url, "http")+"/api/ws/events", nil)
			if err != nil {
				t.Fatal(err)
			}
			if i%2 == 0 { // the others are dropped as soon as they are open
				ws.SetReadDeadline(time.Now().Add(patience))
				if err := ws.WriteMessage(websocket.TextMessage, []byte(`{"type":"subscribe","after":0}`)); err != nil {
					t.Fatal(err)
				}
				if _, message, err := ws.ReadMessage(); err != nil {
					t.Fatalf("an event stream: got %q, %v", message, err)
				}
			}
			ws.Close()
		}
	}
	// What is made once is made now: pools, buffers, the workers of the server.
	calls(400)
	starts(2)
	streams(10)
	sockets(10)
	settled := func() vitals {
		httpIdle()
		var v vitals
		heap := int64(math.MaxInt64) // the lowest is that after a collection
		for last, same := (vitals{}), 0; same < 3; last = v {
			time.Sleep(500 * time.Millisecond) // until nothing moves any more
			v = h.vitals()
			if heap = min(heap, v.heap); v.goroutines == last.goroutines && v.descriptors == last.descriptors {
				same++
			} else {
				same = 0
			}
		}
		v.heap = heap
		return v
	}
	before := settled()
	starts(churn(10_000))
	streams(churn(10_000))
	sockets(churn(10_000))
	calls(churn(100_000))
	var after vitals
	if !eventually(time.Minute, func() bool {
		after = settled()
		return after.goroutines <= before.goroutines+5 && after.descriptors <= before.descriptors && after.heap <= before.heap+1<<20
	}) {
		t.Errorf("before %s; after %s", before, after)
	}
	t.Logf("before %s; after %s", before, after)
	if d := h.detail("busy"); d.Epoch != uint64(2+churn(10_000)) {
		t.Errorf("the server was started %d times, want %d", d.Epoch, 2+churn(10_000))
	}
}

// httpIdle closes the connections that the tests' client keeps.
func httpIdle() { client.CloseIdleConnections() }
