package actors

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/aabb9013/hangar/backends/fake"
	"github.com/aabb9013/hangar/persistence"
	"github.com/aabb9013/hangar/supervisor"
)

// reader follows a subscription until it ends or until says so.
type reader struct {
	*Subscription
	t       testing.TB
	dropped uint64
}

func (s *testSystem) subscribe(after uint64) *reader {
	s.t.Helper()
	sub, err := s.Subscribe(after)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(sub.Close)
	return &reader{Subscription: sub, t: s.t}
}

// some is what Next returns until nothing is ready and nobody works.
func (r *reader) some() (events []*LoggedEvent) {
	r.t.Helper()
	for {
		synctest.Wait()
		select {
		case <-r.Ready():
		default:
			return events
		}
		next, dropped, err := r.Next()
		if err != nil {
			r.t.Fatal(err)
		}
		bytes := 0
		for _, e := range next {
			bytes += len(e.Data)
		}
		if len(next) > MaxPending || bytes > MaxPendingBytes {
			r.t.Errorf("%d events of %d bytes at once", len(next), bytes)
		}
		events, r.dropped = append(events, next...), r.dropped+dropped
	}
}

// untilEnd is what Next returns until there is no more.
func (r *reader) untilEnd() (events []*LoggedEvent) {
	for range r.Ready() {
		next, dropped, err := r.Next()
		if err != nil {
			return events
		}
		events, r.dropped = append(events, next...), r.dropped+dropped
	}
	return events
}

// end is the latest position that a subscriber may see.
func (s *testSystem) end() uint64 {
	s.t.Helper()
	if err := s.Flush(s.t.Context()); err != nil {
		s.t.Fatal(err)
	}
	end, err := s.EventPosition()
	if err != nil || end != s.store.LastPosition() {
		s.t.Fatalf("position %d, %v; the log ends at %d", end, err, s.store.LastPosition())
	}
	return end
}

func positions(events []*LoggedEvent) string {
	var b strings.Builder
	for i, e := range events {
		if i > 0 && e.Position == events[i-1].Position+1 {
			if i+1 == len(events) || events[i+1].Position != e.Position+1 {
				fmt.Fprintf(&b, "-%d", e.Position)
			}
			continue
		}
		fmt.Fprintf(&b, " %d", e.Position)
	}
	return strings.TrimSpace(b.String())
}

func note(kind supervisor.EventKind, server string, data map[string]any) supervisor.Event {
	return supervisor.Event{Kind: kind, Server: server, Data: data}
}

func (s *testSystem) emitMany(n int, data string) {
	for i := range n {
		s.Emit(note("Noted", fmt.Sprint("s", i%3), map[string]any{"text": data}))
		if i%1000 == 999 { // the log's queue is bounded
			s.end()
		}
	}
}

func TestSubscriberSeesTheLogAndWhatComes(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newTestSystem(t, always(fake.Script{}), spec("s0"))
		s.emitMany(700, "")
		end := s.end()
		all, behind, fresh := s.subscribe(0), s.subscribe(end-300), s.subscribe(end)
		if got, want := positions(all.some()), fmt.Sprintf("1-%d", end); got != want {
			t.Errorf("the whole log: %s, want %s", got, want)
		}
		s.mustEcho("s0")
		last := s.end()
		if got, want := positions(all.some()), fmt.Sprintf("%d-%d", end+1, last); got != want {
			t.Errorf("what came then: %s, want %s", got, want)
		}
		if got, want := positions(behind.some()), fmt.Sprintf("%d-%d", end-299, last); got != want {
			t.Errorf("from a position on: %s, want %s", got, want)
		}
		events := fresh.some()
		if got, want := positions(events), fmt.Sprintf("%d-%d", end+1, last); got != want {
			t.Errorf("the new ones: %s, want %s", got, want)
		}
		kinds := map[string]bool{}
		for _, e := range events {
			kinds[e.Kind] = true
			if e.Server != "s0" {
				t.Errorf("%s is of server %q", e.Kind, e.Server)
			}
		}
		if !kinds["McpServerStarted"] || !kinds["ToolInvocationCompleted"] {
			t.Errorf("kinds %v", kinds)
		}
		fresh.Seek(2)
		if got, want := positions(fresh.some()), fmt.Sprintf("3-%d", last); got != want {
			t.Errorf("after a seek: %s, want %s", got, want)
		}
		if all.dropped+behind.dropped+fresh.dropped != 0 {
			t.Errorf("dropped %d, %d, %d", all.dropped, behind.dropped, fresh.dropped)
		}
	})
}

