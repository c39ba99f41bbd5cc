package httpapi

import (
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aabb9013/hangar/backends"
)

// leaver writes one request over a connection of its own, which the test then
// closes.
func leaver(t *testing.T, addr, path, body string, header http.Header) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	head := fmt.Sprintf("POST %s HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n", path, addr, len(body))
	for name, values := range header {
		head += name + ": " + values[0] + "\r\n"
	}
	if _, err := conn.Write([]byte(head + "\r\n" + body)); err != nil {
		t.Fatal(err)
	}
	return conn
}

// R09: the call of a client that leaves is cancelled, whichever way it came; one
// whose client stays is not.
func TestClientThatLeavesEndsItsCall(t *testing.T) {
	fl := newFleet(ready("s", `{"name":"t"}`))
	sv := fl.servers["s"]
	ended := make(chan error, 10)
	sv.do = func(c *backends.Call, timeout time.Duration) error {
		err := sv.hang(c, timeout)
		ended <- err
		return err
	}
	_, c := serveQuick(t, fl)
	addr, _, _ := strings.Cut(strings.TrimPrefix(c.url, "http://"), "/")
	session := c.with("2025-11-25")
	mcp := http.Header{"Mcp-Session-Id": {session.session}, "Accept": {"application/json"}}
	call := `{"jsonrpc":"2.0","id":%d,"method":"tools/call","params":{"name":"s__t"}}`
	for name, leave := range map[string]func() net.Conn{
		"REST": func() net.Conn { return leaver(t, addr, "/api/mcp_servers/s/tools/t/call", "{}", nil) },
		"MCP":  func() net.Conn { return leaver(t, addr, "/mcp", fmt.Sprintf(call, 1), mcp) },
	} {
		staying := leaver(t, addr, "/api/mcp_servers/s/tools/t/call", "{}", nil)
		leaving := leave()
		eventually(t, name+": both calls are under way", func() bool { return sv.hanging() == 2 })
		leaving.Close()
		if err := <-ended; err != errCancelled {
			t.Errorf("%s: the call of the client that left ended with %v", name, err)
		}
		if n := sv.hanging(); n != 1 {
			t.Errorf("%s: %d calls go on, want that of the client that stays", name, n)
		}
		staying.Close()
		<-ended
	}
}

// A short call never meets the watcher: it takes two looks.
func TestOnlyLongErrandsAreLookedAt(t *testing.T) {
	w := &waiting{}
	if _, ok := w.long(); ok {
		t.Error("a connection without an errand has a long one")
	}
	c := &edgeConn{}
	for i := range 3 {
		w := beginErrand(c, errand{id: uint64(i)})
		if _, ok := w.long(); ok {
			t.Error("an errand is long at the first look")
		}
		if e, ok := w.long(); !ok || e.id != uint64(i) {
			t.Errorf("the second look found %v, %v", e.id, ok)
		}
		w.end()
		if _, ok := w.long(); ok {
			t.Error("an errand that ended is long")
		}
	}
	if beginErrand(nil, errand{}) != nil {
		t.Error("a connection of somebody else is watched")
	}
	if n := testing.AllocsPerRun(100, func() { beginErrand(c, errand{}).end() }); n != 0 {
		t.Errorf("%v allocations for an errand", n)
	}
}

// BenchmarkErrand is what the watch costs a call.
func BenchmarkErrand(b *testing.B) {
	c := &edgeConn{}
	b.ReportAllocs()
	for i := range b.N {
		beginErrand(c, errand{id: uint64(i)}).end()
	}
}
