package httpapi

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/valyala/fasthttp"
)

// startServer serves an API on a loopback port until the test ends.
func startServer(t *testing.T, a *API, change func(*fasthttp.Server)) (addr string, stop func() error) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := a.Server()
	if change != nil {
		change(srv)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- Serve(ctx, ln, srv) }()
	stop = sync.OnceValue(func() error { cancel(); return <-done })
	t.Cleanup(func() { _ = stop() })
	return ln.Addr().String(), stop
}

// exchange writes raw bytes and reads one answer; like many clients it goes on
// writing whatever happens.
func exchange(t *testing.T, addr string, parts ...string) reply {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	for _, p := range parts {
		_, _ = io.WriteString(c, p)
	}
	in := bufio.NewReader(c)
	resp, err := http.ReadResponse(in, nil)
	for err == nil && resp.StatusCode == http.StatusContinue {
		resp, err = http.ReadResponse(in, nil)
	}
	if err != nil {
		t.Fatalf("no answer: %v", err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return reply{status: resp.StatusCode, header: resp.Header, body: body}
}

func TestTransportLimits(t *testing.T) {
	rt := testFleet()
	mcpBody := 0
	a := testAPI(rt, func(o *Options) {
		o.MCP = mcpFunc(func(ctx *fasthttp.RequestCtx) { mcpBody = len(ctx.PostBody()) })
	})
	addr, _ := startServer(t, a, nil)
	hasty, _ := startServer(t, a, func(s *fasthttp.Server) { s.ReadTimeout = 50 * time.Millisecond })
	const post = "POST /api/mcp_servers HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
	big := strings.Repeat("x", 3<<20)
	chunk := strings.Repeat("y", 64<<10)
	chunked := strings.Repeat(fmt.Sprintf("%x\r\n%s\r\n", len(chunk), chunk), 48) + "0\r\n\r\n"
	for _, c := range []struct {
		name   string
		parts  []string
		status int
		error  string
	}{
		{"content length over the limit", []string{post, fmt.Sprintf("Content-Length: %d\r\n\r\n", len(big)), big}, 413, "PayloadTooLarge"},
		{"content length far over the limit, body never sent", []string{post, "Content-Length: 99999999999\r\n\r\n"}, 413, "PayloadTooLarge"},
		{"chunked over the limit", []string{post, "Transfer-Encoding: chunked\r\n\r\n", chunked}, 413, "PayloadTooLarge"},
		{"expect 100-continue over the limit", []string{strings.Replace(post, "\r\n", "\r\nExpect: 100-continue\r\n", 1), fmt.Sprintf("Content-Length: %d\r\n\r\n", len(big)), big}, 413, "PayloadTooLarge"},
		{"header over the limit", []string{"GET /health/live HTTP/1.1\r\nHost: localhost\r\nX-Big: ", strings.Repeat("h", 40<<10), "\r\n\r\n"}, 431, "RequestHeaderFieldsTooLarge"},
		{"no HTTP", []string{"\x16\x03\x01 hello\r\n\r\n"}, 400, "InvalidRequestError"},
		{"slow header", []string{"GET /health/live HTTP/1.1\r\nHost: loc"}, 408, "RequestTimeout"},
		{"slow body", []string{post, "Content-Length: 100\r\n\r\n{"}, 408, "RequestTimeout"},
		{"broken chunk", []string{post, "Transfer-Encoding: chunked\r\n\r\nzz\r\n"}, 400, "InvalidRequestError"},
		{"other host", []string{"GET /health/live HTTP/1.1\r\nHost: evil.com\r\n\r\n"}, 403, "ForbiddenHost"},
	} {
		t.Run(c.name, func(t *testing.T) {
			to := addr
			if strings.HasPrefix(c.name, "slow") {
				to = hasty
			}
			r := exchange(t, to, c.parts...)
			checkEnvelope(t, request{method: "POST", path: c.name}, r)
			wantError(t, r, c.status, c.error, "")
			if rt.changed() != 0 {
				t.Error("the runtime was asked for a change")
			}
		})
	}
	r := exchange(t, addr, "POST /mcp HTTP/1.1\r\nHost: localhost\r\n", fmt.Sprintf("Content-Length: %d\r\n\r\n", len(big)), big)
	if r.status != 200 || mcpBody != len(big) {
		t.Errorf("3 MiB to /mcp: %d, %d bytes seen", r.status, mcpBody)
	}
	if got := r.header.Get("Server"); got != "hangar" {
		t.Errorf("Server header %q", got)
	}
}

func TestShutdownLetsRequestsFinish(t *testing.T) {
	rt := testFleet()
	entered, leave := make(chan struct{}), make(chan struct{})
	rt.stop = func(string, string) error { close(entered); <-leave; return nil }
	addr, stop := startServer(t, testAPI(rt), nil)
	answer := make(chan reply, 1)
	go func() {
		answer <- exchange(t, addr, "POST /api/mcp_servers/math/stop HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n")
	}()
	<-entered
	stopped := make(chan error, 1)
	go func() { stopped <- stop() }()
	for { // until the port is closed
		c, err := net.Dial("tcp", addr)
		if err != nil {
			break
		}
		c.Close()
	}
	close(leave)
	if r := <-answer; r.status != 200 {
		t.Errorf("the request under way got %d", r.status)
	}
	if err := <-stopped; err != nil {
		t.Errorf("Serve: %v", err)
	}
}

func TestShutdownClosesWhatWillNotEnd(t *testing.T) {
	ln := newEdgeListener(&fakeListener{})
	ours, theirs := net.Pipe()
	defer theirs.Close()
	ln.track(ours)
	if n := ln.closeConns(); n != 1 {
		t.Errorf("closed %d", n)
	}
	if _, err := theirs.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("the other end sees %v", err)
	}
	if n := ln.closeConns(); n != 0 {
		t.Errorf("a closed connection is still known: %d", n)
	}
}

func TestOneAddressCannotTakeAllConnections(t *testing.T) {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ln := newEdgeListener(inner)
	ln.perIP = 2
	defer ln.Close()
	accepted := make(chan net.Conn, 10)
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			accepted <- c
		}
	}()
	dial := func() net.Conn {
		c, err := net.Dial("tcp", inner.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	dial()
	dial()
	first := <-accepted
	<-accepted
	resp, err := http.ReadResponse(bufio.NewReader(dial()), nil)
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(resp.Body)
	r := reply{status: resp.StatusCode, header: resp.Header, body: body}
	checkEnvelope(t, request{path: "third connection"}, r)
	wantError(t, r, 429, "TooManyConnections", "")

	first.Close()
	first.Close() // counts once
	dial()
	<-accepted
	if n := ln.closeConns(); n != 2 {
		t.Errorf("%d connections are known, want 2", n)
	}
	if len(ln.count) != 0 {
		t.Errorf("addresses are still counted: %v", ln.count)
	}
}

func TestServeThatNeverBeganEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := Serve(ctx, ln, testAPI(testFleet()).Server()); err != nil {
		t.Error(err)
	}
}