func TestSubscriberChoosesEvents(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newTestSystem(t, always(fake.Script{}))
		r := s.subscribe(s.end())
		r.some()
		s.Emit(note("Old", "a", nil))
		s.Emit(note("New", "a", nil))
		s.end()
		r.Select(func(e *LoggedEvent) bool { return e.Kind == "New" && e.Server != "b" })
		s.Emit(note("New", "b", nil))
		s.Emit(note("Old", "a", nil))
		s.Emit(note("New", "", nil))
		s.Emit(supervisor.Event{Kind: "New", Group: "g", Data: map[string]any{"mcp_server_id": "b"}})
		s.Emit(supervisor.Event{Kind: "New", Group: "g"})
		s.end()
		var got []string
		for _, e := range r.some() {
			got = append(got, e.Kind+"/"+e.Server)
		}
		if want := "New/a New/ New/"; strings.Join(got, " ") != want {
			t.Errorf("got %v, want %s", got, want)
		}
	})
}

func TestSlowSubscriberLosesTheOldest(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newTestSystem(t, always(fake.Script{}))
		begin := s.end()
		slow, quick := s.subscribe(begin), s.subscribe(begin)
		slow.some()
		quick.some()
		const n = MaxPending + 500
		got := 0
		for range n / 100 {
			s.emitMany(100, "")
			s.end()
			got += len(quick.some())
		}
		s.emitMany(n%100, "")
		end := s.end()
		if got += len(quick.some()); got != n || quick.dropped != 0 {
			t.Errorf("who reads got %d of %d, %d dropped", got, n, quick.dropped)
		}
		if got, want := positions(slow.some()), fmt.Sprintf("%d-%d", end-MaxPending+1, end); got != want || slow.dropped != 500 {
			t.Errorf("who does not got %s, %d dropped; want %s and 500", got, slow.dropped, want)
		}
		const long = 30 << 10
		s.emitMany(100, strings.Repeat("x", long))
		s.end()
		slow.dropped = 0
		if events := slow.some(); len(events) > MaxPendingBytes/long || len(events) < MaxPendingBytes/long-1 || slow.dropped+uint64(len(events)) != 100 {
			t.Errorf("of long events %d waited and %d were dropped", len(events), slow.dropped)
		}
	})
}

func TestSubscriberIsToldOfWhatRetentionDropped(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newTestSystem(t, always(fake.Script{}))
		s.emitMany(600, strings.Repeat("x", 30<<10))
		end := s.end()
		r := s.subscribe(0)
		events := r.some()
		if r.dropped == 0 || len(events) == 0 || r.dropped+uint64(len(events)) != end || events[len(events)-1].Position != end {
			t.Errorf("of %d events %d came and %d were told as dropped", end, len(events), r.dropped)
		}
	})
}

