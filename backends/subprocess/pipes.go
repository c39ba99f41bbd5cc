package subprocess

import (
	"errors"
	"io"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/aabb9013/hangar/internal/rawio"
)

// pipes are the six ends of a child's three streams.
type pipes struct {
	stdin                       *sink // ours, as stdout and stderr
	stdout, stderr              *os.File
	childIn, childOut, childErr *os.File
}

func openPipes() (*pipes, error) {
	p := &pipes{}
	err := p.open()
	if err != nil {
		p.closeChild()
		p.closeParent()
		return nil, err
	}
	return p, nil
}

func (p *pipes) open() error {
	childIn, stdin, err := os.Pipe()
	if err != nil {
		return err
	}
	p.childIn = childIn
	if p.stdin, err = newSink(stdin); err != nil {
		stdin.Close()
		return err
	}
	if p.stdout, p.childOut, err = os.Pipe(); err != nil {
		return err
	}
	if p.stderr, p.childErr, err = os.Pipe(); err != nil {
		return err
	}
	return leaveReserve(p.childErr)
}

func (p *pipes) closeChild() { closeAll(p.childIn, p.childOut, p.childErr) }

func (p *pipes) closeParent() {
	if p.stdin != nil {
		p.stdin.Close()
	}
	closeAll(p.stdout, p.stderr)
}

func closeAll(files ...*os.File) {
	for _, f := range files {
		if f != nil {
			f.Close()
		}
	}
}

// sink is a link.Sink over a child's stdin.
type sink struct {
	f *os.File

	mu     sync.Mutex // held over a write that cannot wait, so that fd stays ours
	fd     int
	closed bool
}

func newSink(f *os.File) (*sink, error) {
	raw, err := f.SyscallConn()
	if err != nil {
		return nil, err
	}
	s := &sink{f: f}
	err = raw.Control(func(fd uintptr) { s.fd = int(fd) })
	return s, err
}

// TryWrite implements link.Sink. It goes past the poller, which has no part in
// a write that never waits.
func (s *sink) TryWrite(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return 0, os.ErrClosed
	}
	n, err := rawio.Write(s.fd, p)
	if err == syscall.EAGAIN {
		return 0, nil
	}
	return n, err
}

// Close closes the pipe; a Write that waits ends.
func (s *sink) Close() error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	return s.f.Close()
}

// pipeSize is what a pipe with long lines may hold: a 64 KiB message and its
// envelope do not fit the 64 KiB a pipe is made with, and each refill costs two
// switches of process.
const pipeSize = 256 << 10

// widen may fail, since the sum of all pipes is limited for each user.
func widen(raw syscall.RawConn) {
	raw.Control(func(fd uintptr) { setPipeSize(fd, pipeSize) })
}

func (s *sink) Widen() {
	if raw, err := s.f.SyscallConn(); err == nil {
		widen(raw)
	}
}

func (s *source) Widen() {
	if s.raw != nil {
		widen(s.raw)
	}
}

func (s *sink) Write(p []byte) (int, error)        { return s.f.Write(p) }
func (s *sink) SetWriteDeadline(t time.Time) error { return s.f.SetWriteDeadline(t) }

// leftOver is what a dead child can have left in a pipe.
const leftOver = 64 << 10

// source is a link.Source over a child's stdout; for one reader.
type source struct {
	raw    syscall.RawConn
	left   int // how much may be read after the deadline
	buffer func() []byte
	idle   func()
	n      int
	err    error
	try    func(fd uintptr) bool
}

func newSource(f *os.File) *source {
	s := &source{left: leftOver}
	s.raw, s.err = f.SyscallConn()
	s.try = s.attempt
	return s
}

// Read implements link.Source without allocating.
func (s *source) Read(buffer func() []byte, idle func()) (int, error) {
	if s.raw == nil {
		return 0, s.err
	}
	s.buffer, s.idle = buffer, idle
	if err := s.raw.Read(s.try); err != nil {
		// The deadline says how long to wait for more, not how fast a busy
		// host must be in reading what is there.
		if !errors.Is(err, os.ErrDeadlineExceeded) || s.left <= 0 {
			return 0, err
		}
		s.n, s.err = 0, syscall.EAGAIN
		if s.raw.Control(func(fd uintptr) { s.attempt(fd) }) != nil || s.err == syscall.EAGAIN {
			return 0, err
		}
		s.left -= s.n
	}
	switch {
	case s.err != nil:
		return 0, s.err
	case s.n == 0:
		return 0, io.EOF
	}
	return s.n, nil
}

func (s *source) attempt(fd uintptr) bool {
	s.n, s.err = rawio.Read(int(fd), s.buffer())
	if s.err == syscall.EAGAIN {
		s.idle()
		return false
	}
	return true
}
