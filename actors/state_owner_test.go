package actors

import (
	"encoding/json"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aabb9013/hangar/backends/fake"
	"github.com/aabb9013/hangar/persistence"
	"github.com/aabb9013/hangar/supervisor"
)

func byAPI(s *supervisor.ServerSpec) { s.Provenance = supervisor.FromAPI }

// A server made by API keeps its state while the configuration file grows and
// shrinks, which moves its place in the fleet; changed by API in between too.
func TestStateOutlivesAChangeOfTheFile(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newTestSystem(t, always(fake.Script{}))
		if err := s.Create(t.Context(), spec("a", restart(supervisor.Permanent), byAPI)); err != nil {
			t.Fatal(err)
		}
		s.mustEcho("a")
		if err := s.Stop(t.Context(), "a", "maintenance"); err != nil {
			t.Fatal(err)
		}
		for _, file := range [][]supervisor.ServerSpec{{spec("x", fromConfig)}, {spec("x", fromConfig), spec("y", fromConfig)}, nil} {
			time.Sleep(2 * countersInterval)
			synctest.Wait()
			s = nextSystem(t, s.afterKill(), always(fake.Script{}), file...)
			synctest.Wait()
			s.wantState("a", supervisor.Cold, supervisor.PhaseNone)
			if v := s.view("a"); v.Counters.Calls.Load() != 1 || v.Epoch != 1 {
				t.Fatalf("with %d servers in the file: %d calls, epoch %d", len(file), v.Counters.Calls.Load(), v.Epoch)
			}
			ttl := 2 * time.Hour
			if err := s.Update(t.Context(), "a", supervisor.Patch{IdleTTL: &ttl}); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// The state of a deleted server is not that of the next one of its name, whenever
// it was written.
func TestStateOfADeletedServerIsNotTheNextOnes(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newTestSystem(t, always(fake.Script{}))
		if err := s.Create(t.Context(), spec("a", byAPI)); err != nil {
			t.Fatal(err)
		}
		s.mustEcho("a")
		late, err := json.Marshal(s.fleet.Load().byID["a"].state(time.Now()))
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Delete(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
		if err := s.Create(t.Context(), spec("a", byAPI)); err != nil {
			t.Fatal(err)
		}
		if err := s.keeper.write(persistence.Doc{Kind: docState, ID: "a", Body: late}); err != nil {
			t.Fatal(err)
		}
		again := nextSystem(t, s.afterKill(), always(fake.Script{}), spec("x", fromConfig))
		if n := again.view("a").Counters.Calls.Load(); n != 0 {
			t.Errorf("the new server begins with %d calls", n)
		}
	})
}

// The version before revisions may run in between: what it stored is not undone
// by what the log told before, and what comes after goes on from it.
func TestStateOfAnEarlierVersionIsLaterThanTheLogBeforeIt(t *testing.T) {
	bubble(t, func(t *testing.T) {
		sp := spec("a")
		s := newTestSystem(t, crashLoop, sp)
		s.giveUp("a")
		store := s.afterKill()
		position, err := savedTo(0)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(24 * time.Hour)
		ran := serverState{Seq: 1, Spec: fingerprintOf(sp), Machine: supervisor.Snapshot{SavedAt: time.Now(), State: "cold", Epoch: 9}}
		body, err := json.Marshal(ran)
		if err != nil {
			t.Fatal(err)
		}
		if err := store.Commit(persistence.Batch{Docs: []persistence.Doc{position, {Kind: docState, ID: "a", Body: body}}}); err != nil {
			t.Fatal(err)
		}
		if faults := auditOf(t, store); len(faults) > 0 {
			t.Errorf("faults of what the earlier version left: %v", faults)
		}
		again := nextSystem(t, store, crashLoop, sp)
		again.wantState("a", supervisor.Cold, supervisor.PhaseNone)
		if v := again.view("a"); v.Epoch != 9 || v.Failures != 0 {
			t.Errorf("restored as epoch %d with %d failures", v.Epoch, v.Failures)
		}
		again.giveUp("a")
		killed := again.afterKill() // with its own states; and as if they had not been stored
		for range 2 {
			if faults := auditOf(t, killed); len(faults) > 0 {
				t.Errorf("faults: %v", faults)
			}
			third := nextSystem(t, killed, always(fake.Script{}), sp)
			third.wantState("a", supervisor.Dead, supervisor.PhaseGaveUp)
			if v := third.view("a"); v.Epoch != 10+supervisor.DefaultMaxRestarts {
				t.Errorf("then restored as epoch %d", v.Epoch)
			}
			killed = again.afterKill()
			if err := killed.Commit(persistence.Batch{Docs: []persistence.Doc{position, {Kind: docState, ID: "a", Body: body}}}); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// A state that the keeper gives to a busy log is stored as it is when the log
// takes it: what an operator was told meanwhile is not overwritten.
func TestKeeperStoresNoStateOfBefore(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s, store := newFlakySystem(t, always(fake.Script{}), spec("a"))
		time.Sleep(2 * countersInterval)
		store.latency.Store(int64(time.Minute))
		busy, saved := make(chan error, 1), make(chan error, 1)
		s.tell(s.eventlog, commit{done: func(err error) { busy <- err }})
		synctest.Wait()
		c := s.fleet.Load().byID["a"]
		go func() { saved <- s.keeper.commit([]*cell{c}) }()
		synctest.Wait() // it waits for the log
		k := *c.kept.Load()
		k.down = true
		c.kept.Store(&k)
		if err := errors.Join(<-busy, <-saved); err != nil {
			t.Fatal(err)
		}
		store.latency.Store(0)
		doc, found, err := s.store.Doc(docState, "a")
		if err != nil || !found {
			t.Fatalf("not stored: %v", err)
		}
		if state, err := decodeState(doc); err != nil || !state.Down {
			t.Errorf("stored %s, %v", doc.Body, err)
		}
	})
}
