package actors

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aabb9013/hangar/backends/fake"
	"github.com/aabb9013/hangar/persistence"
	"github.com/aabb9013/hangar/supervisor"
)

// afterKill is the store as a runtime finds it whose predecessor was killed now:
// a copy of the documents and of the log.
func (s *testSystem) afterKill() persistence.Store {
	s.t.Helper()
	copied := persistence.NewMemory()
	for from := uint64(1); ; {
		events, err := s.store.Events(from, 0)
		if err != nil {
			s.t.Fatal(err)
		}
		if len(events) == 0 {
			break
		}
		if err := copied.Commit(persistence.Batch{Events: events}); err != nil {
			s.t.Fatal(err)
		}
		from = events[len(events)-1].Position + 1
	}
	if got, want := copied.LastPosition(), s.store.LastPosition(); got != want {
		s.t.Fatalf("the copy of the log ends at %d, the log at %d", got, want)
	}
	for _, kind := range []string{docServer, docTools, docState, docSaved} {
		docs, err := s.store.Docs(kind)
		if err != nil {
			s.t.Fatal(err)
		}
		if err := copied.Commit(persistence.Batch{Docs: docs}); err != nil {
			s.t.Fatal(err)
		}
	}
	return copied
}

func nextSystem(t *testing.T, store persistence.Store, s script, specs ...supervisor.ServerSpec) *testSystem {
	t.Helper()
	return newTestSystemWith(t, s, func(o *Options) { o.Store, o.Specs = store, specs })
}

var crashLoop = always(fake.Script{RunFor: 10 * time.Millisecond, ExitCode: 1})

// giveUp brings a server to its end within a second.
func (s *testSystem) giveUp(server string) {
	s.t.Helper()
	if _, err := s.Start(s.t.Context(), server); err != nil {
		s.t.Fatal(err)
	}
	time.Sleep(8 * time.Second)
	synctest.Wait()
	s.wantState(server, supervisor.Dead, supervisor.PhaseGaveUp)
}

func TestGivingUpSurvivesTheRuntime(t *testing.T) {
	for name, next := range map[string]func(s *testSystem) persistence.Store{
		"kill":  (*testSystem).afterKill,
		"close": func(s *testSystem) persistence.Store { store := s.store; s.closeNow(); return store },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				began := time.Now()
				s := newTestSystem(t, crashLoop, spec("a"))
				s.giveUp("a")
				again := nextSystem(t, next(s), always(fake.Script{}), spec("a"))
				again.wantState("a", supervisor.Dead, supervisor.PhaseGaveUp)
				if v := again.view("a"); v.Restarts != supervisor.DefaultMaxRestarts || v.Epoch != 1+supervisor.DefaultMaxRestarts || v.LastError == "" {
					t.Errorf("restored as %d restarts, epoch %d, error %q", v.Restarts, v.Epoch, v.LastError)
				}
				p := again.begin(callOf{server: "a", tool: "echo"})
				wantErr(t, p.wait(), supervisor.ErrCannotStart)
				time.Sleep(supervisor.DefaultRestartPeriod + time.Second - time.Since(began))
				again.mustEcho("a") // the window has slid
			})
		})
	}
}

// closeNow ends the runtime before the end of the test, and keeps its store.
func (s *testSystem) closeNow() {
	s.t.Helper()
	if err := s.Close(s.t.Context()); err != nil {
		s.t.Fatal(err)
	}
}

func TestBackoffGoesOnInTheNextRuntime(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newTestSystem(t, crashLoop, spec("a"))
		if _, err := s.Start(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
		var due time.Time
		for range 100 {
			time.Sleep(20 * time.Millisecond)
			synctest.Wait()
			if v := s.view("a"); v.Phase == supervisor.PhaseBackoff && time.Until(v.NextRetryAt) > 500*time.Millisecond {
				due = v.NextRetryAt
				break
			}
		}
		if due.IsZero() {
			t.Fatal("no backoff of half a second")
		}
		time.Sleep(10 * time.Millisecond)
		again := nextSystem(t, s.afterKill(), always(fake.Script{}), spec("a"))
		v := again.view("a")
		if v.Phase != supervisor.PhaseBackoff || v.NextRetryAt.Sub(due).Abs() > time.Millisecond {
			t.Fatalf("restored as %v %v, retry at %v; want %v", v.State, v.Phase, v.NextRetryAt, due)
		}
		time.Sleep(time.Until(due) + 100*time.Millisecond)
		synctest.Wait()
		again.wantState("a", supervisor.Ready, supervisor.PhaseNone) // by itself, nobody called
	})
}

