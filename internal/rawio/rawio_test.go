//go:build unix

package rawio

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"time"
)

func TestPipeWithoutWaiting(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var fds [2]int
	for i, f := range []*os.File{r, w} {
		raw, err := f.SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		if err := raw.Control(func(fd uintptr) { fds[i] = int(fd) }); err != nil {
			t.Fatal(err)
		}
	}
	buf := make([]byte, 1<<20)
	if n, err := Read(fds[0], buf); n != 0 || err != syscall.EAGAIN {
		t.Errorf("an empty pipe: %d, %v", n, err)
	}
	if n, err := Write(fds[1], nil); n != 0 || err != nil {
		t.Errorf("nothing: %d, %v", n, err)
	}
	written := 0
	for {
		n, err := Write(fds[1], buf)
		if n > MaxIO {
			t.Fatalf("%d bytes at once", n)
		}
		if err != nil {
			if n != 0 || err != syscall.EAGAIN {
				t.Errorf("a full pipe: %d, %v", n, err)
			}
			break
		}
		written += n
	}
	w.Close()
	read := 0
	for {
		n, err := Read(fds[0], buf)
		if err != nil {
			t.Fatal(err)
		}
		if n == 0 {
			break
		}
		read += n
	}
	if read != written || read == 0 {
		t.Errorf("%d bytes written, %d read", written, read)
	}
}

func pair(t *testing.T) (a, b net.Conn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	if a, err = net.Dial("tcp", ln.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if b, err = ln.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close(); b.Close() })
	return a, b
}

func TestStreamCarriesWhatIsLargerThanItsBuffers(t *testing.T) {
	a, b := pair(t)
	out, in := NewStream(a), NewStream(b)
	first, second := bytes.Repeat([]byte("head"), 100_000), bytes.Repeat([]byte("and body"), 2_000_000)
	sent := make(chan error, 1)
	go func() {
		n, err := out.WriteBoth(first, second)
		if err == nil && n != len(first)+len(second) {
			err = io.ErrShortWrite
		}
		if err == nil {
			n, err = out.WriteBoth(nil, []byte("end"))
		}
		if err == nil && n != 3 {
			err = io.ErrShortWrite
		}
		a.Close()
		sent <- err
	}()
	got, err := io.ReadAll(in)
	if err != nil {
		t.Fatal(err)
	}
	if err := <-sent; err != nil {
		t.Error(err)
	}
	if want := append(append(first, second...), "end"...); !bytes.Equal(got, want) {
		t.Errorf("%d bytes came, want %d, or others", len(got), len(want))
	}
}

// Whatever ends a wait for the standard library ends it here, with its errors.
func TestStreamEndsWithItsConnection(t *testing.T) {
	for name, end := range map[string]func(c net.Conn){
		"deadline": func(c net.Conn) { _ = c.SetDeadline(time.Now()) },
		"close":    func(c net.Conn) { _ = c.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			want := os.ErrDeadlineExceeded
			if name == "close" {
				want = net.ErrClosed
			}
			_, c := pair(t)
			s := NewStream(c)
			ended := make(chan error, 2)
			go func() {
				_, err := s.Read(make([]byte, 1))
				ended <- err
			}()
			go func() {
				for {
					if _, err := s.WriteBoth(nil, make([]byte, 1<<20)); err != nil {
						ended <- err
						return
					}
				}
			}()
			end(c)
			for range 2 {
				if err := <-ended; !errors.Is(err, want) {
					t.Errorf("%v, want %v", err, want)
				}
			}
		})
	}
	a, b := pair(t)
	_ = a.(*net.TCPConn).SetLinger(0)
	a.Close()
	s := NewStream(b)
	if _, err := s.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("after a reset: %v", err)
	}
	if _, err := s.WriteBoth(nil, []byte("x")); !errors.Is(err, syscall.EPIPE) {
		t.Errorf("after a reset: %v", err)
	}
}

func TestStreamNeedsADescriptor(t *testing.T) {
	a, _ := net.Pipe()
	if s := NewStream(a); s != nil {
		t.Error("there is a stream of a pipe in memory")
	}
}

type rawEnd struct{ *Stream }

func (e rawEnd) Write(p []byte) (int, error) { return e.WriteBoth(nil, p) }

func BenchmarkEcho(b *testing.B) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer ln.Close()
	near, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	defer near.Close()
	far, err := ln.Accept()
	if err != nil {
		b.Fatal(err)
	}
	defer far.Close()
	for name, ends := range map[string][2]io.ReadWriter{
		"net": {near, far}, "raw": {rawEnd{NewStream(near)}, rawEnd{NewStream(far)}},
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			p := make([]byte, 200)
			for b.Loop() {
				for _, way := range [2][2]int{{0, 1}, {1, 0}} {
					if _, err := ends[way[0]].Write(p); err != nil {
						b.Fatal(err)
					}
					if _, err := io.ReadFull(ends[way[1]], p); err != nil {
						b.Fatal(err)
					}
				}
			}
		})
	}
}
