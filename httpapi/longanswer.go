package httpapi

import (
	"sync"

	"github.com/valyala/fasthttp"
)

const (
	// writeBufferSize is that of fasthttp's writer of a connection.
	writeBufferSize = 4 << 10
	// longAnswer is the length of a body that for certain does not fit the
	// writer's buffer, nor what is left of it behind the first full one.
	longAnswer = 2 * writeBufferSize
)

// A long answer would leave in two pieces: the writer fills its buffer with the
// head and the start of the body, sends it, and then sends the rest from where
// it lies. Each piece costs a system call and wakes the client, a twentieth of
// all that a call with 64 KiB costs. So the first one is held back for the second,
// and both leave in one system call. Whatever the connection does next sends
// what is held; all of it is the serving goroutine's.
type outgoing struct {
	expected bool  // the next full buffer begins a long answer
	held     *head // of a long answer, nil for none
}

type head [writeBufferSize]byte

var heads = sync.Pool{New: func() any { return new(head) }}

// expectLong tells the request's connection, if it is one of a listener of ours,
// that a long answer comes.
func expectLong(ctx *fasthttp.RequestCtx) {
	if ctx.Response.IsBodyStream() || len(ctx.Response.Body()) < longAnswer {
		return
	}
	if c, ok := ctx.Conn().(*edgeConn); ok {
		c.out.expected = true
	}
}

func (c *edgeConn) Write(p []byte) (int, error) {
	out := &c.out
	if out.held != nil {
		return c.writeHeld(p)
	}
	hold := out.expected && len(p) == writeBufferSize
	out.expected = false
	if !hold {
		return c.send(nil, p)
	}
	out.held = heads.Get().(*head)
	return copy(out.held[:], p), nil
}

// writeHeld sends what is held and p.
func (c *edgeConn) writeHeld(p []byte) (int, error) {
	held := c.out.held
	c.out.held = nil
	n, err := c.send(held[:], p)
	heads.Put(held)
	return max(n-writeBufferSize, 0), err
}

func (c *edgeConn) send(first, second []byte) (int, error) {
	if c.stream != nil {
		return c.stream.WriteBoth(first, second)
	}
	written := 0
	for _, piece := range [][]byte{first, second} {
		if len(piece) == 0 {
			continue
		}
		n, err := c.Conn.Write(piece)
		written += n
		if err != nil {
			return written, err
		}
	}
	return written, nil
}
