package httpapi

import (
	"bytes"
	"errors"
	"net"
	"strings"

	"github.com/valyala/fasthttp"

	"github.com/aabb9013/hangar/internal/jsonrpc"
	"github.com/aabb9013/hangar/supervisor"
)

// ServeHTTP serves /mcp: POST for messages, GET for the session's stream,
// DELETE to end the session (MCP Streamable HTTP, 2025-03-26 and later). It
// does not check Host and Origin: API.Handler does, before it comes here.
func (f *Front) ServeHTTP(ctx *fasthttp.RequestCtx) {
	f.serve(ctx, edgeHeadersOf(&ctx.Request.Header))
}

// serve is ServeHTTP for who has read the headers.
func (f *Front) serve(ctx *fasthttp.RequestCtx, h edgeHeaders) {
	if path := bytes.TrimRight(ctx.URI().PathOriginal(), "/"); string(path) != mcpPath {
		httpError(ctx, fasthttp.StatusNotFound, nil, codeInvalidRequest, "no such MCP endpoint, the fleet is at /mcp")
		return
	}
	switch {
	case ctx.IsPost():
		f.post(ctx, &h)
	case ctx.IsGet():
		f.openStream(ctx, &h)
	case ctx.IsDelete():
		if s := f.sessionOf(ctx, &h, nil); s != nil {
			f.sessions.close([]byte(s.id))
			ctx.SetStatusCode(fasthttp.StatusNoContent)
		}
	default:
		ctx.Response.Header.Set("Allow", "POST, GET, DELETE")
		httpError(ctx, fasthttp.StatusMethodNotAllowed, nil, codeInvalidRequest, "use POST, GET or DELETE")
	}
}

func (f *Front) post(ctx *fasthttp.RequestCtx, h *edgeHeaders) {
	if !isJSON(ctx.Request.Header.ContentType()) {
		httpError(ctx, fasthttp.StatusUnsupportedMediaType, nil, codeInvalidRequest, "Content-Type must be application/json")
		return
	}
	if !h.allows(ctx, "application/json") {
		httpError(ctx, fasthttp.StatusNotAcceptable, nil, codeInvalidRequest, "Accept must allow application/json and text/event-stream")
		return
	}
	body := ctx.PostBody()
	var env jsonrpc.Envelope
	if err := jsonrpc.Scan(body, f.limits, &env); err != nil {
		f.badMessage(ctx, h, body, &env, err)
		return
	}
	if isInitialize(body, &env) {
		f.openSession(ctx, body, &env)
		return
	}
	s := f.sessionOf(ctx, h, requestID(body, &env))
	if s == nil {
		return
	}
	switch env.Kind {
	case jsonrpc.Request:
		f.answer(ctx, h, s, body, &env)
	case jsonrpc.Notification:
		f.notify(s, body, &env)
		ctx.SetStatusCode(fasthttp.StatusAccepted)
	default: // answers to requests that this front never makes
		ctx.SetStatusCode(fasthttp.StatusAccepted)
	}
}

// requestID is the id that an error answers; a response has one too, but it is
// no request of the client.
func requestID(body []byte, env *jsonrpc.Envelope) []byte {
	if env.Kind != jsonrpc.Request {
		return nil
	}
	return env.ID.Of(body)
}

// answer writes the response of one request, as JSON, or as a stream when the
// client wants progress of a call and can read one.
func (f *Front) answer(ctx *fasthttp.RequestCtx, h *edgeHeaders, s *session, body []byte, env *jsonrpc.Envelope) {
	if env.ProgressToken.Present() && env.Name.Present() && h.allows(ctx, "text/event-stream") {
		f.stream(ctx, s, bytes.Clone(body), *env)
		return
	}
	ctx.Response.Header.SetContentTypeBytes(contentJSON)
	out := ctx.Response.SwapBody(nil)
	ctx.Response.SwapBody(f.whileConnected(ctx.Conn(), out[:0], s, body, env))
}

// whileConnected is request for an answer that can only reach the client over
// this connection: when the client leaves, the request is cancelled.
func (f *Front) whileConnected(conn net.Conn, dst []byte, s *session, raw []byte, env *jsonrpc.Envelope) []byte {
	id := env.ID.Of(raw)
	key := clientID(id)
	if err := s.begin(key); err != nil {
		return f.callFailed(dst, s, id, err)
	}
	waiting := beginErrand(conn, errand{session: s, key: key})
	defer waiting.end()
	return f.begun(dst, s, key, raw, env, nil)
}