func TestSubscriptionsEndBehindTheLastEvent(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newTestSystem(t, always(fake.Script{}), spec("s0"))
		s.mustEcho("s0")
		begin := s.end()
		r := s.subscribe(begin)
		r.some()
		s.emitMany(feedPage, "")
		behind := s.subscribe(0)
		if err := s.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		events, _, err := r.Next()
		if got, want := positions(events), fmt.Sprintf("%d-%d", begin+1, s.store.LastPosition()); err != nil || got != want {
			t.Errorf("the last events: %s, %v; want %s", got, err, want)
		}
		<-r.Ready()
		if got, want := positions(behind.untilEnd()), fmt.Sprintf("1-%d", s.store.LastPosition()); got != want {
			t.Errorf("who was behind got %s, want %s", got, want)
		}
		for _, r := range []*reader{r, behind} {
			if events, _, err := r.Next(); len(events) > 0 || !errors.Is(err, supervisor.ErrClosing) {
				t.Errorf("then: %d events, %v", len(events), err)
			}
		}
		if _, err := s.Subscribe(0); !errors.Is(err, supervisor.ErrClosing) {
			t.Errorf("subscribing after Close: %v", err)
		}
		if _, err := s.EventPosition(); !errors.Is(err, supervisor.ErrClosing) {
			t.Errorf("the position after Close: %v", err)
		}
	})
}

// TestTailOutlivesItsFailures: a log that cannot be read, or a filter
// that panics, ends who subscribed, and later ones are served again.
func TestTailOutlivesItsFailures(t *testing.T) {
	bubble(t, func(t *testing.T) {
		log := &unreadable{Memory: persistence.NewMemory()}
		s := newTestSystemWith(t, always(fake.Script{}), func(o *Options) { o.Store = log })
		fails := func(how string, r *reader) {
			t.Helper()
			s.Emit(note("Noted", "", nil))
			s.end()
			<-r.Ready()
			if _, _, err := r.Next(); err == nil || errors.Is(err, supervisor.ErrClosing) {
				t.Errorf("%s: %v", how, err)
			}
		}
		r := s.subscribe(s.end())
		r.some()
		log.fail(errors.New("damaged"))
		fails("a log that cannot be read", r)
		fails("one who is behind", s.subscribe(0))
		log.fail(nil)
		r = s.subscribe(s.end())
		r.some()
		r.Select(func(*LoggedEvent) bool { panic("a bug") })
		fails("a filter that panics", r)
		r = s.subscribe(s.end())
		r.some()
		s.Emit(note("Noted", "", nil))
		if n := len(r.some()); n != 1 {
			t.Errorf("after the failures %d events came, want 1", n)
		}
	})
}

type unreadable struct {
	*persistence.Memory
	mu  sync.Mutex
	err error
}

func (u *unreadable) fail(err error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.err = err
}

func (u *unreadable) Events(from uint64, limit int) ([]persistence.Event, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.err != nil {
		return nil, u.err
	}
	return u.Memory.Events(from, limit)
}

// TestEveryPositionComesOnceUnderWriters has subscribers that come, go, seek
// and change their mind while the log grows.
func TestEveryPositionComesOnceUnderWriters(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newTestSystem(t, always(fake.Script{}))
		const writers, each, goal = 4, 400, 4 * 400
		begin := s.end()
		var all sync.WaitGroup
		for w := range writers {
			all.Go(func() {
				for i := range each {
					s.Emit(note("Noted", fmt.Sprint("s", w), map[string]any{"i": i}))
					if i%50 == 49 {
						_ = s.Flush(t.Context())
					}
				}
			})
		}
		for k := range 8 {
			all.Go(func() {
				after, turns := begin, 0
				for after < begin+goal {
					sub, err := s.Subscribe(after)
					if err != nil {
						t.Error(err)
						return
					}
					for reads := 0; reads < 3+k && after < begin+goal; reads++ {
						<-sub.Ready()
						events, dropped, err := sub.Next()
						if dropped > 0 || err != nil {
							t.Errorf("reader %d: %d dropped, %v", k, dropped, err)
							return
						}
						for _, e := range events {
							if e.Position != after+1 {
								t.Errorf("reader %d: position %d came behind %d", k, e.Position, after)
								return
							}
							after = e.Position
						}
					}
					if turns++; turns%2 == 0 {
						sub.Seek(after)
					}
					sub.Close()
				}
			})
		}
		all.Wait()
		if n := s.feed.following.Load(); n != 0 {
			t.Errorf("%d subscriptions still follow", n)
		}
	})
}
