package httpapi

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fasthttp/websocket"
	"github.com/valyala/fasthttp"
)

const (
	// MaxEventSockets bounds the open event streams of an API; one more is told 503.
	MaxEventSockets = 500
	// maxStreamMessage bounds what a client of an event stream sends at once;
	// a longer message ends its stream.
	maxStreamMessage = 32 << 10
	// eventPing is how long a stream may be quiet until its client is asked
	// whether it is there, eventPong how long that one may take to answer.
	eventPing = 55 * time.Second
	eventPong = 10 * time.Second
	// farewell is how long a stream that we end waits for its client to agree.
	farewell = time.Second
)

var errEventSockets = errors.New("too many event streams are open; close one, or try again later")

// eventSockets is what all event streams of an API share.
type eventSockets struct {
	max        int64
	ping, pong time.Duration
	patience   time.Duration // for a client that does not read
	open       atomic.Int64
	upgrader   websocket.FastHTTPUpgrader
}

func newEventSockets(refuse func(ctx *fasthttp.RequestCtx, err error)) *eventSockets {
	return &eventSockets{
		max: MaxEventSockets, ping: eventPing, pong: eventPong, patience: streamWrite,
		upgrader: websocket.FastHTTPUpgrader{
			ReadBufferSize: 512, WriteBufferSize: 4 << 10, WriteBufferPool: &sync.Pool{},
			CheckOrigin: func(*fasthttp.RequestCtx) bool { return true }, // edgeGuard has
			Error: func(ctx *fasthttp.RequestCtx, _ int, reason error) {
				refuse(ctx, badRequest("%s", cleanText(reason.Error(), 200)))
			},
		},
	}
}

// streamEvents upgrades the connection and streams events over it. Nothing is
// held before the upgrade has succeeded: when the client leaves during the
// handshake, the server tells nobody.
func (a *API) streamEvents(ctx *fasthttp.RequestCtx) error {
	if err := checkHandshake(ctx); err != nil {
		return err
	}
	end, err := a.runtime.EventPosition()
	if err != nil {
		return err
	}
	first, err := subscriptionOf(ctx.QueryArgs(), end)
	if err != nil {
		return err
	}
	if a.sockets.open.Load() >= a.sockets.max {
		return errEventSockets
	}
	after := end
	if first.after != nil {
		after = *first.after
	}
	conn, shutdown := ctx.Conn(), ctx.Done()
	// What it refuses it has answered.
	_ = a.sockets.upgrader.Upgrade(ctx, func(ws *websocket.Conn) {
		defer trackUpgrade(conn)()
		defer a.sockets.open.Add(-1)
		if a.sockets.open.Add(1) > a.sockets.max { // others were quicker
			full := websocket.FormatCloseMessage(websocket.CloseTryAgainLater, errEventSockets.Error())
			_ = ws.WriteControl(websocket.CloseMessage, full, time.Now().Add(farewell))
			return
		}
		a.stream(&eventSocket{ws: ws, conn: conn, shutdown: shutdown, filter: first.filter}, after)
	})
	return nil
}

// stream serves one connection to its end.
func (a *API) stream(s *eventSocket, after uint64) {
	defer a.containStream()
	// fasthttp closes the connection only when both directions have ended, so
	// either must close it to end the other.
	defer s.conn.Close()
	s.api, s.sockets = a, a.sockets
	s.requests, s.gone = make(chan streamRequest), make(chan struct{})
	sub, err := a.runtime.Subscribe(after)
	if err != nil {
		s.end(websocket.CloseGoingAway, "the runtime ends")
		return
	}
	defer sub.Close()
	s.sub = sub
	s.sub.Select(s.filter.wants())
	written := make(chan struct{})
	go func() {
		defer close(written)
		defer s.conn.Close()
		defer a.containStream()
		s.write()
	}()
	func() {
		defer a.containStream()
		s.read(written)
	}()
	close(s.gone)
	s.conn.Close()
	<-written
}

// containStream is contain for what runs outside of a handler.
func (a *API) containStream() {
	if cause := recover(); cause != nil {
		a.log.Error("panic in an event stream", "err", fmt.Sprint(cause), "stack", string(debug.Stack()))
	}
}

// checkHandshake refuses, in our envelope, what is no opening handshake of
// RFC 6455.
func checkHandshake(ctx *fasthttp.RequestCtx) error {
	if !websocket.FastHTTPIsWebSocketUpgrade(ctx) {
		return upgradeRequired(ctx, "this is a WebSocket endpoint: connect to it with a WebSocket client")
	}
	h := &ctx.Request.Header
	if version := h.Peek("Sec-WebSocket-Version"); string(version) != "13" {
		ctx.Response.Header.Set("Sec-WebSocket-Version", "13")
		return upgradeRequired(ctx, "Sec-WebSocket-Version must be 13, not "+quoteClient(string(version)))
	}
	if key, err := base64.StdEncoding.DecodeString(string(h.Peek("Sec-WebSocket-Key"))); err != nil || len(key) != 16 {
		return badRequest("Sec-WebSocket-Key must be 16 bytes in base64")
	}
	return nil
}

func upgradeRequired(ctx *fasthttp.RequestCtx, message string) error {
	ctx.Response.Header.Set("Upgrade", "websocket")
	ctx.Response.Header.Set("Connection", "Upgrade")
	return &apiError{status: fasthttp.StatusUpgradeRequired, name: "UpgradeRequired", message: message}
}

// trackUpgrade lets the end of Serve wait for a connection that has left HTTP.
func trackUpgrade(conn net.Conn) (done func()) {
	if c, ok := conn.(*edgeConn); ok {
		return c.owner.upgrades.begin()
	}
	return func() {}
}