// fakeListener answers Accept with the errors it was given, then with
// connections of a pipe, then blocks until it is closed.
type fakeListener struct {
	mu     sync.Mutex
	errs   []error
	conns  []net.Conn
	closed chan struct{}
}

func (l *fakeListener) Accept() (net.Conn, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.errs) > 0 {
		err := l.errs[0]
		l.errs = l.errs[1:]
		return nil, err
	}
	if len(l.conns) > 0 {
		c := l.conns[0]
		l.conns = l.conns[1:]
		return c, nil
	}
	<-l.closed
	return nil, net.ErrClosed
}

func (l *fakeListener) Close() error   { close(l.closed); return nil }
func (l *fakeListener) Addr() net.Addr { return &net.TCPAddr{} }

// TestAcceptOutlivesWantOfDescriptors: fasthttp alone stops serving for good at
// the first EMFILE.
func TestAcceptOutlivesWantOfDescriptors(t *testing.T) {
	wrap := func(errno syscall.Errno) error {
		return &net.OpError{Op: "accept", Err: os.NewSyscallError("accept4", errno)}
	}
	ours, theirs := net.Pipe()
	ln := &fakeListener{
		errs:   []error{wrap(syscall.EMFILE), wrap(syscall.ENFILE), wrap(syscall.ENOBUFS), wrap(syscall.ENOMEM), wrap(syscall.ECONNABORTED)},
		conns:  []net.Conn{ours},
		closed: make(chan struct{}),
	}
	var log bytes.Buffer
	a := testAPI(testFleet(), func(o *Options) { o.Logger = logTo(&log) })
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- Serve(ctx, ln, a.Server()) }()

	go func() {
		_, _ = io.WriteString(theirs, "GET /health/live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
	}()
	resp, err := http.ReadResponse(bufio.NewReader(theirs), nil)
	if err != nil || resp.StatusCode != 200 {
		t.Fatalf("after the errors: %v, %v", resp, err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("Serve: %v", err)
	}
	if n := strings.Count(log.String(), "cannot accept connections"); n != 5 {
		t.Errorf("%d warnings, want 5: %s", n, log.String())
	}
}

func TestAcceptGivesUpOnOtherErrors(t *testing.T) {
	broken := errors.New("broken for good")
	ln := newEdgeListener(&fakeListener{errs: []error{broken}})
	if _, err := ln.Accept(); err != broken {
		t.Errorf("got %v", err)
	}
}

func TestAcceptThatWaitsEndsWithClose(t *testing.T) {
	full := make([]error, 1000)
	for i := range full {
		full[i] = syscall.EMFILE
	}
	ln := newEdgeListener(&fakeListener{errs: full, closed: make(chan struct{})})
	var longest time.Duration
	waits := make(chan time.Duration, 1000)
	ln.onRetry = func(_ error, wait time.Duration) { waits <- wait }
	done := make(chan error, 1)
	go func() { _, err := ln.Accept(); done <- err }()
	for range 4 {
		longest = max(longest, <-waits)
	}
	if longest != 40*time.Millisecond {
		t.Errorf("the fourth wait is %v", longest)
	}
	ln.Close()
	ln.Close()
	if err := <-done; !errors.Is(err, net.ErrClosed) {
		t.Errorf("got %v", err)
	}
}
