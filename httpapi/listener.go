package httpapi

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/aabb9013/hangar/internal/rawio"
)

const (
	firstRetryDelay = 5 * time.Millisecond
	lastRetryDelay  = time.Second
	// silentGrace is how long a connection may send nothing while there are no
	// descriptors for others.
	silentGrace = time.Second
	// lingerTime and lingerBytes bound how long the rest of a refused request
	// is read away.
	lingerTime  = 500 * time.Millisecond
	lingerBytes = 32 << 20
)

// edgeListener outlives the errors of Accept that pass, bounds the connections
// of one address, and knows those that are open, so that a shutdown can close
// what will not end.
type edgeListener struct {
	net.Listener
	onRetry func(err error, wait time.Duration)

	closeOnce sync.Once
	closed    chan struct{}

	upgrades upgrades

	perIP int // connections that one address may have

	mu    sync.Mutex
	conns map[*edgeConn]struct{}
	count map[netip.Addr]int
}

func newEdgeListener(ln net.Listener) *edgeListener {
	return &edgeListener{
		Listener: ln,
		closed:   make(chan struct{}),
		perIP:    maxConnsPerIP,
		conns:    map[*edgeConn]struct{}{},
		count:    map[netip.Addr]int{},
	}
}

// Accept returns the next connection, or an error that will not pass.
func (l *edgeListener) Accept() (net.Conn, error) {
	delay := time.Duration(0)
	for {
		c, err := l.Listener.Accept()
		if err == nil {
			if conn, ok := l.track(c); ok {
				return conn, nil
			}
			refuseConn(c)
			continue
		}
		if !passes(err) {
			return nil, err
		}
		if errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) {
			l.closeSilent(silentGrace)
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

// track takes a connection in; it refuses one too many of an address.
func (l *edgeListener) track(c net.Conn) (*edgeConn, bool) {
	conn := &edgeConn{Conn: c, owner: l, since: time.Now()}
	switch c.(type) {
	case *net.TCPConn, *net.UnixConn:
		// Not what has one of these inside: it may change what passes.
		conn.stream = rawio.NewStream(c)
	}
	if tcp, ok := c.RemoteAddr().(*net.TCPAddr); ok {
		conn.ip = tcp.AddrPort().Addr()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if conn.ip.IsValid() {
		if l.count[conn.ip] >= l.perIP {
			return nil, false
		}
		l.count[conn.ip]++
	}
	l.conns[conn] = struct{}{}
	return conn, true
}

func (l *edgeListener) forget(c *edgeConn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, ok := l.conns[c]; !ok {
		return
	}
	delete(l.conns, c)
	if !c.ip.IsValid() {
		return
	}
	if l.count[c.ip]--; l.count[c.ip] <= 0 {
		delete(l.count, c.ip)
	}
}

// refuseConn answers a connection that will not be served. The buffer of a new
// socket is empty, so this does not hold up the accept loop.
func refuseConn(c net.Conn) {
	const body = `{"error":"TooManyConnections","message":"too many connections from this address","status_code":429}`
	_ = c.SetWriteDeadline(time.Now().Add(100 * time.Millisecond))
	_, _ = fmt.Fprintf(c, "HTTP/1.1 429 Too Many Requests\r\nConnection: close\r\nRetry-After: 1\r\n"+
		"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	_ = c.Close()
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
	stream *rawio.Stream // of Conn, nil where it is no bare socket
	owner  *edgeListener
	ip     netip.Addr // of the other end, none for a Unix socket
	since  time.Time
	linger atomic.Bool
	began  atomic.Bool // a byte has come

	waiting waiting
	out     outgoing

	readBy, writeBy time.Time // the deadlines that are set; of the serving goroutine
}

// deadlineSlack is how much earlier than asked for a deadline may be.
const deadlineSlack = 100 * time.Millisecond

// aboutRight tells whether the deadline that is set serves as well as t.
func aboutRight(set, t time.Time) bool {
	moved := t.Sub(set)
	return !t.IsZero() && !set.IsZero() && moved >= 0 && moved < deadlineSlack
}

// SetReadDeadline leaves a deadline in place that is about right: the server
// moves it twice for every request, which cost more than finding the session.
func (c *edgeConn) SetReadDeadline(t time.Time) error {
	if aboutRight(c.readBy, t) {
		return nil
	}
	c.readBy = t
	return c.Conn.SetReadDeadline(t)
}

// SetWriteDeadline does the same for the deadline of every answer.
func (c *edgeConn) SetWriteDeadline(t time.Time) error {
	if aboutRight(c.writeBy, t) {
		return nil
	}
	c.writeBy = t
	return c.Conn.SetWriteDeadline(t)
}

// SetDeadline is what takes both away when the connection leaves HTTP.
func (c *edgeConn) SetDeadline(t time.Time) error {
	c.readBy, c.writeBy = t, t
	return c.Conn.SetDeadline(t)
}

// lingerOnClose marks a connection whose request was refused unread.
func lingerOnClose(c net.Conn) {
	if edge, ok := c.(*edgeConn); ok {
		edge.linger.Store(true)
	}
}

func (c *edgeConn) Read(p []byte) (int, error) {
	if c.out.held != nil {
		if _, err := c.writeHeld(nil); err != nil {
			return 0, err
		}
	}
	n, err := c.receive(p)
	if n > 0 && !c.began.Load() {
		c.began.Store(true)
	}
	return n, err
}

func (c *edgeConn) receive(p []byte) (int, error) {
	if c.stream == nil {
		return c.Conn.Read(p)
	}
	return c.stream.Read(p)
}

// closeSilent closes the connections that never sent a byte for so long.
// Browsers and HTTP clients hold such ones in reserve: at the end fasthttp
// would wait for them, and without descriptors they keep others out.
func (l *edgeListener) closeSilent(grace time.Duration) {
	now := time.Now()
	l.mu.Lock()
	var silent []*edgeConn
	for c := range l.conns {
		if !c.began.Load() && now.Sub(c.since) >= grace {
			silent = append(silent, c)
		}
	}
	l.mu.Unlock()
	for _, c := range silent {
		c.Close()
	}
}

// Close closes the connection, after reading away the rest of a refused
// request.
func (c *edgeConn) Close() error {
	c.owner.forget(c)
	half, ok := c.Conn.(interface{ CloseWrite() error })
	if ok && c.linger.Swap(false) && half.CloseWrite() == nil {
		_ = c.Conn.SetReadDeadline(time.Now().Add(lingerTime))
		_, _ = io.CopyN(io.Discard, c.Conn, lingerBytes)
	}
	return c.Conn.Close()
}
