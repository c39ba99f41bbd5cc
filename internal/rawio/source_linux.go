package rawio

import (
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Source is a descriptor that a poller reads. A read that leaves room counts as
// having found it empty, as it does for pipes and sockets that are streams.
type Source struct {
	again, last bool // the poller's goroutine's: it is in the list; nobody can write to it any more

	mu     sync.Mutex
	poller *Poller
	fd     int
	to     Receiver // nil before Start
	apart  bool     // it wants a poller of its own
	rests  bool     // see Pace
	ended  bool

	pace    pace
	spent   float64 // bytes of the credit
	spentAt time.Time
}

// Start begins to read; call it once.
func (s *Source) Start(to Receiver) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.to = to
	s.watchLocked(unix.EPOLLIN | unix.EPOLLET)
}

// Apart has the source read by a goroutine of its own from the next read on, if
// there can be one: what its receiver does takes long. Only for the receiver.
func (s *Source) Apart() { s.apart = true }

// leave moves the source to a poller of its own, if that is wanted.
func (s *Source) leave() (gone bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.apart || s.ended || s.rests {
		return false
	}
	s.apart = false
	own, err := NewPoller()
	if err != nil {
		return false // it stays with the others
	}
	defer own.Close() // ends with the source
	old := s.poller
	// The descriptor cannot be lost between the two: what is there is told anew.
	if own.take(s, unix.EPOLLIN|unix.EPOLLET) != nil {
		return false
	}
	s.poller = own
	old.forget(s)
	return true
}

// pace is when a source rests.
type pace struct {
	credit, burst int
	rest          time.Duration
}

// restingShare is how many resting sources share what one may be read: with more,
// the rests do not become longer.
const restingShare = 8

// Pace lets the source rest when more than credit bytes were read, of which burst
// bytes are forgiven in the time of a rest. Who writes on has then filled its
// pipe, and sleeps: the cores are others'. It is read once after each rest, so a
// burst should be less than its pipe holds.
//
// The rests of sources of one poller that rest together are longer, so that they
// are not read faster than one of them, up to restingShare of them. Call it before
// Start.
func (s *Source) Pace(credit, burst int, rest time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pace = pace{credit, burst, rest}
}

// spendLocked lets the source rest if it is time.
func (s *Source) spendLocked(n int) {
	if s.pace.rest == 0 || s.ended {
		return
	}
	now := time.Now()
	regained := float64(s.pace.burst) * float64(now.Sub(s.spentAt)) / float64(s.pace.rest)
	s.spent, s.spentAt = max(0, s.spent-regained)+float64(n), now
	if s.spent <= float64(s.pace.credit) {
		return
	}
	s.rests = true
	rest := s.pace.rest * time.Duration(min(s.poller.resting.Add(1), restingShare))
	s.spent, s.spentAt = float64(s.pace.credit), now.Add(rest-s.pace.rest)
	s.watchLocked(unix.EPOLLET) // each write would wake the poller
	time.AfterFunc(rest, s.rested)
}

// rested reads on. It does so here, since one that floods has filled its pipe:
// to wake the poller's goroutine for that would cost as much as reading.
func (s *Source) rested() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.poller.resting.Add(-1)
	s.rests = false
	n, _ := s.readLocked()
	s.spendLocked(n)
	if !s.rests && !s.ended {
		s.watchLocked(unix.EPOLLIN | unix.EPOLLET)
	}
}

// watchLocked has the poller told of these events; what is there already, or the
// end, counts as coming now.
func (s *Source) watchLocked(events uint32) {
	// A change of what is in the set does not fail.
	_ = s.poller.control(unix.EPOLL_CTL_MOD, s.fd, events)
}

// poll reads once for the poller. full tells that there may be more.
func (s *Source) poll() (n int, full bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.rests {
		return 0, false
	}
	n, full = s.readLocked()
	s.spendLocked(n)
	return n, full && !s.rests
}

// readLocked reads once, also while the source rests.
func (s *Source) readLocked() (n int, full bool) {
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
// still read, a pipe's capacity of it: d says how long to wait for more, not how
// fast a busy host must be.
func (s *Source) EndIn(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pace = pace{}
	if s.rests {
		s.drainLocked() // nobody waits for the end of a rest
	}
	time.AfterFunc(d, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.drainLocked()
		s.endLocked()
	})
}

// drainLocked reads what a dead child left, and its end behind that; of one that
// lives no more than that.
func (s *Source) drainLocked() {
	for left := s.capacityLocked() + 1; left > 0; {
		n, _ := s.readLocked()
		if n == 0 {
			return
		}
		left -= n
	}
}

// capacityLocked is how much a dead child can have left.
func (s *Source) capacityLocked() int {
	if size, err := unix.FcntlInt(uintptr(s.fd), unix.F_GETPIPE_SZ, 0); err == nil {
		return size
	}
	return 64 << 10
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
