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

// feedPage bounds the events of one read of the log for subscribers,
// MaxPendingBytes their data.
const feedPage = 256

// LoggedEvent is an event of the log and the server that it is about.
type LoggedEvent struct {
	persistence.Event
	Server string // mcp_server_id, "" if the event is about none
}

// feed is the end of the log as subscribers see it. One goroutine reads what
// was committed, once for all of them, and hands it to those that follow; who
// is behind reads the log itself. Nobody of the call path and no actor waits
// for it: while nobody follows, a commit costs two atomic operations.
type feed struct {
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

func newFeed(sys *System, store persistence.Store) *feed {
	f := &feed{sys: sys, store: store, wake: make(chan struct{}, 1), stop: make(chan struct{}), subs: map[*Subscription]struct{}{}}
	f.committed.Store(store.LastPosition())
	return f
}

// advance is told by the log's writer, and by nobody else, that everything up
// to the store's end is durable.
func (f *feed) advance() {
	f.committed.Store(f.store.LastPosition())
	// After the store: a subscription that is not counted yet will see it.
	if f.following.Load() == 0 {
		return
	}
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// run hands events on until close. A panic ends the subscriptions of the
// moment, not the end of the log.
func (f *feed) run() {
	defer f.sys.goes.Done()
	for !f.follow() {
	}
}

func (f *feed) follow() (stopped bool) {
	defer f.sys.contained("event feed", f.endAll)
	for {
		select {
		case <-f.wake:
			f.deliver()
		case <-f.stop:
			f.deliver()
			f.mu.Lock()
			f.err = supervisor.ErrClosing
			f.mu.Unlock()
			f.endAll(supervisor.ErrClosing)
			return true
		}
	}
}

// close lets run hand on what is committed and then end every subscription. It
// does not wait for subscribers.
func (f *feed) close() { close(f.stop) }

func (f *feed) deliver() {
	for {
		f.mu.Lock()
		from, nobody := f.next, len(f.subs) == 0
		f.mu.Unlock()
		end := f.committed.Load()
		if nobody || from > end {
			return
		}
		p, err := f.read(from, end)
		if err != nil {
			f.endAll(err)
			return
		}
		f.handOn(p)
	}
}

// handOn gives a page to all that follow, unless they are others by now, who
// began behind it.
func (f *feed) handOn(p page) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.next != p.from {
		return
	}
	f.next = p.next
	for s := range f.subs {
		s.offer(p)
	}
}

// page is a part of the log: all that it holds from one position to before another.
type page struct {
	from, next uint64
	events     []*LoggedEvent
	missing    uint64 // positions in between that retention has dropped, or whose block is damaged
}

// read returns the page at a position; end bounds it and is at or behind from.
func (f *feed) read(from, end uint64) (page, error) {
	p := page{from: from, next: end + 1}
	events, err := f.store.Events(from, feedPage)
	if err != nil && len(events) == 0 {
		damage, ok := errors.AsType[*persistence.CorruptError](err)
		if !ok {
			return p, readError(from, err)
		}
		// To fail here would make a client that resumes come back for ever.
		p.next = f.behindDamage(from, end, damage.Position)
		p.missing = p.next - from
		return p, nil
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

// behindDamage is the first position behind a damaged block that can be read,
// or that tells of other damage; end+1 if there is none. A block's length cannot
// be read without the block, but every position in it tells of the same damage.
func (f *feed) behindDamage(from, end, damaged uint64) uint64 {
	inside, behind := from, end+1
	for behind-inside > 1 {
		middle := inside + (behind-inside)/2
		_, err := f.store.Events(middle, 1)
		if damage, ok := errors.AsType[*persistence.CorruptError](err); ok && damage.Position == damaged {
			inside = middle
		} else {
			behind = middle
		}
	}
	return behind
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

// join makes a subscription follow, or ends it when nothing will come any more.
// It is false while events have been handed on that it has not read yet.
func (f *feed) join(s *Subscription) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err != nil {
		if s.next <= f.committed.Load() {
			return false
		}
		s.end(f.err)
		return true
	}
	f.following.Add(1) // before committed is read: see advance
	if len(f.subs) == 0 {
		f.next = f.committed.Load() + 1
	}
	if s.next < f.next {
		f.following.Add(-1)
		return false
	}
	s.from = s.next
	f.subs[s] = struct{}{}
	return true
}

func (f *feed) leave(s *Subscription) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, ok := f.subs[s]; ok {
		delete(f.subs, s)
		f.following.Add(-1)
	}
}

func (f *feed) endAll(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for s := range f.subs {
		s.end(err)
	}
	clear(f.subs)
	f.following.Store(0)
}
