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
	"github.com/aabb9013/hangar/supervisor"
)

// maxStdioRequests bounds the requests of a stdio client that run at once; the
// next one waits unread in the pipe. It is above maxSessionCalls, so that calls
// alone never keep a cancellation from being read.
const maxStdioRequests = maxSessionCalls + 24

// stdioSession is the fair-queueing key of the one stdio client.
const stdioSession = 1 << 62

// stdio is one client on stdin and stdout.
type stdio struct {
	front   *Front
	session *session // nil before initialize
	slots   chan struct{}
	calls   sync.WaitGroup

	mu     sync.Mutex
	out    io.Writer
	err    error         // of the first failed write
	failed chan struct{} // closed by it
}

// ServeStdio serves one client over a pair of streams, one message (or batch) per line,
// until in ends, ctx is done or out fails. Only JSON-RPC goes to out. Requests
// under way finish before it returns; when ctx is done they get a bounded time,
// and when out fails they are cancelled. A read of in or a write to out is not
// interrupted when ctx ends: the caller closes them.
func (f *Front) ServeStdio(ctx context.Context, in io.Reader, out io.Writer) error {
	reading, stopReading := context.WithCancel(ctx)
	defer stopReading()
	c := &stdio{front: f, out: out, slots: make(chan struct{}, maxStdioRequests), failed: make(chan struct{})}
	limit := f.opts.MaxMessage
	if limit <= 0 {
		limit = backends.DefaultMaxMessage
	}
	lines := make(chan []byte)
	readErr := make(chan error, 1)
	go func() {
		defer close(lines)
		readErr <- readLines(reading, bufio.NewReaderSize(in, 64<<10), limit, lines)
	}()
	tick := time.NewTicker(f.pause)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			c.drain()
			return nil
		case <-c.failed:
			return c.giveUp()
		case <-tick.C:
			c.news()
		case line, ok := <-lines:
			if ok {
				c.take(ctx, line)
				continue
			}
			c.calls.Wait()
			if c.err != nil {
				return c.giveUp()
			}
			return <-readErr
		}
	}
}

// drain waits a bounded time for the requests under way.
func (c *stdio) drain() {
	if c.session == nil {
		return // and so there are none
	}
	timer := time.AfterFunc(c.front.grace, func() { c.session.cancelAll(supervisor.ErrClosing) })
	defer timer.Stop()
	c.calls.Wait()
}

// giveUp ends the requests of a client that hears nothing any more.
func (c *stdio) giveUp() error {
	if c.session != nil {
		c.session.cancelAll(errCancelled)
	}
	c.calls.Wait()
	return fmt.Errorf("cannot write to the client: %w", c.err)
}

// readLines sends each line on. Of one over the limit only the limit is kept,
// which is enough for the scan to refuse it.
func readLines(ctx context.Context, r *bufio.Reader, limit int, lines chan<- []byte) error {
	var line []byte
	for {
		part, err := r.ReadSlice('\n')
		part = bytes.TrimSuffix(part, []byte("\n"))
		if room := limit + 1 - len(line); room > 0 {
			line = append(line, part[:min(len(part), room)]...)
		}
		if errors.Is(err, bufio.ErrBufferFull) {
			continue
		}
		if len(line) <= limit {
			line = bytes.TrimSpace(line)
		}
		if len(line) > 0 {
			select {
			case lines <- line:
			case <-ctx.Done():
				return nil
			}
			line = nil
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("cannot read from the client: %w", err)
		}
	}
}

// take handles one message; requests run beside each other.
func (c *stdio) take(ctx context.Context, raw []byte) {
	var env jsonrpc.Envelope
	defer func() {
		if cause := recover(); cause != nil {
			c.front.panicked(cause)
			if env.Kind == jsonrpc.Request {
				c.write(jsonrpc.AppendError(nil, env.ID.Of(raw), codeInternal, internalError))
			}
		}
	}()
	if err := jsonrpc.Scan(raw, c.front.limits, &env); err != nil {
		if errors.Is(err, jsonrpc.ErrBatch) && c.session != nil && c.session.version == batchVersion {
			c.batch(ctx, raw)
			return
		}
		code, message := scanError(err)
		c.write(jsonrpc.AppendError(nil, env.ID.Of(raw), code, message))
		return
	}
	switch {
	case env.Kind == jsonrpc.Request && c.session == nil:
		c.greet(raw, &env)
	case env.Kind == jsonrpc.Request:
		c.answer(ctx, raw, env, c.write)
	case env.Kind == jsonrpc.Notification && c.session != nil:
		c.front.notify(c.session, raw, &env)
	}
}

// greet answers what comes before the session: initialize, or a ping.
func (c *stdio) greet(raw []byte, env *jsonrpc.Envelope) {
	id := env.ID.Of(raw)
	if !isInitialize(raw, env) {
		if method, _ := jsonrpc.Unquote(env.Method.Of(raw)); string(method) == "ping" {
			c.write(appendResult(nil, id, []byte("{}")))
			return
		}
		c.write(jsonrpc.AppendError(nil, id, codeInvalidRequest, "send initialize first"))
		return
	}
	told := c.front.runtime.FleetVersion()
	answer, version, ok := c.front.initialize(nil, raw, env)
	if ok {
		c.session = &session{version: version, key: stdioSession, quiet: true}
		c.session.told.Store(told)
	}
	c.write(answer)
}

// answer runs one request and replies once, with nothing if nobody waits for it
// any more. It is noted before the next line is read, which may cancel it.
func (c *stdio) answer(ctx context.Context, raw []byte, env jsonrpc.Envelope, reply func(answer []byte)) {
	select {
	case c.slots <- struct{}{}:
	case <-c.failed:
		reply(nil)
		return
	case <-ctx.Done():
		reply(nil)
		return
	}
	s, id := c.session, env.ID.Of(raw)
	key := clientID(id)
	if err := s.begin(key); err != nil {
		<-c.slots
		reply(c.front.callFailed(nil, s, id, err))
		return
	}
	c.calls.Go(func() {
		defer func() { <-c.slots }()
		var progress func([]byte)
		written := func() {}
		if env.ProgressToken.Present() {
			progress, written = c.pump()
		}
		answer := c.front.begun(nil, s, key, raw, &env, progress)
		written()
		reply(answer)
	})
}

// batch answers an array of messages, which 2025-03-26 demands of every
// transport, with one array.
func (c *stdio) batch(ctx context.Context, raw []byte) {
	messages, code, fault := splitBatch(raw)
	if fault != "" {
		c.write(jsonrpc.AppendError(nil, nil, code, fault))
		return
	}
	var running sync.WaitGroup
	answers := c.front.takeBatch(c.session, messages, func(raw []byte, env jsonrpc.Envelope, reply func([]byte)) {
		running.Add(1)
		c.answer(ctx, raw, env, func(answer []byte) {
			reply(answer)
			running.Done()
		})
	})
	c.calls.Go(func() {
		running.Wait()
		c.write(joinAnswers(answers))
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

// news tells the client of changed tools, unless it has listed them since.
func (c *stdio) news() {
	if c.session == nil {
		return
	}
	if message := c.front.news(c.session); message != nil {
		c.write(message)
	}
}

// write sends one message as one line.
func (c *stdio) write(message []byte) {
	if len(message) == 0 {
		return // of a cancelled request
	}
	line := append(appendLine(make([]byte, 0, len(message)+1), message), '\n')
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return
	}
	if _, c.err = c.out.Write(line); c.err != nil {
		close(c.failed)
	}
}
