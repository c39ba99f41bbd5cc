package httpapi

import (
	"context"
	"io"
	"net"
	"strings"
	"testing"
)

// flipped is a connection that changes what passes, as one with a cipher or a
// counter does, and has the methods of the socket inside.
type flipped struct{ *net.TCPConn }

func flip(p []byte) []byte {
	out := make([]byte, len(p))
	for i, c := range p {
		out[i] = c ^ 0x55
	}
	return out
}

func (c flipped) Read(p []byte) (int, error) {
	n, err := c.TCPConn.Read(p)
	copy(p, flip(p[:n]))
	return n, err
}

func (c flipped) Write(p []byte) (int, error) { return c.TCPConn.Write(flip(p)) }

type flippingListener struct{ *net.TCPListener }

func (l flippingListener) Accept() (net.Conn, error) {
	c, err := l.AcceptTCP()
	if err != nil {
		return nil, err
	}
	return flipped{c}, nil
}

// An embedding program brings the listener, and its connections may be more
// than the sockets inside of them.
func TestConnectionsAreUsedByTheirOwnMethods(t *testing.T) {
	ln, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- Serve(ctx, flippingListener{ln}, testAPI(testFleet()).Server()) }()
	defer func() { cancel(); <-done }()
	c, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write(flip([]byte("GET /health/live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"))); err != nil {
		t.Fatal(err)
	}
	answer, err := io.ReadAll(c)
	if got := string(flip(answer)); err != nil || !strings.HasPrefix(got, "HTTP/1.1 200 OK\r\n") {
		t.Errorf("got %q, %v", got, err)
	}
}
