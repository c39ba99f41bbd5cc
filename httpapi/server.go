package httpapi

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/valyala/fasthttp"
)

// Limits of the server; fasthttp has nearly all of them off by default.
const (
	// readTimeout bounds header and body together, fasthttp knows no two
	// limits. A slow sender is cut off by it, yet 16 MiB pass at 4.5 Mbit/s.
	readTimeout = 30 * time.Second
	// writeTimeout bounds the writing of an answer, not the making of it; the
	// streams of /mcp set a deadline for each event of their own.
	writeTimeout = 30 * time.Second
	// idleTimeout equals readTimeout, so that on a busy connection the one
	// deadline serves both, see edgeConn.SetReadDeadline.
	idleTimeout = readTimeout
	// maxConnsPerIP stops one address from taking all descriptors; behind a
	// proxy all clients have one address, so it is high. Our listener counts:
	// fasthttp's own MaxConnsPerIP (1.74) puts a connection that a shutdown
	// closes back into a pool while its goroutine still reads from it, which
	// ends in a nil pointer, and nothing recovers there.
	maxConnsPerIP = 8192
	// readBufferSize bounds the header: tokens and tracing headers outgrow
	// fasthttp's 4 KiB.
	readBufferSize = 16 << 10
	// shutdownGrace is how long requests under way may take at the end.
	shutdownGrace = 10 * time.Second
	// upgradeGrace is how long event streams, which the shutdown has told, may
	// take to say goodbye before they are closed.
	upgradeGrace = 2 * farewell
)

// Server returns a server for the API with all limits set, for Serve.
func (a *API) Server() *fasthttp.Server {
	return &fasthttp.Server{
		Handler:                      a.serve,
		ErrorHandler:                 a.transportError,
		HeaderReceived:               a.limitsFor,
		Name:                         "hangar", // no version: it is for attackers only
		NoDefaultServerHeader:        true,
		ReadTimeout:                  readTimeout,
		IdleTimeout:                  idleTimeout,
		ReadBufferSize:               readBufferSize,
		WriteBufferSize:              writeBufferSize,
		MaxRequestBodySize:           MaxMCPBodyBytes,
		DisablePreParseMultipartForm: true,
		StreamRequestBody:            false,
		CloseOnShutdown:              true,
		SecureErrorLogMessage:        true,
		Logger:                       slogPrinter{a.log},
	}
}

// limitsFor chooses the limits of a request by its path, before its body is
// read.
func (a *API) limitsFor(h *fasthttp.RequestHeader) fasthttp.RequestConfig {
	path, _, _ := bytes.Cut(h.RequestURI(), []byte("?"))
	if isMCPPath(path) {
		return fasthttp.RequestConfig{MaxRequestBodySize: MaxMCPBodyBytes, WriteTimeout: writeTimeout}
	}
	return fasthttp.RequestConfig{MaxRequestBodySize: a.maxBody, WriteTimeout: writeTimeout}
}

// transportError answers what never became a request.
func (a *API) transportError(ctx *fasthttp.RequestCtx, err error) {
	var small *fasthttp.ErrSmallBuffer
	var network net.Error
	switch {
	case errors.Is(err, fasthttp.ErrBodyTooLarge):
		lingerOnClose(ctx.Conn())
		writeEnvelope(ctx, errBodyTooLarge)
	case errors.As(err, &small):
		lingerOnClose(ctx.Conn())
		writeEnvelope(ctx, &apiError{status: 431, name: "RequestHeaderFieldsTooLarge", message: "the request header is too large"})
	case errors.As(err, &network) && network.Timeout():
		writeEnvelope(ctx, &apiError{status: 408, name: "RequestTimeout", message: "the request did not come in time"})
	default:
		writeEnvelope(ctx, &apiError{status: 400, name: "InvalidRequestError", message: "the request is not valid HTTP"})
	}
}

// Serve serves connections of ln until ctx ends, then shuts down: it accepts no
// more, lets requests under way finish for a bounded time, and closes what is
// left. It returns nil when nothing had to be closed by force. Accepting goes
// on after a want of descriptors or memory, where fasthttp alone would give up
// for good.
func Serve(ctx context.Context, ln net.Listener, srv *fasthttp.Server) error {
	edge := newEdgeListener(ln)
	if p, ok := srv.Logger.(slogPrinter); ok {
		edge.onRetry = func(err error, wait time.Duration) {
			p.log.Warn("cannot accept connections, trying again", "err", err, "wait", wait)
		}
	}
	defer edge.watch()()
	done := make(chan error, 1)
	go func() { done <- srv.Serve(edge) }()
	select {
	case err := <-done:
		edge.Close()
		edge.closeConns()
		return err
	case <-ctx.Done():
	}
	// Closed here too: a shutdown that comes before srv.Serve knows its
	// listener would leave it open.
	edge.Close()
	edge.closeSilent(0)
	wait, cancel := context.WithTimeout(context.Background(), shutdownGrace)
	defer cancel()
	err := srv.ShutdownWithContext(wait)
	edge.upgrades.wait(upgradeGrace)
	if n := edge.closeConns(); n > 0 && err != nil {
		err = fmt.Errorf("%d connections closed by force: %w", n, err)
	}
	edge.upgrades.wait(upgradeGrace)
	return errors.Join(err, <-done)
}

// slogPrinter takes fasthttp's own log, which tells of single connections.
type slogPrinter struct{ log *slog.Logger }

func (p slogPrinter) Printf(format string, args ...any) {
	p.log.Debug("http connection", "detail", cleanText(fmt.Sprintf(format, args...), 500))
}
