package httpapi

import (
	"errors"
	"net"
	"time"

	"github.com/fasthttp/websocket"

	"github.com/aabb9013/hangar/supervisor"
)

// eventSocket is one event stream. read runs in the goroutine of the
// connection, write in one of its own, which alone uses the subscription.
type eventSocket struct {
	api      *API
	sockets  *eventSockets
	ws       *websocket.Conn
	conn     net.Conn // below ws, whose own Close does nothing
	sub      Subscription
	shutdown <-chan struct{} // of the HTTP server
	filter   eventFilter
	requests chan streamRequest
	gone     chan struct{} // the client has left
}

// read takes the client's messages until it leaves or write has ended. It does
// not go on while the writer is busy, so that TCP slows down a client that
// sends without end.
func (s *eventSocket) read(written <-chan struct{}) {
	s.ws.SetReadLimit(maxStreamMessage)
	for {
		_, message, err := s.ws.ReadMessage()
		if err != nil {
			return
		}
		select {
		case s.requests <- parseStreamRequest(message):
		case <-written:
			return
		}
	}
}

// write sends events, answers and pings until the stream ends.
func (s *eventSocket) write() {
	quiet := time.NewTimer(s.sockets.ping)
	defer quiet.Stop()
	asked := false // a pong is due
	for {
		var err error
		select {
		case <-s.gone:
			return
		case <-s.shutdown:
			s.end(websocket.CloseGoingAway, "the server ends")
			return
		case r := <-s.requests:
			if r.pong && asked {
				asked = false
				quiet.Reset(s.sockets.ping)
			}
			err = s.answer(r)
		case <-s.sub.Ready():
			var sent bool
			if sent, err = s.events(); sent && !asked {
				quiet.Reset(s.sockets.ping)
			}
		case <-quiet.C:
			if asked {
				s.end(websocket.ClosePolicyViolation, "no pong came in time")
				return
			}
			asked = true
			quiet.Reset(s.sockets.pong)
			err = s.send(pingFrame)
		}
		if err != nil {
			s.farewell(err)
			return
		}
	}
}

// events sends what the subscription has.
func (s *eventSocket) events() (sent bool, err error) {
	events, dropped, err := s.sub.Next()
	if err != nil {
		return false, err
	}
	if dropped > 0 {
		if err := s.send(droppedFrame(dropped)); err != nil {
			return true, err
		}
	}
	for i := range events {
		if err := s.send(eventFrame(events[i])); err != nil {
			return true, err
		}
	}
	return dropped > 0 || len(events) > 0, nil
}

// answer carries out what the client wants and tells it so.
func (s *eventSocket) answer(r streamRequest) error {
	err := r.err
	if err == nil && r.after != nil {
		err = s.seek(*r.after)
	}
	switch {
	case err != nil:
		return s.send(errorFrame(err))
	case r.ping:
		return s.send(pongFrame)
	case r.pong:
		return nil
	}
	s.sub.Select(r.filter.wants())
	return s.send(subscribedFrame(r.filter))
}

func (s *eventSocket) seek(after uint64) error {
	end, err := s.api.runtime.EventPosition()
	if err == nil {
		err = checkAfter(after, end)
	}
	if err == nil {
		s.sub.Seek(after)
	}
	return err
}

var errClientGone = errors.New("the client does not read, or has left")

func (s *eventSocket) send(frame []byte) error {
	_ = s.ws.SetWriteDeadline(time.Now().Add(s.sockets.patience))
	if s.ws.WriteMessage(websocket.TextMessage, frame) != nil {
		return errClientGone
	}
	return nil
}

// farewell ends a stream that cannot go on.
func (s *eventSocket) farewell(err error) {
	switch {
	case errors.Is(err, errClientGone): // and hears nothing any more
	case errors.Is(err, supervisor.ErrClosing):
		s.end(websocket.CloseGoingAway, "the runtime ends")
	default:
		s.api.log.Error("an event stream ended", "err", err)
		s.end(websocket.CloseInternalServerErr, "internal error, see the runtime's log")
	}
}

// end tells the client why, and gives it a moment to agree: a connection closed
// at once can lose what is on its way.
func (s *eventSocket) end(code int, reason string) {
	by := time.Now().Add(farewell)
	if s.ws.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(code, reason), by) != nil {
		return
	}
	over := time.NewTimer(time.Until(by))
	defer over.Stop()
	select {
	case <-s.gone:
	case <-over.C:
	}
}
