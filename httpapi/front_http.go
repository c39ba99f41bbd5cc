package httpapi

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/aabb9013/hangar/internal/jsonrpc"
)

// Headers of Streamable HTTP.
const (
	headerSession = "Mcp-Session-Id"
	headerVersion = "Mcp-Protocol-Version"
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
	maxBatch        = 100
)

const listChanged = `{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}`

// ServeHTTP serves /mcp: POST for messages, GET for the session's stream,
// DELETE to end the session (MCP Streamable HTTP, 2025-03-26 and later).
func (f *Front) ServeHTTP(ctx *fasthttp.RequestCtx) {
	path := strings.TrimRight(string(ctx.URI().PathOriginal()), "/")
	if path != "/mcp" {
		httpError(ctx, fasthttp.StatusNotFound, nil, codeInvalidRequest, "no such MCP endpoint, the fleet is at /mcp")
		return
	}
	switch {
	case ctx.IsPost():
		f.post(ctx)
	case ctx.IsGet():
		f.openStream(ctx)
	case ctx.IsDelete():
		if s := f.sessionOf(ctx); s != nil {
			f.sessions.close([]byte(s.id))
			ctx.SetStatusCode(fasthttp.StatusNoContent)
		}
	default:
		ctx.Response.Header.Set("Allow", "POST, GET, DELETE")
		httpError(ctx, fasthttp.StatusMethodNotAllowed, nil, codeInvalidRequest, "use POST, GET or DELETE")
	}
}

func (f *Front) post(ctx *fasthttp.RequestCtx) {
	if !isJSON(ctx.Request.Header.ContentType()) {
		httpError(ctx, fasthttp.StatusUnsupportedMediaType, nil, codeInvalidRequest, "Content-Type must be application/json")
		return
	}
	if !accepts(ctx.Request.Header.Peek("Accept"), "application/json") {
		httpError(ctx, fasthttp.StatusNotAcceptable, nil, codeInvalidRequest, "Accept must allow application/json and text/event-stream")
		return
	}
	body := ctx.PostBody()
	var env jsonrpc.Envelope
	if err := jsonrpc.Scan(body, f.limits, &env); err != nil {
		f.badMessage(ctx, body, &env, err)
		return
	}
	if env.Kind == jsonrpc.Request && string(env.Method.Of(body)) == `"initialize"` {
		f.openSession(ctx, body, &env)
		return
	}
	s := f.sessionOf(ctx)
	if s == nil {
		return
	}
	switch env.Kind {
	case jsonrpc.Request:
		f.answer(ctx, s, body, &env)
	case jsonrpc.Notification:
		f.notify(s, body, &env)
		ctx.SetStatusCode(fasthttp.StatusAccepted)
	default: // answers to requests that this front never makes
		ctx.SetStatusCode(fasthttp.StatusAccepted)
	}
}

// answer writes the response of one request, as JSON, or as a stream when the
// client wants progress and can read one.
func (f *Front) answer(ctx *fasthttp.RequestCtx, s *session, body []byte, env *jsonrpc.Envelope) {
	if env.ProgressToken.Present() && accepts(ctx.Request.Header.Peek("Accept"), "text/event-stream") {
		f.stream(ctx, s, bytes.Clone(body), *env)
		return
	}
	ctx.Response.Header.SetContentTypeBytes(contentJSON)
	out := ctx.Response.SwapBody(nil)
	ctx.Response.SwapBody(f.request(out[:0], s, body, env, nil))
}

var contentJSON = []byte("application/json")

func (f *Front) badMessage(ctx *fasthttp.RequestCtx, body []byte, env *jsonrpc.Envelope, err error) {
	if errors.Is(err, jsonrpc.ErrBatch) {
		if s := f.sessionOf(ctx); s == nil {
			return
		} else if s.version == batchVersion {
			f.batch(ctx, s, body)
			return
		}
	}
	status := fasthttp.StatusBadRequest
	if errors.Is(err, jsonrpc.ErrTooLarge) {
		status = fasthttp.StatusRequestEntityTooLarge
	}
	code, message := scanError(err)
	httpError(ctx, status, env.ID.Of(body), code, message)
}