func TestChangedSpecBeginsWithoutItsFailures(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newTestSystem(t, crashLoop, spec("a"))
		s.giveUp("a")
		mended := spec("a", func(s *supervisor.ServerSpec) { s.Command = []string{"mended"} })
		again := nextSystem(t, s.afterKill(), always(fake.Script{}), mended)
		again.wantState("a", supervisor.Cold, supervisor.PhaseNone)
		if v := again.view("a"); v.TotalFailures == 0 || v.Restarts != 0 {
			t.Errorf("%d failures in all, %d restarts", v.TotalFailures, v.Restarts)
		}
		again.mustEcho("a")
	})
}

func TestCountersAndLastUseSurviveTheRuntime(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newTestSystem(t, always(fake.Script{}), spec("a"), spec("idle"))
		for range 7 {
			s.mustEcho("a")
		}
		time.Sleep(countersInterval + 2*saveInterval)
		for range 3 {
			s.mustEcho("a")
		}
		killed := s.afterKill()
		s.closeNow()
		for name, c := range map[string]struct {
			store persistence.Store
			want  int64
		}{"killed": {killed, 7}, "closed": {s.store, 10}} {
			again := nextSystem(t, c.store, always(fake.Script{}), spec("a"), spec("idle"))
			v := again.view("a")
			if got := v.Counters.Calls.Load(); got != c.want || v.Counters.LastUsed.Load() == 0 || v.State != supervisor.Cold {
				t.Errorf("%s: %d calls, want %d; last used %d, state %v", name, got, c.want, v.Counters.LastUsed.Load(), v.State)
			}
			if v := again.view("idle"); v.Counters.Calls.Load() != 0 {
				t.Errorf("%s: the idle server has calls", name)
			}
			again.closeNow()
		}
	})
}

func TestStateOfADeletedServerIsForgotten(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newTestSystem(t, crashLoop)
		made := spec("a", func(s *supervisor.ServerSpec) { s.Provenance = supervisor.FromAPI })
		if err := s.Create(t.Context(), made); err != nil {
			t.Fatal(err)
		}
		s.giveUp("a")
		stale, found, err := s.store.Doc(docState, "a")
		if err != nil || !found {
			t.Fatalf("no state is stored: %v", err)
		}
		if err := s.Delete(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
		if _, found, _ := s.store.Doc(docState, "a"); found {
			t.Error("the state outlives its server")
		}
		if err := s.Create(t.Context(), made); err != nil {
			t.Fatal(err)
		}
		// A write that was under way when the first one was deleted.
		orphan := persistence.Doc{Kind: docState, ID: "nobody", Body: stale.Body}
		if err := s.store.Commit(persistence.Batch{Docs: []persistence.Doc{stale, orphan}}); err != nil {
			t.Fatal(err)
		}
		again := nextSystem(t, s.afterKill(), always(fake.Script{}))
		again.wantState("a", supervisor.Cold, supervisor.PhaseNone)
		if _, found, _ := again.store.Doc(docState, "nobody"); found {
			t.Error("the state of an unknown server stays")
		}
	})
}

// What is stored of servers that left the configuration file while the runtime
// was down goes, a bounded number of servers with each start.
func TestServersThatLeftTheFileAreForgotten(t *testing.T) {
	bubble(t, func(t *testing.T) {
		store := persistence.NewMemory()
		stays := spec("stays", fromConfig)
		s := newTestSystemWith(t, crashLoop, func(o *Options) {
			o.Store, o.Specs = store, []supervisor.ServerSpec{stays, spec("leaves", fromConfig)}
		})
		kindsOf := func(server string) (kinds []string) {
			for _, kind := range []string{docTools, docState, docCrashes, docCrash} {
				docs, err := store.Docs(kind)
				if err != nil {
					t.Fatal(err)
				}
				for _, d := range docs {
					if id, _, _ := strings.Cut(d.ID, "/"); id == server {
						kinds = append(kinds, kind)
					}
				}
			}
			return slices.Compact(kinds)
		}
		all := []string{docTools, docState, docCrashes, docCrash}
		var others []persistence.Doc
		for _, id := range []string{"stays", "leaves"} {
			s.giveUp(id)
			others = append(others, persistence.Doc{Kind: docTools, ID: id, Body: []byte(`{}`)})
		}
		for i := range maxOrphans + 5 {
			others = append(others, persistence.Doc{Kind: docTools, ID: fmt.Sprintf("old%04d", i), Body: []byte(`{`)})
		}
		if err := s.System.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := store.Commit(persistence.Batch{Docs: others}); err != nil {
			t.Fatal(err)
		}
		for _, id := range []string{"stays", "leaves"} {
			if got := kindsOf(id); !slices.Equal(got, all) {
				t.Fatalf("of %s there is %v", id, got)
			}
		}
		for _, want := range []int{1 + 6, 1} { // "leaves" and five more wait for the second start
			next := newTestSystemWith(t, nil, func(o *Options) { o.Store, o.Specs = store, []supervisor.ServerSpec{stays} })
			synctest.Wait()
			if docs, err := store.Docs(docTools); err != nil || len(docs) != want {
				t.Errorf("%d tool lists are left, want %d; %v", len(docs), want, err)
			}
			if err := next.System.Close(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if got := kindsOf("leaves"); len(got) > 0 {
			t.Errorf("%v of a server that left stays", got)
		}
		if got := kindsOf("stays"); !slices.Equal(got, all) {
			t.Errorf("of the server that stayed there is %v", got)
		}
	})
}

func TestStateThatCannotBeStoredIsTriedAgain(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s, store := newFlakySystem(t, crashLoop, spec("a"))
		store.broken.Store(true)
		s.giveUp("a")
		store.broken.Store(false)
		time.Sleep(2 * saveInterval)
		synctest.Wait()
		d, found, err := s.store.Doc(docState, "a")
		if err != nil || !found {
			t.Fatalf("not stored: %v", err)
		}
		if state, err := decodeState(d); err != nil || state.Machine.Phase != supervisor.PhaseGaveUp.String() {
			t.Errorf("stored %s, %v", d.Body, err)
		}
	})
}

