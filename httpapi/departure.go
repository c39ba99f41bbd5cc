package httpapi

import (
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// watchInterval is how often the connections are looked at. A client that left
// is noticed after one interval at least, which keeps short calls free of
// system calls, and after two at most.
const watchInterval = 400 * time.Millisecond

// errand is what a connection's client waits for: a request of the MCP front
// (session and key), or else a call by REST (target and id).
type errand struct {
	session *session
	key     callID
	target  Target
	id      uint64
}

func (e errand) cancel() {
	if e.session != nil {
		e.session.cancel(e.key)
		return
	}
	e.target.Cancel(e.id, errCancelled)
}

// waiting is a connection's errand. Its lock is the connection's own; the
// watcher takes it for a moment, twice a second.
type waiting struct {
	serial atomic.Uint64 // odd while there is an errand; grows with each begin and end
	seen   uint64        // the serial at the watcher's last look; the watcher's own
	mu     sync.Mutex
	errand errand // the last one
}

// beginErrand notes what the client waits for, if conn is one of a listener of ours.
// The errand ends when the client leaves before end is called.
func beginErrand(conn net.Conn, e errand) *waiting {
	c, ok := conn.(*edgeConn)
	if !ok {
		return nil
	}
	w := &c.waiting
	w.mu.Lock()
	w.errand = e
	w.mu.Unlock()
	w.serial.Add(1)
	return w
}

// end may be called on nil.
func (w *waiting) end() {
	if w == nil {
		return
	}
	w.serial.Add(1)
}

// long returns the errand that was there at the last look already.
func (w *waiting) long() (e errand, ok bool) {
	serial := w.serial.Load()
	ok = serial%2 == 1 && serial == w.seen
	if w.seen = serial; !ok {
		return errand{}, false
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.errand, true
}

// watch ends the errands of clients that have gone, until the returned function
// is called: fasthttp does not look at a connection while a handler runs, and a
// call would go on for nobody. One goroutine looks after all connections.
func (l *edgeListener) watch() (stop func()) {
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(watchInterval)
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case <-tick.C:
				l.endDeparted()
			}
		}
	}()
	return func() { close(done); <-ended }
}

func (l *edgeListener) endDeparted() {
	type pair struct {
		conn   net.Conn
		errand errand
	}
	var long []pair
	l.mu.Lock()
	for c := range l.conns {
		if e, ok := c.waiting.long(); ok {
			long = append(long, pair{c.Conn, e})
		}
	}
	l.mu.Unlock()
	for _, p := range long {
		// Again at the next look, should it have overtaken its call.
		if departed(p.conn) {
			p.errand.cancel()
		}
	}
}
