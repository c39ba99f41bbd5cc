package rawio

import (
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// pollBatch is how many descriptors one look at what is ready returns; the
// others are returned by the next.
const pollBatch = 64

// Poller reads many descriptors in one goroutine. With a goroutine for each, as
// the standard library reads them, an answer costs one switch of goroutine more,
// to a stack that was last in use hundreds of answers ago, and one read more that
// finds nothing; and every idle one keeps its stack.
//
// It has an epoll descriptor of its own, which the scheduler's poller watches:
// so waiting holds no thread. Its methods are safe for concurrent use.
type Poller struct {
	file *os.File // of the epoll descriptor

	mu      sync.Mutex
	sources []*Source // by descriptor
	open    int       // sources in it
	closed  bool

	resting atomic.Int32 // sources that rest, see Source.Pace

	// What follows is the goroutine's.
	events       [pollBatch]unix.EpollEvent
	ready        [pollBatch]*Source
	again, spare []*Source // there may be more of these; the room of the list before
}

// NewPoller starts the goroutine. It ends after Close, with the last source.
func NewPoller() (*Poller, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	if err := unix.SetNonblock(fd, true); err != nil { // or no file that waits is made of it
		unix.Close(fd)
		return nil, os.NewSyscallError("fcntl", err)
	}
	p := &Poller{file: os.NewFile(uintptr(fd), "epoll")}
	raw, err := p.file.SyscallConn()
	if err == nil {
		err = p.file.SetReadDeadline(time.Time{}) // fails where nothing can wait for it
	}
	if err != nil {
		p.file.Close()
		return nil, fmt.Errorf("waiting for epoll: %w", err)
	}
	go p.run(raw)
	return p, nil
}

// Close lets the goroutine end once every source is closed, and takes no new ones.
func (p *Poller) Close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	p.endLocked()
}

func (p *Poller) endLocked() {
	if p.closed && p.open == 0 {
		_ = p.file.SetReadDeadline(time.Unix(1, 0)) // long past
	}
}

// Add takes a descriptor that does not block; it is the source's from here on,
// also after an error. Nothing is read before Start.
//
// unix.ENOSPC says that the host's fs.epoll.max_user_watches is reached.
func (p *Poller) Add(fd int) (*Source, error) {
	s := &Source{poller: p, fd: fd}
	// Without EPOLLET an end before Start would stay in the kernel's list, and
	// Start would tell nobody.
	if err := p.take(s, unix.EPOLLET); err != nil {
		unix.Close(fd)
		return nil, err
	}
	return s, nil
}

func (p *Poller) take(s *Source, events uint32) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return os.ErrClosed
	}
	for s.fd >= len(p.sources) {
		p.sources = append(p.sources, nil)
	}
	if err := p.control(unix.EPOLL_CTL_ADD, s.fd, events); err != nil {
		return os.NewSyscallError("epoll_ctl", err)
	}
	p.sources[s.fd] = s
	p.open++
	return nil
}

func (p *Poller) forget(s *Source) {
	p.mu.Lock()
	defer p.mu.Unlock()
	_ = p.control(unix.EPOLL_CTL_DEL, s.fd, 0)
	p.sources[s.fd] = nil
	p.open--
	p.endLocked()
}

func (p *Poller) control(op, fd int, events uint32) (err error) {
	raw, err := p.file.SyscallConn()
	if err != nil {
		return err
	}
	event := unix.EpollEvent{Events: events, Fd: int32(fd)}
	if e := raw.Control(func(epoll uintptr) { err = unix.EpollCtl(int(epoll), op, fd, &event) }); e != nil {
		return e
	}
	return err
}

func (p *Poller) run(raw syscall.RawConn) {
	// One Read for ever: each begins by forgetting what became ready before it.
	_ = raw.Read(p.turn)
	p.file.Close()
}

// turn reads what is ready, and returns to wait for more. A source is told once
// that it became ready, so each is read until a read leaves room, or, once
// nobody can write to it any more, to the end: in turns with the others.
func (p *Poller) turn(epoll uintptr) (done bool) {
	for {
		n := p.look(epoll)
		p.mu.Lock()
		for i := range n {
			p.ready[i] = p.sources[p.events[i].Fd] // nil if it was closed since
		}
		p.mu.Unlock()
		before := p.again
		p.again = p.spare
		for i, s := range p.ready[:n] {
			if s != nil {
				p.read(s, p.events[i].Events)
			}
		}
		for _, s := range before {
			s.again = false
			p.read(s, 0)
		}
		clear(before)
		p.spare = before[:0]
		if n < pollBatch && len(p.again) == 0 {
			clear(p.ready[:])
			return false
		}
	}
}

func (p *Poller) read(s *Source, events uint32) {
	s.last = s.last || events&(unix.EPOLLHUP|unix.EPOLLERR) != 0
	n, full := s.poll()
	switch {
	case s.again: // its turn comes
	case s.leave(): // it is another's now
	case full || s.last && n > 0:
		s.again = true
		p.again = append(p.again, s)
	case n == 0:
		s.last = false // the event was that of an earlier descriptor of this number
	}
}

// look puts what became ready into events.
func (p *Poller) look(epoll uintptr) int {
	for {
		n, _, errno := syscall.RawSyscall6(syscall.SYS_EPOLL_PWAIT, epoll,
			uintptr(unsafe.Pointer(&p.events[0])), pollBatch, 0, 0, 0)
		switch errno {
		case 0:
			return int(n)
		case syscall.EINTR:
		default:
			return 0 // our own descriptor and memory: it does not fail
		}
	}
}
