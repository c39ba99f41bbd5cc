package actors

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/aabb9013/hangar/persistence"
	"github.com/aabb9013/hangar/supervisor"
)

// tailPage bounds the events of one read of the log for subscribers,
// MaxPendingBytes their data.
const tailPage = 256

// LoggedEvent is an event of the log and the server that it is about.
type LoggedEvent struct {
	persistence.Event
	Server string // mcp_server_id, "" if the event is about none
}

// tail is the end of the log as subscribers see it. One goroutine reads what
// was committed, once for all of them, and hands it to those that follow; who
// is behind reads the log itself. Nobody of the call path and no actor waits
// for it: while nobody follows, a commit costs two atomic operations.
type tail struct {
	sys       *System
	store     persistence.Store
	committed atomic.Uint64 // position of the newest event that is durable
	following atomic.Int32  // is len(subs)
	wake      chan struct{}
	stop      chan struct{}

	mu   sync.Mutex
	next uint64 // position that is due to be handed on; has no meaning while nobody follows
	subs map[*Subscription]struct{}
	err  error // why nothing will come any more
}

func newTail(sys *System, store persistence.Store) *tail {
	t := &tail{sys: sys, store: store, wake: make(chan struct{}, 1), stop: make(chan struct{}), subs: map[*Subscription]struct{}{}}
	t.committed.Store(store.LastPosition())
	return t
}

// advance is told by the log's writer, and by nobody else, that everything up
// to the store's end is durable.
func (t *tail) advance() {
	t.committed.Store(t.store.LastPosition())
	// After the store: a subscription that is not counted yet will see it.
	if t.following.Load() == 0 {
		return
	}
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

// run hands events on until close. A panic ends the subscriptions of the
// moment, not the tail.
func (t *tail) run() {
	defer t.sys.goes.Done()
	for !t.follow() {
	}
}

func (t *tail) follow() (stopped bool) {
	defer t.sys.contained("event tail", t.endAll)
	for {
		select {
		case <-t.wake:
			t.deliver()
		case <-t.stop:
			t.deliver()
			t.mu.Lock()
			t.err = supervisor.ErrClosing
			t.mu.Unlock()
			t.endAll(supervisor.ErrClosing)
			return true
		}
	}
}

// close lets run hand on what is committed and then end every subscription. It
// does not wait for subscribers.
func (t *tail) close() { close(t.stop) }

func (t *tail) deliver() {
	for {
		t.mu.Lock()
		from, nobody := t.next, len(t.subs) == 0
		t.mu.Unlock()
		end := t.committed.Load()
		if nobody || from > end {
			return
		}
		p, err := t.read(from, end)
		if err != nil {
			t.endAll(err)
			return
		}
		t.handOn(p)
	}
}

// handOn gives a page to all that follow, unless they are others by now, who
// began behind it.
func (t *tail) handOn(p page) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.next != p.from {
		return
	}
	t.next = p.next
	for s := range t.subs {
		s.offer(p)
	}
}

// page is a part of the log: all that it holds from one position to before another.
type page struct {
	from, next uint64
	events     []*LoggedEvent
	missing    uint64 // positions in between that retention has dropped
}

// read returns the page at a position; end bounds it and is at or behind from.
func (t *tail) read(from, end uint64) (page, error) {
	p := page{from: from, next: end + 1}
	events, err := t.store.Events(from, tailPage)
	if err != nil && len(events) == 0 {
		return p, readError(from, err)
	}
	size := 0
	for i := range events {
		if size += len(events[i].Data); events[i].Position > end || size > MaxPendingBytes && i > 0 {
			break
		}
		p.events = append(p.events, &LoggedEvent{Event: events[i], Server: serverOf(events[i])})
	}
	if n := len(p.events); n > 0 {
		p.next = p.events[n-1].Position + 1
	}
	p.missing = p.next - from - uint64(len(p.events))
	return p, nil
}

func readError(from uint64, err error) error {
	if errors.Is(err, persistence.ErrClosed) {
		return fmt.Errorf("%w: %w", supervisor.ErrClosing, err)
	}
	return fmt.Errorf("cannot read the event log from position %d: %w", from, err)
}

// serverOf is the event's mcp_server_id. The stream says it, but that of a
// group's event is the group.
func serverOf(e persistence.Event) string {
	if !bytes.Contains(e.Data, []byte(`"group_id"`)) {
		return e.Stream
	}
	var own struct {
		Server string `json:"mcp_server_id"`
	}
	if json.Unmarshal(e.Data, &own) != nil {
		return ""
	}
	return own.Server
}

// join makes a subscription follow. It is false while events have been handed
// on that it has not read yet.
func (t *tail) join(s *Subscription) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.err != nil {
		s.end(t.err)
		return true
	}
	t.following.Add(1) // before committed is read: see advance
	if len(t.subs) == 0 {
		t.next = t.committed.Load() + 1
	}
	if s.next < t.next {
		t.following.Add(-1)
		return false
	}
	s.from = s.next
	t.subs[s] = struct{}{}
	return true
}

func (t *tail) leave(s *Subscription) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, ok := t.subs[s]; ok {
		delete(t.subs, s)
		t.following.Add(-1)
	}
}

func (t *tail) endAll(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for s := range t.subs {
		s.end(err)
	}
	clear(t.subs)
	t.following.Store(0)
}

func (t *tail) failure() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.err
}
