package httpapi

import (
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/aabb9013/hangar/supervisor"
)

// fakeEvents is a log whose events a test hands to the streams one by one.
type fakeEvents struct {
	position uint64
	refused  atomic.Bool // as a runtime that closes does
	panics   atomic.Bool
	subs     sync.Map     // of *fakeSubscription
	open     atomic.Int64 // subscriptions not closed
}

func (f *fakeRuntime) EventPosition() (uint64, error) {
	if f.events.refused.Load() {
		return 0, fmt.Errorf("no: %w", supervisor.ErrClosing)
	}
	return f.events.position, nil
}

func (f *fakeRuntime) Subscribe(after uint64) (Subscription, error) {
	if f.events.refused.Load() {
		return nil, supervisor.ErrClosing
	}
	s := &fakeSubscription{log: &f.events, after: after, ready: make(chan struct{}, 1)}
	f.events.subs.Store(s, true)
	return s, nil
}

// fakeSubscription returns what it was given.
type fakeSubscription struct {
	log   *fakeEvents
	ready chan struct{}

	mu      sync.Mutex
	after   uint64
	want    func(kind, server string) bool
	pending []EventRecord
	dropped uint64
	err     error
}

func (s *fakeSubscription) Ready() <-chan struct{} { return s.ready }

func (s *fakeSubscription) Next() ([]EventRecord, uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.log.panics.Load() {
		panic("a bug")
	}
	events, dropped := s.pending, s.dropped
	s.pending, s.dropped = nil, 0
	if len(events) == 0 && dropped == 0 {
		return nil, 0, s.err
	}
	return events, dropped, nil
}

func (s *fakeSubscription) Select(want func(kind, server string) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.want == nil {
		s.log.open.Add(1) // not before: nothing is given to one that wants nothing yet
	}
	s.want = want
}

func (s *fakeSubscription) Seek(after uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.after = after
}

func (s *fakeSubscription) Close() {
	if _, ok := s.log.subs.LoadAndDelete(s); ok {
		s.log.open.Add(-1)
	}
}

// give changes every open subscription and wakes it.
func (f *fakeEvents) give(change func(*fakeSubscription)) {
	f.subs.Range(func(key, _ any) bool {
		s := key.(*fakeSubscription)
		s.mu.Lock()
		change(s)
		s.mu.Unlock()
		select {
		case s.ready <- struct{}{}:
		default:
		}
		return true
	})
}

// add hands out an event to those that want it.
func (f *fakeEvents) add(e EventRecord) {
	f.give(func(s *fakeSubscription) {
		if s.want(e.Kind, e.Server) {
			s.pending = append(s.pending, e)
		}
	})
}