// batch answers an array of messages, in order, as 2025-03-26 demands.
func (f *Front) batch(ctx *fasthttp.RequestCtx, s *session, body []byte) {
	var messages []json.RawMessage
	if err := json.Unmarshal(body, &messages); err != nil || len(messages) == 0 || len(messages) > maxBatch {
		httpError(ctx, fasthttp.StatusBadRequest, nil, codeInvalidRequest, "a batch must be an array of 1 to 100 messages")
		return
	}
	var out []byte
	for _, raw := range messages {
		var env jsonrpc.Envelope
		mark := len(out)
		out = append(out, ',')
		switch err := jsonrpc.Scan(raw, f.limits, &env); {
		case err != nil:
			code, message := scanError(err)
			out = jsonrpc.AppendError(out, env.ID.Of(raw), code, message)
		case env.Kind == jsonrpc.Request:
			out = f.request(out, s, raw, &env, nil)
		default:
			if env.Kind == jsonrpc.Notification {
				f.notify(s, raw, &env)
			}
			out = out[:mark]
		}
	}
	if len(out) == 0 {
		ctx.SetStatusCode(fasthttp.StatusAccepted)
		return
	}
	out[0] = '['
	ctx.Response.Header.SetContentTypeBytes(contentJSON)
	ctx.SetBody(append(out, ']'))
}

func (f *Front) openSession(ctx *fasthttp.RequestCtx, body []byte, env *jsonrpc.Envelope) {
	answer, version, ok := f.initialize(nil, body, env)
	if ok {
		s, err := f.sessions.open(version)
		if err != nil {
			ctx.Response.Header.Set("Retry-After", "60")
			httpError(ctx, fasthttp.StatusServiceUnavailable, env.ID.Of(body), codeOverloaded, err.Error())
			return
		}
		ctx.Response.Header.Set(headerSession, s.id)
	}
	ctx.Response.Header.SetContentTypeBytes(contentJSON)
	ctx.SetBody(answer)
}

// sessionOf finds the request's session, or answers why there is none: 400
// without an id, 404 for an unknown or ended one, 400 for a revision that is
// not served.
func (f *Front) sessionOf(ctx *fasthttp.RequestCtx) *session {
	version := ctx.Request.Header.Peek(headerVersion)
	if len(version) > 0 && !slices.Contains(frontVersions, string(version)) {
		httpError(ctx, fasthttp.StatusBadRequest, nil, codeInvalidRequest,
			"MCP-Protocol-Version must be one of "+strings.Join(frontVersions, ", "))
		return nil
	}
	id := ctx.Request.Header.Peek(headerSession)
	if len(id) == 0 {
		httpError(ctx, fasthttp.StatusBadRequest, nil, codeInvalidRequest, "the Mcp-Session-Id header is missing: send initialize first")
		return nil
	}
	s := f.sessions.find(id, f.opts.Now())
	if s == nil {
		httpError(ctx, fasthttp.StatusNotFound, nil, codeInvalidRequest, "no such session: send initialize again")
	}
	return s
}

// stream answers one request by server-sent events: its progress, then the
// response. It runs in a goroutine of the HTTP server, which ends with the
// call or, at the latest, when the client does not read.
func (f *Front) stream(ctx *fasthttp.RequestCtx, s *session, body []byte, env jsonrpc.Envelope) {
	conn := ctx.Conn()
	ctx.Response.Header.SetContentType("text/event-stream")
	ctx.Response.Header.Set("Cache-Control", "no-cache")
	ctx.Response.Header.Set("X-Accel-Buffering", "no")
	ctx.SetBodyStreamWriter(func(w *bufio.Writer) {
		progress := make(chan []byte, progressWaiting)
		done := make(chan []byte, 1)
		go func() {
			done <- f.contained(func() []byte {
				return f.request(nil, s, body, &env, func(raw []byte) {
					select {
					case progress <- raw:
					default: // a slow client misses progress, never the result
					}
				})
			}, env.ID.Of(body))
		}()
		ping := time.NewTicker(streamPing)
		defer ping.Stop()
		send := func(event []byte) bool {
			conn.SetWriteDeadline(time.Now().Add(streamWrite))
			return writeEvent(w, event) == nil
		}
		for {
			select {
			case raw := <-progress:
				send(raw)
			case answer := <-done:
				for len(progress) > 0 {
					send(<-progress)
				}
				send(answer)
				conn.SetWriteDeadline(time.Time{})
				return
			case <-ping.C:
				send(nil)
			}
		}
	})
}

