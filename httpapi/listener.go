package httpapi

import (
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	firstRetryDelay = 5 * time.Millisecond
	lastRetryDelay  = time.Second
	// lingerTime and lingerBytes bound how long the rest of a refused request
	// is read away.
	lingerTime  = 500 * time.Millisecond
	lingerBytes = 32 << 20
)

// edgeListener outlives the errors of Accept that pass, and knows its open
// connections, so that a shutdown can close those that will not end.
type edgeListener struct {
	net.Listener
	onRetry func(err error, wait time.Duration)

	closeOnce sync.Once
	closed    chan struct{}

	mu    sync.Mutex
	conns map[*edgeConn]struct{}
}

func newEdgeListener(ln net.Listener) *edgeListener {
	return &edgeListener{Listener: ln, closed: make(chan struct{}), conns: map[*edgeConn]struct{}{}}
}

// Accept returns the next connection, or an error that will not pass.
func (l *edgeListener) Accept() (net.Conn, error) {
	delay := time.Duration(0)
	for {
		c, err := l.Listener.Accept()
		if err == nil {
			return l.track(c), nil
		}
		if !passes(err) {
			return nil, err
		}
		delay = min(max(2*delay, firstRetryDelay), lastRetryDelay)
		if l.onRetry != nil {
			l.onRetry(err, delay)
		}
		select {
		case <-time.After(delay):
		case <-l.closed:
			return nil, net.ErrClosed
		}
	}
}

func passes(err error) bool {
	for _, errno := range []syscall.Errno{
		syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.ECONNABORTED,
	} {
		if errors.Is(err, errno) {
			return true
		}
	}
	return false
}

// Close may be called more than once: by Serve and by the server's shutdown.
func (l *edgeListener) Close() (err error) {
	l.closeOnce.Do(func() {
		close(l.closed)
		err = l.Listener.Close()
	})
	return err
}

func (l *edgeListener) track(c net.Conn) net.Conn {
	conn := &edgeConn{Conn: c, owner: l}
	l.mu.Lock()
	l.conns[conn] = struct{}{}
	l.mu.Unlock()
	return conn
}

// closeConns closes what is still open and counts it.
func (l *edgeListener) closeConns() int {
	l.mu.Lock()
	open := make([]*edgeConn, 0, len(l.conns))
	for c := range l.conns {
		open = append(open, c)
	}
	l.mu.Unlock()
	for _, c := range open {
		c.linger.Store(false)
		c.Close()
	}
	return len(open)
}

// edgeConn can linger: closing a socket with unread bytes sends a reset, which
// may overtake the answer that says why the request was refused.
type edgeConn struct {
	net.Conn
	owner  *edgeListener
	linger atomic.Bool
}

// lingerMark is a read deadline that no one else sets. The server may have
// wrapped the connection once more, and this is what gets through to it; a
// deadline long past does no harm to a connection that only gets an answer.
var lingerMark = time.Unix(1, 0)

func lingerOnClose(c net.Conn) {
	if c != nil {
		_ = c.SetReadDeadline(lingerMark)
	}
}

// SetReadDeadline also takes the mark of lingerOnClose.
func (c *edgeConn) SetReadDeadline(t time.Time) error {
	if t.Equal(lingerMark) {
		c.linger.Store(true)
		return nil
	}
	return c.Conn.SetReadDeadline(t)
}

// Close closes the connection, after reading away the rest of a refused
// request.
func (c *edgeConn) Close() error {
	c.owner.mu.Lock()
	delete(c.owner.conns, c)
	c.owner.mu.Unlock()
	half, ok := c.Conn.(interface{ CloseWrite() error })
	if ok && c.linger.Swap(false) && half.CloseWrite() == nil {
		_ = c.Conn.SetReadDeadline(time.Now().Add(lingerTime))
		_, _ = io.CopyN(io.Discard, c.Conn, lingerBytes)
	}
	return c.Conn.Close()
}
