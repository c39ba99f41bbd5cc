package actors

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/aabb9013/hangar/backends/fake"
	"github.com/aabb9013/hangar/persistence"
	"github.com/aabb9013/hangar/supervisor"
)

// remembered is what of a server a killed runtime must not forget.
type remembered struct {
	State    supervisor.State
	Phase    supervisor.Phase
	Epoch    uint64
	Failures int
	Streak   int
	Restarts []time.Duration // ages in ms
	RetryIn  time.Duration   // in ms
}

func rememberedOf(v *supervisor.View) remembered {
	r := remembered{State: v.State, Phase: v.Phase, Epoch: v.Epoch, Failures: v.Failures, Streak: v.Streak}
	for _, at := range v.RestartTimes {
		if ago := time.Since(at); ago < supervisor.DefaultRestartPeriod {
			r.Restarts = append(r.Restarts, ago.Round(time.Millisecond))
		}
	}
	if !v.NextRetryAt.IsZero() {
		r.RetryIn = time.Until(v.NextRetryAt).Round(time.Millisecond)
	}
	if v.State == supervisor.Ready || v.State == supervisor.Initializing { // the instance is gone
		r.State = supervisor.Cold
	}
	return r
}

// A runtime that is killed at any moment of a crash loop goes on with the budget,
// the failures and the wait of that moment, however old the stored states are.
func TestKilledRuntimeGoesOnFromTheLog(t *testing.T) {
	bubble(t, func(t *testing.T) {
		// Between two crashes there is time to be killed in, before the keeper's next write.
		s := newTestSystem(t, always(fake.Script{RunFor: 400 * time.Millisecond, ExitCode: 1}), spec("a"), spec("b"))
		time.Sleep(countersInterval) // the fleet's first states are stored
		if _, err := s.Start(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
		seen := map[string]bool{}
		replayed := 0
		for range 300 {
			time.Sleep(17 * time.Millisecond)
			synctest.Wait()
			want := rememberedOf(s.view("a"))
			store := s.afterKill()
			again := nextSystem(t, store, always(fake.Script{InitHang: true}), spec("a"), spec("b"))
			// A restart that is due at once begins with the runtime, and epochs go on.
			got := rememberedOf(again.view("a"))
			if diff := cmp.Diff(want, got); diff != "" {
				t.Fatalf("after %d replays (-killed +restored):\n%s", replayed, diff)
			}
			if got := rememberedOf(again.view("b")); got.Epoch != 0 || got.State != supervisor.Cold {
				t.Errorf("a server that never ran is restored as %+v", got)
			}
			if tailOf(t, store)["a"] != nil {
				replayed++
			}
			seen[fmt.Sprint(want.State, want.Phase, len(want.Restarts))] = true
			again.closeNow()
		}
		if replayed < 10 || len(seen) < 6 {
			t.Errorf("%d of 300 kills had anything to replay, in the situations %v", replayed, seen)
		}
		s.wantState("a", supervisor.Dead, supervisor.PhaseGaveUp)
	})
}

func tailOf(t *testing.T, store persistence.Store) tail {
	t.Helper()
	s := &System{opts: Options{Store: store}}
	got, err := s.readTail()
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestTheTailIsOfTheServersThatThereAre(t *testing.T) {
	change := func(server string, revision uint64) persistence.Event {
		body, err := json.Marshal(map[string]any{fieldChange: supervisor.Change{After: supervisor.Snapshot{State: "dead", Revision: revision}}})
		if err != nil {
			t.Fatal(err)
		}
		return persistence.Event{Stream: server, Kind: string(supervisor.ServerStateChanged), Data: body}
	}
	event := func(kind supervisor.EventKind, server string) persistence.Event {
		return persistence.Event{Stream: server, Kind: string(kind), Data: []byte(`{}`)}
	}
	made, gone := event(supervisor.ServerRegistered, "a"), event(supervisor.ServerDeregistered, "a")
	for name, c := range map[string]struct {
		saved  int // of the events; < 0: nobody said
		events []persistence.Event
		want   []uint64 // revisions of a's changes
	}{
		"all":                 {0, []persistence.Event{change("a", 1), change("b", 9), change("a", 2)}, []uint64{1, 2}},
		"the unsaved":         {2, []persistence.Event{change("a", 1), change("b", 9), change("a", 2)}, []uint64{2}},
		"nobody said":         {-1, []persistence.Event{change("a", 1)}, nil},
		"deleted":             {0, []persistence.Event{change("a", 5), gone, change("a", 6)}, nil},
		"made again":          {0, []persistence.Event{change("a", 5), gone, change("a", 6), made, change("a", 1)}, []uint64{1}},
		"registered by start": {0, []persistence.Event{change("a", 5), made, change("a", 6)}, []uint64{5, 6}},
		"without a change":    {0, []persistence.Event{event(supervisor.HealthCheckPassed, "a")}, nil},
	} {
		store := persistence.NewMemory()
		for _, e := range c.events {
			if err := store.Commit(persistence.Batch{Events: []persistence.Event{e}}); err != nil {
				t.Fatal(err)
			}
		}
		if c.saved >= 0 {
			doc, err := savedTo(uint64(c.saved))
			if err == nil {
				err = store.Commit(persistence.Batch{Docs: []persistence.Doc{doc}})
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		var got []uint64
		for _, c := range tailOf(t, store)["a"] {
			got = append(got, c.After.Revision)
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: the changes %v, want %v", name, got, c.want)
		}
	}
}

// However long a fleet lives, a start has to look through no more of the log than
// the keeper leaves unsaved.
func TestTheTailStaysShort(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newTestSystem(t, always(fake.Script{}), spec("a", func(s *supervisor.ServerSpec) { s.HealthCheckInterval, s.IdleTTL = time.Second, 2*time.Hour }))
		s.mustEcho("a")
		time.Sleep(time.Hour)
		synctest.Wait()
		doc, found, err := s.store.Doc(docSaved, docSavedID)
		if err != nil || !found {
			t.Fatalf("nothing says how far the states are stored: %v", err)
		}
		var saved savedDoc
		if err := json.Unmarshal(doc.Body, &saved); err != nil {
			t.Fatal(err)
		}
		last := s.store.LastPosition()
		if last < 3000 || last-saved.Position > tailEvents+10 {
			t.Errorf("the log has %d events, %d of them after the stored states", last, last-saved.Position)
		}
	})
}

// What an operator was told has happened is stored: no kill makes it undone.
func TestOperatorsWishIsStoredBeforeItIsAnswered(t *testing.T) {
	bubble(t, func(t *testing.T) {
		kept := spec("kept", restart(supervisor.Permanent))
		s := newTestSystem(t, always(fake.Script{}), kept)
		synctest.Wait()
		for _, down := range []bool{true, false, true} {
			var err error
			if down {
				err = s.Stop(t.Context(), "kept", "maintenance")
			} else {
				_, err = s.Start(t.Context(), "kept")
			}
			if err != nil {
				t.Fatal(err)
			}
			store := s.afterKill()
			again := nextSystem(t, store, always(fake.Script{}), kept)
			synctest.Wait()
			want := map[bool]supervisor.State{true: supervisor.Cold, false: supervisor.Ready}[down]
			again.wantState("kept", want, supervisor.PhaseNone)
			again.closeNow()
		}
	})
}