// contained runs fn; a panic in it becomes an error answer.
func (f *Front) contained(fn func() []byte, id []byte) (answer []byte) {
	defer func() {
		if r := recover(); r != nil {
			f.log.Error("panic in the MCP front", "panic", r)
			answer = jsonrpc.AppendError(nil, id, codeInternal, "internal error")
		}
	}()
	return fn()
}

// writeEvent writes and flushes one message, or a comment when it is nil.
func writeEvent(w *bufio.Writer, message []byte) error {
	if message == nil {
		w.WriteString(": ping\n\n")
	} else {
		w.WriteString("event: message\ndata: ")
		for part := range bytes.Lines(message) {
			// A raw newline in JSON is white space between tokens.
			w.Write(bytes.TrimRight(part, "\r\n"))
		}
		w.WriteString("\n\n")
	}
	return w.Flush()
}

// openStream is the session's standing stream: it tells of changed tools.
func (f *Front) openStream(ctx *fasthttp.RequestCtx) {
	if !accepts(ctx.Request.Header.Peek("Accept"), "text/event-stream") {
		httpError(ctx, fasthttp.StatusNotAcceptable, nil, codeInvalidRequest, "GET opens a stream: Accept must allow text/event-stream")
		return
	}
	s := f.sessionOf(ctx)
	if s == nil {
		return
	}
	if !s.stream.CompareAndSwap(false, true) {
		httpError(ctx, fasthttp.StatusConflict, nil, codeInvalidRequest, "the session's stream is already open")
		return
	}
	conn, shutdown := ctx.Conn(), ctx.Done()
	ctx.Response.Header.SetContentType("text/event-stream")
	ctx.Response.Header.Set("Cache-Control", "no-cache")
	ctx.Response.Header.Set("X-Accel-Buffering", "no")
	ctx.SetBodyStreamWriter(func(w *bufio.Writer) {
		defer s.stream.Store(false)
		f.follow(w, s, shutdown, func() { conn.SetWriteDeadline(time.Now().Add(streamWrite)) })
	})
}

// follow writes list_changed to a standing stream until it ends.
func (f *Front) follow(w *bufio.Writer, s *session, shutdown <-chan struct{}, beforeWrite func()) {
	seen := f.runtime.FleetVersion()
	tick := time.NewTicker(listChangedPause)
	defer tick.Stop()
	beforeWrite()
	if writeEvent(w, nil) != nil { // sends the header
		return
	}
	lastWrite := time.Now()
	for {
		select {
		case <-s.ended:
			return
		case <-shutdown:
			return
		case now := <-tick.C:
			var message []byte
			if version := f.runtime.FleetVersion(); version != seen {
				seen = version
				message = []byte(listChanged)
			} else if now.Sub(lastWrite) < streamPing {
				continue
			}
			s.lastUsed.Store(now.UnixNano())
			beforeWrite()
			if writeEvent(w, message) != nil {
				return
			}
			lastWrite = now
		}
	}
}

// httpError answers with an HTTP status and a JSON-RPC error as its body.
func httpError(ctx *fasthttp.RequestCtx, status int, id []byte, code int, message string) {
	ctx.SetStatusCode(status)
	ctx.Response.Header.SetContentTypeBytes(contentJSON)
	ctx.SetBody(jsonrpc.AppendError(nil, id, code, message))
}

func isJSON(contentType []byte) bool {
	mediaType, _, _ := bytes.Cut(contentType, []byte(";"))
	return bytes.EqualFold(bytes.TrimSpace(mediaType), contentJSON)
}

// accepts tells whether an Accept header allows a type; none allows all.
func accepts(accept []byte, mediaType string) bool {
	if len(accept) == 0 {
		return true
	}
	major, _, _ := strings.Cut(mediaType, "/")
	for part := range bytes.SplitSeq(accept, []byte(",")) {
		name, _, _ := bytes.Cut(part, []byte(";"))
		switch name = bytes.TrimSpace(name); {
		case bytes.EqualFold(name, []byte(mediaType)), string(name) == "*/*", bytes.EqualFold(name, []byte(major+"/*")):
			return true
		}
	}
	return false
}
