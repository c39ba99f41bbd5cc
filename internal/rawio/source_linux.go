package rawio

import (
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// leftOver is how much a source gives after its deadline: what a dead child can
// have left in a pipe.
const leftOver = 64 << 10

// Source is a descriptor that a poller reads.
type Source struct {
	poller      *Poller
	fd          int
	again, last bool // the poller's goroutine's: it is in the list; nobody can write to it any more

	mu    sync.Mutex
	to    Receiver // nil before Start
	ended bool
}

// Start begins to read; call it once.
func (s *Source) Start(to Receiver) {
	s.mu.Lock()
	s.to = to
	s.mu.Unlock()
	// What is there already counts as having come now. A change of what is in
	// the set does not fail.
	_ = s.poller.control(unix.EPOLL_CTL_MOD, s.fd, unix.EPOLLIN|unix.EPOLLET)
}

// read reads once. full tells that there may be more.
func (s *Source) read() (n int, full bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended || s.to == nil {
		return 0, false
	}
	space := s.to.Space()
	n, err := Read(s.fd, space)
	goOn := s.to.Received(n)
	if n == 0 && err != syscall.EAGAIN || !goOn {
		s.endLocked()
	}
	return n, n == min(len(space), MaxIO)
}

// EndIn ends the source after d, if it did not end before. What is there then is
// still read: d says how long to wait for more, not how fast a busy host must be.
func (s *Source) EndIn(d time.Duration) {
	time.AfterFunc(d, func() {
		for left := leftOver; left > 0; {
			n, _ := s.read()
			if n == 0 {
				break
			}
			left -= n
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		s.endLocked()
	})
}

func (s *Source) endLocked() {
	if s.ended {
		return
	}
	s.ended = true
	s.poller.forget(s)
	if s.to != nil {
		s.to.Ended()
	}
}

// Close ends the source, and closes the descriptor; call it once, and not from
// the receiver.
func (s *Source) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.endLocked()
	unix.Close(s.fd)
	s.fd = -1
}

// Widen asks for room for size bytes between writer and reader. It may fail,
// since the sum of all pipes is limited for each user. Only for the receiver and
// before Start.
func (s *Source) Widen(size int) { _, _ = unix.FcntlInt(uintptr(s.fd), unix.F_SETPIPE_SZ, size) }
