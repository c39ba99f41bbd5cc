package httpapi

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/aabb9013/hangar/backends"
	"github.com/aabb9013/hangar/internal/jsonrpc"
)

// maxStdioCalls bounds the requests of a stdio client that run at once; the
// next one waits unread in the pipe.
const maxStdioCalls = 256

// stdio is one client on stdin and stdout.
type stdio struct {
	front   *Front
	session *session // nil before initialize
	mu      sync.Mutex
	out     io.Writer
	err     error // of the first failed write
	slots   chan struct{}
	calls   sync.WaitGroup
}

// ServeStdio serves one client over a pair of streams, one message per line,
// until in ends, ctx is done or out fails. Only JSON-RPC goes to out. The
// read of in is not interrupted when ctx ends: the caller closes it.
func (f *Front) ServeStdio(ctx context.Context, in io.Reader, out io.Writer) error {
	c := &stdio{front: f, out: out, slots: make(chan struct{}, maxStdioCalls)}
	limit := f.opts.MaxMessage
	if limit <= 0 {
		limit = backends.DefaultMaxMessage
	}
	lines := make(chan []byte)
	readErr := make(chan error, 1)
	go func() {
		defer close(lines)
		readErr <- readLines(ctx, bufio.NewReaderSize(in, 64<<10), limit, lines)
	}()
	defer c.calls.Wait()
	seen := f.runtime.FleetVersion()
	tick := time.NewTicker(listChangedPause)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			if version := f.runtime.FleetVersion(); version != seen && c.session != nil {
				seen = version
				c.write([]byte(listChanged))
			}
		case line, ok := <-lines:
			if !ok {
				return <-readErr
			}
			c.take(line)
			if err := c.failed(); err != nil {
				return fmt.Errorf("cannot write to the client: %w", err)
			}
		}
	}
}

// readLines sends each line on; one over the limit ends the stream, since
// what follows cannot be told apart from its rest.
func readLines(ctx context.Context, r *bufio.Reader, limit int, lines chan<- []byte) error {
	var line []byte
	for {
		part, err := r.ReadSlice('\n')
		line = append(line, part...)
		if len(line) > limit+1 {
			return fmt.Errorf("a message is over the limit of %d bytes", limit)
		}
		if errors.Is(err, bufio.ErrBufferFull) {
			continue
		}
		if len(bytes.TrimSpace(line)) > 0 {
			select {
			case lines <- line:
			case <-ctx.Done():
				return nil
			}
			line = nil
		}
		line = line[:0]
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("cannot read from the client: %w", err)
		}
	}
}

// take handles one message; requests run beside each other.
func (c *stdio) take(raw []byte) {
	var env jsonrpc.Envelope
	if err := jsonrpc.Scan(raw, c.front.limits, &env); err != nil {
		code, message := scanError(err)
		c.write(jsonrpc.AppendError(nil, env.ID.Of(raw), code, message))
		return
	}
	method, _ := jsonrpc.Unquote(env.Method.Of(raw))
	switch {
	case env.Kind == jsonrpc.Request && string(method) == "initialize":
		answer, version, ok := c.front.initialize(nil, raw, &env)
		if ok {
			c.session = &session{version: version, key: stdioSession}
		}
		c.write(answer)
	case env.Kind == jsonrpc.Request && c.session == nil:
		c.write(jsonrpc.AppendError(nil, env.ID.Of(raw), codeInvalidRequest, "send initialize first"))
	case env.Kind == jsonrpc.Request:
		c.answer(raw, env)
	case env.Kind == jsonrpc.Notification && c.session != nil:
		c.front.notify(c.session, raw, &env)
	}
}

// stdioSession is the fair-queueing key of the one stdio client.
const stdioSession = 1 << 62

func (c *stdio) answer(raw []byte, env jsonrpc.Envelope) {
	c.slots <- struct{}{}
	s := c.session
	c.calls.Go(func() {
		defer func() { <-c.slots }()
		var progress func([]byte)
		pumped := func() {}
		if env.ProgressToken.Present() {
			progress, pumped = c.pump()
		}
		answer := c.front.contained(func() []byte {
			return c.front.request(nil, s, raw, &env, progress)
		}, env.ID.Of(raw))
		pumped()
		c.write(answer)
	})
}

// pump writes progress from a bounded queue, since whoever reports it must
// not wait for the client; finish returns when all of it is written.
func (c *stdio) pump() (report func([]byte), finish func()) {
	queue, idle := make(chan []byte, progressWaiting), make(chan struct{})
	go func() {
		defer close(idle)
		for raw := range queue {
			c.write(raw)
		}
	}()
	var mu sync.Mutex
	ended := false
	report = func(raw []byte) {
		mu.Lock()
		defer mu.Unlock()
		if ended {
			return // progress of a call that was given up
		}
		select {
		case queue <- raw:
		default: // a slow client misses progress, never the result
		}
	}
	finish = func() {
		mu.Lock()
		ended = true
		close(queue)
		mu.Unlock()
		<-idle
	}
	return report, finish
}

// write sends one message as one line.
func (c *stdio) write(message []byte) {
	line := make([]byte, 0, len(message)+1)
	for part := range bytes.Lines(message) {
		line = append(line, bytes.TrimRight(part, "\r\n")...)
	}
	line = append(line, '\n')
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil {
		_, c.err = c.out.Write(line)
	}
}

func (c *stdio) failed() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}
