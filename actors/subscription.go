package actors

import (
	"fmt"
	"slices"
	"sync"

	"github.com/aabb9013/hangar/supervisor"
)

const (
	// MaxPending bounds the events that wait for one subscriber; the oldest go.
	MaxPending = 1024
	// MaxPendingBytes bounds their data. A single larger event waits all the same.
	MaxPendingBytes = 1 << 20
)

// Subscription reads the log from a position on, and then what is committed,
// in order of position, each event once. Nobody waits for its holder: while it
// is behind it reads the log at its own pace and loses nothing, later what it
// leaves waiting is bounded. Its methods are for one goroutine.
type Subscription struct {
	feed   *feed
	ready  chan struct{}
	next   uint64 // while behind: the position to read at
	behind bool
	from   uint64 // events before it were read already; set by feed.join

	mu      sync.Mutex
	want    func(*LoggedEvent) bool // nil: all
	pending []*LoggedEvent
	bytes   int // of data in pending
	dropped uint64
	err     error
}

// EventPosition is the position of the newest event that subscribers may see.
// supervisor.ErrClosing from the beginning of Close.
func (s *System) EventPosition() (uint64, error) {
	if s.closing.Load() {
		return 0, supervisor.ErrClosing
	}
	return s.feed.committed.Load(), nil
}

// Subscribe reads the log behind a position, 0 for all of it. The holder must
// close the subscription. It ends with Close, after the last event of the tree.
func (s *System) Subscribe(after uint64) (*Subscription, error) {
	if s.closing.Load() {
		return nil, fmt.Errorf("cannot subscribe to events: %w", supervisor.ErrClosing)
	}
	sub := &Subscription{feed: s.feed, ready: make(chan struct{}, 1)}
	sub.Seek(after)
	return sub, nil
}

// Ready has a value when Next should be called.
func (s *Subscription) Ready() <-chan struct{} { return s.ready }

// Next returns events that are wanted and not yet returned, and how many were
// left out before them: of those that waited the oldest, or of the log's what
// retention had dropped or damage hides, wanted or not. Both may be none. It never waits for
// events, but may read the disk. The error is the end: supervisor.ErrClosing,
// or why the log cannot be read.
func (s *Subscription) Next() (events []*LoggedEvent, dropped uint64, err error) {
	if s.behind {
		return s.catchUp()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	events, dropped = s.pending, s.dropped
	s.pending, s.bytes, s.dropped = nil, 0, 0
	if len(events) > 0 || dropped > 0 {
		if s.err != nil {
			s.signal()
		}
		return events, dropped, nil
	}
	return nil, 0, s.err
}

// catchUp reads one page, and follows once there is none left.
func (s *Subscription) catchUp() (events []*LoggedEvent, dropped uint64, err error) {
	if end := s.feed.committed.Load(); s.next <= end {
		p, err := s.feed.read(s.next, end)
		if err != nil {
			return nil, 0, err
		}
		s.next, dropped = p.next, p.missing
		events = slices.DeleteFunc(p.events, func(e *LoggedEvent) bool { return !s.wants(e) })
	}
	if s.next > s.feed.committed.Load() {
		s.behind = !s.feed.join(s)
	}
	if s.behind {
		s.signal()
	}
	return events, dropped, nil
}

// Select changes what is wanted from now on; nil wants everything. want must
// neither block nor change what it sees; one goroutine at a time asks it.
func (s *Subscription) Select(want func(*LoggedEvent) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.want = want
	s.pending = slices.DeleteFunc(s.pending, func(e *LoggedEvent) bool { return !s.wants(e) })
	s.bytes = 0
	for _, e := range s.pending {
		s.bytes += len(e.Data)
	}
}

// Seek goes on behind another position, as a new subscription would.
func (s *Subscription) Seek(after uint64) {
	s.feed.leave(s)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pending, s.bytes, s.dropped = nil, 0, 0
	s.next, s.behind = after+1, true
	s.signal()
}

// Close lets go of the log.
func (s *Subscription) Close() { s.feed.leave(s) }

func (s *Subscription) wants(e *LoggedEvent) bool { return s.want == nil || s.want(e) }

func (s *Subscription) signal() {
	select {
	case s.ready <- struct{}{}:
	default:
	}
}

// offer is called by the feed, page after page.
func (s *Subscription) offer(p page) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p.from >= s.from {
		s.dropped += p.missing
	}
	for _, e := range p.events {
		if e.Position >= s.from && s.wants(e) {
			s.push(e)
		}
	}
	if len(s.pending) > 0 || s.dropped > 0 {
		s.signal()
	}
}

func (s *Subscription) push(e *LoggedEvent) {
	s.pending = append(s.pending, e)
	s.bytes += len(e.Data)
	for len(s.pending) > MaxPending || s.bytes > MaxPendingBytes && len(s.pending) > 1 {
		s.bytes -= len(s.pending[0].Data)
		s.pending[0] = nil
		s.pending = s.pending[1:]
		s.dropped++
	}
}

func (s *Subscription) end(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = err
	s.signal()
}
