package subprocess

import (
	"errors"
	"io"
	"os"
	"syscall"
	"time"
)

// pipes are the six ends of a child's three streams.
type pipes struct {
	stdin, stdout, stderr       *os.File // ours
	childIn, childOut, childErr *os.File
	stdinRaw                    syscall.RawConn
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

func (p *pipes) open() (err error) {
	if p.childIn, p.stdin, err = os.Pipe(); err != nil {
		return err
	}
	if p.stdout, p.childOut, err = os.Pipe(); err != nil {
		return err
	}
	if p.stderr, p.childErr, err = os.Pipe(); err != nil {
		return err
	}
	p.stdinRaw, err = p.stdin.SyscallConn()
	return err
}

func (p *pipes) closeChild()  { closeAll(p.childIn, p.childOut, p.childErr) }
func (p *pipes) closeParent() { closeAll(p.stdin, p.stdout, p.stderr) }

func closeAll(files ...*os.File) {
	for _, f := range files {
		if f != nil {
			f.Close()
		}
	}
}

// sink is a link.Sink over a child's stdin. TryWrite must not be used
// concurrently with itself.
type sink struct {
	f   *os.File
	raw syscall.RawConn
	p   []byte
	n   int
	err error
	try func(fd uintptr) bool
}

func newSink(f *os.File, raw syscall.RawConn) *sink {
	s := &sink{f: f, raw: raw}
	s.try = s.attempt
	return s
}

// TryWrite implements link.Sink without allocating.
func (s *sink) TryWrite(p []byte) (int, error) {
	s.p, s.n, s.err = p, 0, nil
	err := s.raw.Write(s.try)
	s.p = nil
	if err != nil {
		return 0, err
	}
	return max(s.n, 0), s.err
}

func (s *sink) attempt(fd uintptr) bool {
	for {
		s.n, s.err = syscall.Write(int(fd), s.p)
		if s.err == syscall.EINTR {
			continue
		}
		if s.err == syscall.EAGAIN {
			s.err = nil
		}
		return true // never wait for room
	}
}

// pipeSize is what a pipe with long lines may hold: a 64 KiB message and its
// envelope do not fit the 64 KiB a pipe is made with, and each refill costs two
// switches of process.
const pipeSize = 256 << 10

// widen may fail, since the sum of all pipes is limited for each user.
func widen(raw syscall.RawConn) {
	raw.Control(func(fd uintptr) { setPipeSize(fd, pipeSize) })
}

func (s *sink) Widen() { widen(s.raw) }

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
	for {
		s.n, s.err = syscall.Read(int(fd), s.buffer())
		if s.err == syscall.EINTR {
			continue
		}
		if s.err == syscall.EAGAIN {
			s.idle()
			return false
		}
		return true
	}
}