// A change is stored once a second and at rest at once, however often it comes.
func TestStatesAreStoredInGroups(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newTestSystem(t, always(fake.Script{}), specs(500)...)
		synctest.Wait() // the keeper's first commit is not one of these
		before := s.store.Stats().Commits
		for _, c := range s.fleet.Load().order {
			k := *c.kept.Load()
			k.machine.Epoch++
			c.kept.Store(&k)
			c.unsaved.Store(true)
			s.keeper.tell(false)
		}
		time.Sleep(2 * saveInterval)
		synctest.Wait()
		if docs, err := s.store.Docs(docState); err != nil || len(docs) != 500 {
			t.Errorf("%d states stored, %v", len(docs), err)
		}
		if n := s.store.Stats().Commits - before; n > 500/saveBatch+2 { // and one that says how far they are
			t.Errorf("%d commits for 500 servers", n)
		}
	})
}

func TestAuditFindsWhatTheLogDoesNotSay(t *testing.T) {
	doc := func(id string) persistence.Doc {
		body, err := json.Marshal(serverDoc{Spec: spec(id)})
		if err != nil {
			t.Fatal(err)
		}
		return persistence.Doc{Kind: docServer, ID: id, Body: body}
	}
	event := func(kind supervisor.EventKind, id, source string) persistence.Event {
		return persistence.Event{Kind: string(kind), Stream: id, Data: fmt.Appendf(nil, `{"source":%q}`, source)}
	}
	made, gone := supervisor.ServerRegistered, supervisor.ServerDeregistered
	change := func(position uint64, body string) persistence.Event {
		return persistence.Event{Position: position, Kind: string(supervisor.ServerStateChanged), Stream: "a", Data: []byte(body)}
	}
	second, third := change(2, `{"change":{"after":{"revision":2}}}`), change(3, `{"change":{"after":{"revision":3}}}`)
	state := persistence.Doc{Kind: docState, ID: "a", Body: []byte(`{"machine":{"revision":2}}`)}
	upTo := func(position uint64) persistence.Doc {
		d, err := savedTo(position)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	for name, c := range map[string]struct {
		events []persistence.Event
		docs   []persistence.Doc
		faults int
	}{
		"made":                {[]persistence.Event{event(made, "a", "api")}, []persistence.Doc{doc("a")}, 0},
		"made, log retained":  {nil, []persistence.Doc{doc("a")}, 0},
		"deleted":             {[]persistence.Event{event(made, "a", "api"), event(gone, "a", "api")}, nil, 0},
		"of the file":         {[]persistence.Event{event(made, "a", "config")}, nil, 0},
		"made and lost":       {[]persistence.Event{event(made, "a", "api")}, nil, 1},
		"deleted and there":   {[]persistence.Event{event(gone, "a", "api")}, []persistence.Doc{doc("a")}, 1},
		"unreadable spec":     {nil, []persistence.Doc{{Kind: docServer, ID: "a", Body: []byte("{")}}, 1},
		"another one's spec":  {nil, []persistence.Doc{{Kind: docServer, ID: "b", Body: doc("a").Body}}, 1},
		"unreadable state":    {nil, []persistence.Doc{{Kind: docState, ID: "a", Body: []byte("x")}}, 1},
		"of a kind not ours":  {nil, []persistence.Doc{{Kind: "other", ID: "a", Body: []byte("x")}}, 0},
		"made again by API":   {[]persistence.Event{event(gone, "a", "api"), event(made, "a", "api")}, []persistence.Doc{doc("a")}, 0},
		"made again by file":  {[]persistence.Event{event(gone, "a", "api"), event(made, "a", "config")}, nil, 0},
		"state of the log":    {[]persistence.Event{second}, []persistence.Doc{state, upTo(3)}, 0},
		"state not saved yet": {[]persistence.Event{second, third}, []persistence.Doc{state, upTo(2)}, 0},
		"state is old":        {[]persistence.Event{second, third}, []persistence.Doc{state, upTo(3)}, 1},
		"state made anew":     {[]persistence.Event{third, second}, []persistence.Doc{state, upTo(3)}, 0},
		"state of a next one": {[]persistence.Event{third, event(gone, "a", "config")}, []persistence.Doc{state, upTo(9)}, 0},
		"left the file":       {[]persistence.Event{event(made, "a", "api"), event(gone, "a", "config")}, []persistence.Doc{doc("a")}, 0},
		"lost with the file":  {[]persistence.Event{event(made, "a", "api"), event(gone, "a", "config")}, nil, 1},
		"then deleted by API": {[]persistence.Event{event(made, "a", "api"), event(gone, "a", "config"), event(gone, "a", "api")}, nil, 0},
		"unreadable end":      {[]persistence.Event{{Kind: string(gone), Stream: "a", Data: []byte(`{"source":1}`)}}, nil, 1},
		"unreadable change":   {[]persistence.Event{change(1, `{"change":7}`)}, nil, 1},
		"unreadable position": {nil, []persistence.Doc{{Kind: docSaved, ID: docSavedID, Body: []byte("{")}}, 1},
		"unreadable register": {[]persistence.Event{{Kind: string(made), Stream: "a", Data: []byte(`{"source":1}`)}}, nil, 1},
	} {
		a := NewAudit()
		for _, e := range c.events {
			a.Event(e)
		}
		for _, d := range c.docs {
			a.Document(d)
		}
		if faults := a.Faults(); len(faults) != c.faults {
			t.Errorf("%s: got %v, want %d faults", name, faults, c.faults)
		}
	}
}

// What the API has stored of a server outlives that the file takes it over and
// leaves it again.
func TestAuditOfAServerThatLeftTheFile(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newTestSystem(t, always(fake.Script{}))
		for _, err := range []error{
			s.Create(t.Context(), spec("a", byAPI)),
			s.Put(t.Context(), spec("a", fromConfig), DrainInstance),
			s.Remove(t.Context(), "a", DrainInstance),
		} {
			if err != nil {
				t.Fatal(err)
			}
		}
		if faults := auditOf(t, s.store); len(faults) > 0 {
			t.Errorf("faults: %v", faults)
		}
	})
}

