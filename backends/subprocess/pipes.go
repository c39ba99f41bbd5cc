package subprocess

import (
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/aabb9013/hangar/internal/rawio"
	"golang.org/x/sys/unix"
)

// pipes are the six ends of a child's three streams.
type pipes struct {
	stdin                       *sink // ours, as stdout and stderr
	stdout, stderr              *rawio.Source
	childIn, childOut, childErr *os.File
}

func openPipes(r *readers) (*pipes, error) {
	p := &pipes{}
	err := p.open(r)
	if err != nil {
		p.closeChild()
		p.closeParent()
		return nil, err
	}
	return p, nil
}

func (p *pipes) open(r *readers) error {
	childIn, stdin, err := os.Pipe()
	if err != nil {
		return err
	}
	p.childIn = childIn
	if p.stdin, err = newSink(stdin); err != nil {
		stdin.Close()
		return err
	}
	if p.stdout, p.childOut, err = r.pipe(r.answers); err != nil {
		return err
	}
	if p.stderr, p.childErr, err = r.pipe(r.words); err != nil {
		return err
	}
	p.stderr.Pace(stderrCredit, stderrBurst, stderrRest)
	return leaveReserve(p.childErr)
}

func (p *pipes) closeChild() { closeAll(p.childIn, p.childOut, p.childErr) }

func (p *pipes) closeParent() {
	if p.stdin != nil {
		p.stdin.Close()
	}
	for _, s := range []*rawio.Source{p.stdout, p.stderr} {
		if s != nil {
			s.Close()
		}
	}
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

func (s *sink) Widen() {
	if raw, err := s.f.SyscallConn(); err == nil {
		// May fail, as source's.
		_ = raw.Control(func(fd uintptr) { unix.FcntlInt(fd, unix.F_SETPIPE_SZ, pipeSize) })
	}
}

func (s *sink) Write(p []byte) (int, error)        { return s.f.Write(p) }
func (s *sink) SetWriteDeadline(t time.Time) error { return s.f.SetWriteDeadline(t) }

// source is a link.Source over a child's stdout.
type source struct{ *rawio.Source }

func (s source) Widen() { s.Source.Widen(pipeSize) }
