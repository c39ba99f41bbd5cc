package httpapi

import (
	"bytes"
	"errors"
	"io"
	"net"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/aabb9013/hangar/internal/jsonrpc"
)

const (
	// streamPing is how often an open stream carries a comment, which is the
	// only way to see that its client has gone.
	streamPing = 15 * time.Second
	// listChangedPause bounds tools/list_changed to one a second.
	listChangedPause = time.Second
	// streamWrite is how long a client may not read its stream.
	streamWrite = 10 * time.Second
	// progressWaiting bounds the progress notifications that wait for a slow
	// client; more are dropped, the result never is.
	progressWaiting = 64
)

const listChanged = `{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}`

// maxWrite is what is written under one deadline: a slow client that reads is
// no dead one.
const maxWrite = 64 << 10

// eventStream is a response body of server-sent events. The HTTP server calls
// WriteTo in the goroutine of the connection, so that a write deadline holds
// for the event it was set for and a failed write is seen at once; the pipe of
// SetBodyStreamWriter has neither.
type eventStream struct {
	conn     net.Conn // nil outside of a server
	patience time.Duration
	// serve sends the events; it ends when there are no more or send fails.
	serve    func(send func(message []byte) error)
	panicked func(cause any)
	closed   func()
}

var _ fasthttp.BodyWriterTo = (*eventStream)(nil)

// startStream makes e the response.
func startStream(ctx *fasthttp.RequestCtx, e *eventStream) {
	e.conn = ctx.Conn()
	h := &ctx.Response.Header
	h.SetContentType("text/event-stream")
	h.Set("Cache-Control", "no-cache")
	h.Set("X-Accel-Buffering", "no")
	ctx.Response.ImmediateHeaderFlush = true
	ctx.Response.SetBodyStream(e, -1)
}

// SupportsBodyWriteTo makes the server call WriteTo.
func (e *eventStream) SupportsBodyWriteTo() bool { return true }

// Read is never called by a server.
func (e *eventStream) Read([]byte) (int, error) { return 0, io.EOF }

var errStreamPanic = errors.New("the stream ended by a panic")

// WriteTo writes events, each flushed, until the stream ends.
func (e *eventStream) WriteTo(w io.Writer) (written int64, err error) {
	defer func() {
		if cause := recover(); cause != nil {
			e.panicked(cause)
			err = errStreamPanic
		}
		if err == nil {
			// What is left is the end of the body. A deadline that stayed
			// would hit later answers on this connection.
			e.setDeadline(time.Time{})
		}
	}()
	var event []byte
	e.serve(func(message []byte) error {
		event = appendEvent(event[:0], message)
		for rest := event; len(rest) > 0 && err == nil; {
			e.setDeadline(time.Now().Add(e.patience))
			var n int
			n, err = w.Write(rest[:min(len(rest), maxWrite)])
			written, rest = written+int64(n), rest[n:]
		}
		return err
	})
	return written, err
}

func (e *eventStream) setDeadline(t time.Time) {
	if e.conn != nil {
		_ = e.conn.SetWriteDeadline(t)
	}
}

// Close is called by the server in every case, also when nothing was written.
func (e *eventStream) Close() error {
	if e.closed != nil {
		e.closed()
	}
	return nil
}

// appendEvent appends one message as an event, or a comment when it is nil.
func appendEvent(dst, message []byte) []byte {
	if message == nil {
		return append(dst, ": ping\n\n"...)
	}
	dst = append(dst, "event: message\ndata: "...)
	dst = appendLine(dst, message)
	return append(dst, "\n\n"...)
}

// appendLine appends a message without line breaks, a lone CR is one too: in
// JSON they are white space between tokens.
func appendLine(dst, message []byte) []byte {
	if bytes.IndexByte(message, '\n') < 0 && bytes.IndexByte(message, '\r') < 0 {
		return append(dst, message...)
	}
	for _, c := range message {
		if c != '\n' && c != '\r' {
			dst = append(dst, c)
		}
	}
	return dst
}

// stream answers one request by server-sent events: its progress, then the
// response. The call goes on when the client leaves: a lost connection is no
// cancellation (MCP, Streamable HTTP).
func (f *Front) stream(ctx *fasthttp.RequestCtx, s *session, body []byte, env jsonrpc.Envelope) {
	startStream(ctx, &eventStream{patience: f.patience, panicked: f.panicked, serve: func(send func([]byte) error) {
		progress := make(chan []byte, progressWaiting)
		done := make(chan []byte, 1)
		go func() {
			done <- f.request(nil, s, body, &env, func(raw []byte) {
				select {
				case progress <- raw:
				default: // a slow client misses progress, never the result
				}
			})
		}()
		ping := time.NewTicker(f.ping)
		defer ping.Stop()
		for {
			var message []byte
			select {
			case message = <-progress:
			case <-ping.C:
			case answer := <-done:
				for range len(progress) {
					if send(<-progress) != nil {
						return
					}
				}
				_ = send(answer)
				return
			}
			if send(message) != nil {
				return
			}
		}
	}})
}

// openStream is the session's standing stream: it tells of changed tools. A
// session has one; a new one takes the place of the old, whose client may be
// gone for half a minute before a write shows it.
func (f *Front) openStream(ctx *fasthttp.RequestCtx, h *edgeHeaders) {
	if !h.allows(ctx, "text/event-stream") {
		httpError(ctx, fasthttp.StatusNotAcceptable, nil, codeInvalidRequest, "GET opens a stream: Accept must allow text/event-stream")
		return
	}
	s := f.sessionOf(ctx, h, nil)
	if s == nil {
		return
	}
	own := &standing{replaced: make(chan struct{})}
	if old := s.stream.Swap(own); old != nil {
		close(old.replaced)
		s.told.Store(0) // what was written last to the old stream may not have arrived
	}
	shutdown := ctx.Done()
	startStream(ctx, &eventStream{
		patience: f.patience, panicked: f.panicked,
		serve:  func(send func([]byte) error) { f.follow(s, own.replaced, shutdown, send) },
		closed: func() { s.stream.CompareAndSwap(own, nil) },
	})
}

// follow writes list_changed to a standing stream until it ends.
func (f *Front) follow(s *session, replaced, shutdown <-chan struct{}, send func([]byte) error) {
	tick := time.NewTicker(f.pause)
	defer tick.Stop()
	lastWrite := time.Now()
	for {
		select {
		case <-s.ended:
			return
		case <-replaced:
			return
		case <-shutdown:
			return
		case now := <-tick.C:
			message := f.news(s)
			if message == nil && now.Sub(lastWrite) < f.ping {
				continue
			}
			if send(message) != nil {
				return
			}
			// A client that reads its stream uses its session.
			s.lastUsed.Store(f.opts.Now().UnixNano())
			lastWrite = now
		}
	}
}

// news is the list_changed that the session has not heard, or nil. A client
// that has listed the tools since they changed needs none.
func (f *Front) news(s *session) []byte {
	version := f.runtime.FleetVersion()
	if s.told.Swap(version) == version {
		return nil
	}
	return []byte(listChanged)
}
