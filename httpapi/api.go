package httpapi

import (
	"bytes"
	"fmt"
	"log/slog"
	"runtime/debug"
	"strings"
	"time"

	"github.com/valyala/fasthttp"
)

// Limits of request bodies.
const (
	// DefaultMaxBodyBytes bounds a REST body. The largest legal create (100
	// variables of 32 KiB) is above it, but no real one comes near.
	DefaultMaxBodyBytes = 1 << 20
	// MaxMCPBodyBytes is what the server reads of a body sent to /mcp: the
	// 16 MiB of one MCP message and slack, so that the front itself can refuse
	// a message that is too long with a JSON-RPC error.
	MaxMCPBodyBytes = 16<<20 + 64<<10
)

// Options configure an API. Only Runtime is required.
type Options struct {
	Runtime Runtime
	Logger  *slog.Logger // nil discards
	// AllowedHosts are names accepted in Host and Origin beside the loopback
	// ones: "name" with any port, "name:port", or "*", which turns the check
	// of Host off.
	AllowedHosts []string
	// AllowedOrigins are further accepted Origin values, whole
	// ("https://console.example:8443").
	AllowedOrigins []string
	MaxBodyBytes   int         // of a REST body; 0 = DefaultMaxBodyBytes
	MCP            mcpEndpoint // the Front that serves /mcp and below; nil answers 404
	// Authorize decides whether a request may use a permission; nil allows
	// all. Its error should be or wrap ErrUnauthenticated or ErrForbidden; any
	// other refuses too. Public routes do not ask it.
	Authorize func(ctx *fasthttp.RequestCtx, p Permission) error
	Now       func() time.Time // nil = time.Now
}

// API answers requests. It is safe for concurrent use.
type API struct {
	runtime   Runtime
	log       *slog.Logger
	guard     edgeGuard
	maxBody   int
	mcp       mcpEndpoint
	authorize func(*fasthttp.RequestCtx, Permission) error
	now       func() time.Time
	page      *metricsPage
	sockets   *eventSockets
	route     fasthttp.RequestHandler
}

// New returns the API of a runtime. It panics on a nil Runtime and on a fault
// in the route table, which are mistakes of the program, not of its input.
func New(opts Options) *API {
	if opts.Runtime == nil {
		panic("httpapi: Options.Runtime is nil")
	}
	a := &API{
		runtime:   opts.Runtime,
		log:       opts.Logger,
		maxBody:   opts.MaxBodyBytes,
		mcp:       opts.MCP,
		authorize: opts.Authorize,
		now:       opts.Now,
	}
	if a.log == nil {
		a.log = slog.New(slog.DiscardHandler)
	}
	var unusable []string
	if a.guard, unusable = newEdgeGuard(opts.AllowedHosts, opts.AllowedOrigins); len(unusable) > 0 {
		a.log.Warn("allowed hosts are names with or without a port, allowed origins begin with a scheme; these are not heeded",
			"values", cleanText(strings.Join(unusable, ", "), 500))
	}
	if a.maxBody <= 0 {
		a.maxBody = DefaultMaxBodyBytes
	}
	if a.now == nil {
		a.now = time.Now
	}
	a.page = newMetricsPage(a.runtime, a.now)
	a.sockets = newEventSockets(a.fail)
	a.route = a.newRouter(routes())
	return a
}

// Handler is a fasthttp request handler.
type Handler = fasthttp.RequestHandler

// Handler serves everything: /api, /health, /healthz, /metrics and /mcp.
func (a *API) Handler() Handler { return a.serve }

func (a *API) serve(ctx *fasthttp.RequestCtx) {
	a.handle(ctx)
	expectLong(ctx)
}

func (a *API) handle(ctx *fasthttp.RequestCtx) {
	defer a.contain(ctx)
	h := edgeHeadersOf(&ctx.Request.Header)
	if err := a.guard.check(ctx, h.hasOrigin); err != nil {
		a.fail(ctx, err)
		return
	}
	if len(h.correlation) > 0 {
		echoCorrelationID(ctx)
	}
	if isMCPPath(ctx.URI().PathOriginal()) {
		if a.mcp == nil {
			a.fail(ctx, errNoSuchPath(ctx))
			return
		}
		a.mcp.serve(ctx, h)
		return
	}
	// The server's own limit refuses most of these before they are read; this
	// one also holds where another server runs the handler.
	if len(ctx.PostBody()) > a.maxBody {
		a.fail(ctx, errBodyTooLarge)
		return
	}
	a.route(ctx)
}

// contain turns a panic into a 500 that tells the client nothing; fasthttp
// itself has no recover, and the process would die.
func (a *API) contain(ctx *fasthttp.RequestCtx) {
	cause := recover()
	if cause == nil {
		return
	}
	a.log.Error("panic in an HTTP handler",
		"err", fmt.Sprint(cause),
		"method", cleanText(string(ctx.Method()), 16),
		"path", cleanText(string(ctx.URI().PathOriginal()), 200),
		"stack", string(debug.Stack()))
	ctx.Response.Reset()
	echoCorrelationID(ctx)
	a.fail(ctx, errContained)
}

const maxCorrelationID = 128

// echoCorrelationID answers with the client's own id, without whatever could
// harm a header or a log. None is made up.
func echoCorrelationID(ctx *fasthttp.RequestCtx) {
	id := ctx.Request.Header.Peek("X-Correlation-ID")
	if len(id) == 0 {
		return
	}
	clean := make([]byte, 0, min(len(id), maxCorrelationID))
	for _, c := range id {
		if c > ' ' && c < 0x7f && len(clean) < maxCorrelationID {
			clean = append(clean, c)
		}
	}
	if len(clean) > 0 {
		ctx.Response.Header.SetBytesV("X-Correlation-ID", clean)
	}
}

func isMCPPath(path []byte) bool {
	rest, ok := bytes.CutPrefix(path, []byte(mcpPath))
	return ok && (len(rest) == 0 || rest[0] == '/')
}