var contentJSON = []byte("application/json")

func (f *Front) badMessage(ctx *fasthttp.RequestCtx, h *edgeHeaders, body []byte, env *jsonrpc.Envelope, err error) {
	if errors.Is(err, jsonrpc.ErrBatch) {
		if s := f.sessionOf(ctx, h, nil); s == nil {
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

func (f *Front) openSession(ctx *fasthttp.RequestCtx, body []byte, env *jsonrpc.Envelope) {
	answer, version, ok := f.initialize(nil, body, env)
	if ok {
		told := f.runtime.FleetVersion()
		s, err := f.sessions.open(version)
		if errors.Is(err, supervisor.ErrClosing) {
			tellClosing(ctx, env.ID.Of(body))
			return
		}
		if err != nil {
			ctx.Response.Header.Set("Retry-After", "60")
			httpError(ctx, fasthttp.StatusServiceUnavailable, env.ID.Of(body), codeOverloaded, err.Error())
			return
		}
		s.told.Store(told)
		ctx.Response.Header.Set(headerSession, s.id)
	}
	ctx.Response.Header.SetContentTypeBytes(contentJSON)
	ctx.SetBody(answer)
}

// sessionOf finds the request's session, or answers the request id why there
// is none: 400 without a session id, 404 for an unknown or ended one, 400 for
// a revision that is not served, 503 at the end of the runtime.
func (f *Front) sessionOf(ctx *fasthttp.RequestCtx, h *edgeHeaders, id []byte) *session {
	if len(h.version) > 0 && !served(h.version) {
		httpError(ctx, fasthttp.StatusBadRequest, id, codeInvalidRequest,
			"MCP-Protocol-Version must be one of "+strings.Join(frontVersions, ", "))
		return nil
	}
	if len(h.session) == 0 {
		httpError(ctx, fasthttp.StatusBadRequest, id, codeInvalidRequest, "the Mcp-Session-Id header is missing: send initialize first")
		return nil
	}
	s := f.sessions.find(h.session, f.opts.Now())
	switch {
	case s != nil:
	case f.isClosing(): // and has ended its session
		tellClosing(ctx, id)
	default:
		httpError(ctx, fasthttp.StatusNotFound, id, codeInvalidRequest, "no such session: send initialize again")
	}
	return s
}

func tellClosing(ctx *fasthttp.RequestCtx, id []byte) {
	ctx.Response.Header.Set("Retry-After", "5")
	httpError(ctx, fasthttp.StatusServiceUnavailable, id, codeClosing, supervisor.ErrClosing.Error())
}

func (f *Front) isClosing() bool {
	select {
	case <-f.closing:
		return true
	default:
		return false
	}
}

func served(version []byte) bool {
	for _, v := range frontVersions {
		if v == string(version) {
			return true
		}
	}
	return false
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

func accepts(accept []byte, mediaType string) bool {
	major, _, _ := strings.Cut(mediaType, "/")
	for len(accept) > 0 {
		var part []byte
		part, accept, _ = bytes.Cut(accept, []byte(","))
		name, parameters, _ := bytes.Cut(part, []byte(";"))
		name = bytes.TrimSpace(name)
		kind, sub, _ := bytes.Cut(name, []byte("/"))
		exact := len(name) == len(mediaType) && strings.EqualFold(string(name), mediaType)
		wild := string(sub) == "*" && (string(kind) == "*" || strings.EqualFold(string(kind), major))
		if (exact || wild) && !refused(parameters) {
			return true
		}
	}
	return false
}

// refused tells whether the parameters of an Accept entry say q=0.
func refused(parameters []byte) bool {
	for len(parameters) > 0 {
		var p []byte
		p, parameters, _ = bytes.Cut(parameters, []byte(";"))
		p = bytes.TrimSpace(p)
		if len(p) > 2 && p[0]|0x20 == 'q' && p[1] == '=' && len(bytes.Trim(p[2:], "0.")) == 0 {
			return true
		}
	}
	return false
}