// auditOf is what hangar verify says of a store's documents.
func auditOf(t *testing.T, store persistence.Store) []persistence.Fault {
	t.Helper()
	a := NewAudit()
	events, err := store.Events(1, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range events {
		a.Event(e)
	}
	for _, kind := range []string{docServer, docTools, docState, docSaved} {
		docs, err := store.Docs(kind)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range docs {
			a.Document(d)
		}
	}
	return a.Faults()
}

// TestOperatorsStopSurvivesTheRuntime: a permanent server that an operator has
// stopped stays down in the next runtime, until somebody wants it.
func TestOperatorsStopSurvivesTheRuntime(t *testing.T) {
	for name, next := range map[string]func(s *testSystem) persistence.Store{
		"kill":  (*testSystem).afterKill,
		"close": func(s *testSystem) persistence.Store { store := s.store; s.closeNow(); return store },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				specs := []supervisor.ServerSpec{spec("stopped", restart(supervisor.Permanent)), spec("kept", restart(supervisor.Permanent)), spec("called", restart(supervisor.Permanent))}
				s := newTestSystem(t, always(fake.Script{}), specs...)
				synctest.Wait()
				for _, id := range []string{"stopped", "called"} {
					if err := s.Stop(t.Context(), id, "maintenance"); err != nil {
						t.Fatal(err)
					}
				}
				s.mustEcho("called")
				time.Sleep(2 * saveInterval)
				synctest.Wait()
				again := nextSystem(t, next(s), always(fake.Script{}), specs...)
				synctest.Wait()
				again.wantState("stopped", supervisor.Cold, supervisor.PhaseNone)
				again.wantState("kept", supervisor.Ready, supervisor.PhaseNone)
				again.wantState("called", supervisor.Ready, supervisor.PhaseNone)
				again.mustEcho("stopped")
				time.Sleep(2 * saveInterval)
				synctest.Wait()
				third := nextSystem(t, again.afterKill(), always(fake.Script{}), specs...)
				synctest.Wait()
				third.wantState("stopped", supervisor.Ready, supervisor.PhaseNone)
			})
		})
	}
}
