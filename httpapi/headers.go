package httpapi

import (
	"github.com/valyala/fasthttp"
)

// Headers of Streamable HTTP.
const (
	headerSession = "Mcp-Session-Id"
	headerVersion = "Mcp-Protocol-Version"
)

// mcpPath is where the fleet's MCP endpoint is.
const mcpPath = "/mcp"

// edgeHeaders are those that every request of the MCP endpoint is asked for,
// found in one pass: each Peek of the library makes a pass of its own and
// writes the name anew. Of a header that stands twice the first counts. They
// die with the request.
type edgeHeaders struct {
	session, version, correlation []byte
	accept                        []byte
	accepts                       int // number of Accept headers
	hasOrigin                     bool
}

// mcpEndpoint is a Front; the headers come by value, or they would escape.
type mcpEndpoint interface {
	serve(ctx *fasthttp.RequestCtx, h edgeHeaders)
}

func edgeHeadersOf(h *fasthttp.RequestHeader) (e edgeHeaders) {
	first := func(to *[]byte, value []byte) {
		if *to == nil {
			*to = value
		}
	}
	for key, value := range h.All() {
		switch string(key) {
		case "Accept":
			e.accepts++
			first(&e.accept, value)
		case headerSession:
			first(&e.session, value)
		case headerVersion:
			first(&e.version, value)
		case "Origin":
			e.hasOrigin = true
		case "X-Correlation-Id":
			first(&e.correlation, value)
		}
	}
	return e
}

// allows tells whether the request's Accept headers allow a type; none at all
// allows every type.
func (e *edgeHeaders) allows(ctx *fasthttp.RequestCtx, mediaType string) bool {
	if e.accepts <= 1 {
		return e.accepts == 0 || accepts(e.accept, mediaType)
	}
	for _, accept := range ctx.Request.Header.PeekAll("Accept") {
		if accepts(accept, mediaType) {
			return true
		}
	}
	return false
}
