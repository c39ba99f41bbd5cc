package httpapi

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"

	"github.com/valyala/fasthttp"
)

// Bodies of every length around the borders come whole, one after the other on
// one connection, also when the next request was sent before the last answer.
func TestAnswersOfEveryLength(t *testing.T) {
	lengths := []int{0, 1, 64 << 10, 1 << 20}
	for around := range 200 {
		for _, border := range []int{writeBufferSize, longAnswer, 3 * writeBufferSize} {
			lengths = append(lengths, border-150+around)
		}
	}
	body := func(n int) []byte { return bytes.Repeat([]byte{byte('a' + n%26)}, n) }
	addr, _ := startServer(t, testAPI(&fakeRuntime{}), func(srv *fasthttp.Server) {
		srv.Handler = func(ctx *fasthttp.RequestCtx) {
			ctx.SetBody(body(ctx.QueryArgs().GetUintOrZero("n")))
			expectLong(ctx)
		}
	})
	for _, pipelined := range []bool{false, true} {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		ask := func(n int) {
			if _, err := fmt.Fprintf(c, "GET /?n=%d HTTP/1.1\r\nHost: localhost\r\n\r\n", n); err != nil {
				t.Error(err)
			}
		}
		if pipelined {
			go func() {
				for _, n := range lengths {
					ask(n)
				}
			}()
		}
		in := bufio.NewReader(c)
		for _, n := range lengths {
			if !pipelined {
				ask(n)
			}
			resp, err := http.ReadResponse(in, nil)
			if err != nil {
				t.Fatalf("pipelined %v, %d bytes: %v", pipelined, n, err)
			}
			got, err := io.ReadAll(resp.Body)
			if err != nil || !bytes.Equal(got, body(n)) {
				t.Fatalf("pipelined %v: %d bytes came, %v, want %d", pipelined, len(got), err, n)
			}
		}
	}
}

// recordingConn has no descriptor.
type recordingConn struct {
	net.Conn
	pieces []string
}

func (c *recordingConn) Write(p []byte) (int, error) {
	c.pieces = append(c.pieces, string(p))
	return len(p), nil
}
func (c *recordingConn) Read([]byte) (int, error) { return 0, io.EOF }

// What is held never stays: the next write takes it along, and so does a read.
func TestHeldHeadLeavesWithWhateverComesNext(t *testing.T) {
	full := string(bytes.Repeat([]byte("h"), writeBufferSize))
	write := func(c *edgeConn, text string) {
		t.Helper()
		if n, err := c.Write([]byte(text)); n != len(text) || err != nil {
			t.Errorf("%d of %d bytes, %v", n, len(text), err)
		}
	}
	for name, test := range map[string]struct {
		do   func(c *edgeConn)
		want int // pieces that were written
	}{
		"not expected":    {func(c *edgeConn) { c.out.expected = false; write(c, full) }, 1},
		"not full":        {func(c *edgeConn) { write(c, "short"); write(c, full) }, 2},
		"held":            {func(c *edgeConn) { write(c, full) }, 0},
		"held, then more": {func(c *edgeConn) { write(c, full); write(c, "rest"); write(c, full) }, 3},
		"held, then read": {func(c *edgeConn) { write(c, full); _, _ = c.Read(nil) }, 1},
	} {
		conn := &recordingConn{}
		c := &edgeConn{Conn: conn}
		c.out.expected = true
		test.do(c)
		if len(conn.pieces) != test.want {
			t.Errorf("%s: %d pieces left, want %d", name, len(conn.pieces), test.want)
		}
	}
}
