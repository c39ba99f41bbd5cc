package actors

import (
	"encoding/json"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aabb9013/hangar/backends/fake"
	"github.com/aabb9013/hangar/supervisor"
)

func fromFile(id string, edits ...func(*supervisor.ServerSpec)) supervisor.ServerSpec {
	s := spec(id, edits...)
	s.Provenance = supervisor.FromConfig
	return s
}

func described(text string) func(*supervisor.ServerSpec) {
	return func(s *supervisor.ServerSpec) { s.Description = text }
}

func TestPutKeepsOrReplacesTheInstance(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newTestSystem(t, nil, fromFile("a"), fromFile("b"))
		s.mustEcho("a")
		s.mustEcho("b")
		epoch := s.view("a").Epoch
		if err := s.Put(t.Context(), fromFile("a", described("new")), KeepInstance); err != nil {
			t.Fatal(err)
		}
		if v := s.view("a"); v.Spec.Description != "new" || v.Epoch != epoch || v.State != supervisor.Ready {
			t.Errorf("a kept instance: %+v", v)
		}
		for _, how := range []Replace{DrainInstance, KillInstance} {
			if err := s.Put(t.Context(), fromFile("a", described("newer")), how); err != nil {
				t.Fatal(err)
			}
			s.wantState("a", supervisor.Cold, supervisor.PhaseNone)
			s.mustEcho("a")
			if v := s.view("a"); v.Epoch <= epoch || v.Spec.Description != "newer" {
				t.Errorf("a replaced instance: %+v", v)
			}
			epoch = s.view("a").Epoch
		}
		if v := s.view("b"); v.Epoch != 1 || v.State != supervisor.Ready {
			t.Errorf("another server was touched: %+v", v)
		}
		if got := s.count("a", supervisor.ServerUpdated); got != 3 {
			t.Errorf("%d events of the change, want 3", got)
		}
	})
}

func TestPutRegistersWithoutStoring(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newTestSystem(t, nil)
		if err := s.Put(t.Context(), fromFile("a"), DrainInstance); err != nil {
			t.Fatal(err)
		}
		s.mustEcho("a")
		if docs, err := s.store.Docs(docServer); err != nil || len(docs) != 0 {
			t.Errorf("stored: %v, %v", docs, err)
		}
		if err := s.Remove(t.Context(), "a", DrainInstance); err != nil {
			t.Fatal(err)
		}
		if _, ok := s.View("a"); ok || s.backend.Live() != 0 {
			t.Errorf("still there, %d instances live", s.backend.Live())
		}
		wantErr(t, s.Remove(t.Context(), "a", DrainInstance), supervisor.ErrServerNotFound)
		events := s.events("a")
		if last := events[len(events)-1]; last.kind == supervisor.ServerDeregistered && last.data["source"] != "config" {
			t.Errorf("got %+v", last)
		}
	})
}

func TestFileTakesOverAServerOfTheAPIAndLeavesItStored(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newTestSystem(t, nil)
		if err := s.Create(t.Context(), spec("a")); err != nil {
			t.Fatal(err)
		}
		if err := s.Put(t.Context(), fromFile("a", described("file")), DrainInstance); err != nil {
			t.Fatal(err)
		}
		if v := s.view("a"); v.Spec.Provenance != supervisor.FromConfig || v.Spec.Description != "file" {
			t.Errorf("got %+v", v.Spec)
		}
		if err := s.Remove(t.Context(), "a", DrainInstance); err != nil {
			t.Fatal(err)
		}
		docs, err := s.store.Docs(docServer)
		if err != nil || len(docs) != 1 {
			t.Errorf("stored: %v, %v, want the server of the API", docs, err)
		}
	})
}

// TestCallsSurviveAReplacement: calls in flight finish, those that wait and
// those that come meanwhile are answered by the new instance.
func TestCallsSurviveAReplacement(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newTestSystem(t, always(fake.Script{CallDelay: time.Second}), fromFile("a", concurrency(1)))
		first := s.begin(callOf{server: "a", tool: "echo"})
		synctest.Wait()
		second := s.begin(callOf{server: "a", tool: "echo"})
		synctest.Wait()
		done := make(chan error, 1)
		go func() {
			done <- s.Put(t.Context(), fromFile("a", concurrency(1), described("x")), DrainInstance)
		}()
		synctest.Wait()
		third := s.begin(callOf{server: "a", tool: "echo"})
		for i, p := range []*pending{first, second, third} {
			if err := p.wait(); err != nil {
				t.Errorf("call %d: %v", i+1, err)
			}
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
		if v := s.view("a"); v.Epoch != 2 {
			t.Errorf("epoch %d, want 2", v.Epoch)
		}
	})
}

func TestReplacementEndsBackoffAndAttempts(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newTestSystem(t, func(_ string, epoch uint64) fake.Script {
			switch epoch {
			case 1:
				return fake.Script{StartDelay: 20 * time.Second}
			case 2:
				return fake.Script{ExitAfterInit: true, ExitCode: 1}
			}
			return fake.Script{}
		}, fromFile("a"))
		starting := s.begin(callOf{server: "a", tool: "echo"})
		synctest.Wait()
		if err := s.Put(t.Context(), fromFile("a", described("x")), DrainInstance); err != nil {
			t.Fatal(err)
		}
		_ = starting.wait() // the second attempt crashes under it
		synctest.Wait()
		if err := s.Put(t.Context(), fromFile("a", described("y")), DrainInstance); err != nil {
			t.Fatal(err)
		}
		s.mustEcho("a")
	})
}

// TestHastyChangesDoNotWaitForCalls: the calls end with the instance.
func TestHastyChangesDoNotWaitForCalls(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newTestSystem(t, always(fake.Script{CallDelay: time.Minute}), fromFile("a"))
		for _, change := range []func() error{
			func() error { return s.Put(t.Context(), fromFile("a", described("x")), KillInstance) },
			func() error { return s.Remove(t.Context(), "a", KillInstance) },
		} {
			call := s.begin(callOf{server: "a", tool: "echo", timeout: time.Hour})
			synctest.Wait()
			began := time.Now()
			if err := change(); err != nil {
				t.Fatal(err)
			}
			if err := call.wait(); err == nil || time.Since(began) >= drainGrace {
				t.Errorf("the call ended with %v after %s", err, time.Since(began))
			}
		}
	})
}

func TestPutThatCannotBeWrittenChangesNothing(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s, store := newFlakySystem(t, nil, fromFile("a"))
		s.mustEcho("a")
		store.broken.Store(true)
		wantErr(t, s.Put(t.Context(), fromFile("a", described("x")), DrainInstance), supervisor.ErrReadOnly)
		wantErr(t, s.Remove(t.Context(), "a", DrainInstance), supervisor.ErrReadOnly)
		wantErr(t, s.Put(t.Context(), fromFile("b"), DrainInstance), supervisor.ErrReadOnly)
		store.broken.Store(false)
		if v := s.view("a"); v.Spec.Description != "" || v.State != supervisor.Ready || v.Epoch != 1 {
			t.Errorf("got %+v", v)
		}
	})
}

func TestDeclaredToolsFollowTheSpec(t *testing.T) {
	bubble(t, func(t *testing.T) {
		declare := func(names ...string) func(*supervisor.ServerSpec) {
			return func(s *supervisor.ServerSpec) {
				for _, n := range names {
					s.Tools = append(s.Tools, json.RawMessage(`{"name":"`+n+`","inputSchema":{"type":"object"}}`))
				}
			}
		}
		s := newTestSystem(t, nil, fromFile("a"))
		for _, names := range [][]string{{"x", "y"}, {"z"}, nil} {
			if err := s.Put(t.Context(), fromFile("a", declare(names...)), KeepInstance); err != nil {
				t.Fatal(err)
			}
			v := s.view("a")
			if got := v.Catalogue; len(names) == 0 && got != nil || len(names) > 0 && len(got.Tools) != len(names) {
				t.Errorf("%v: got %+v", names, got)
			}
		}
		s.mustEcho("a")
		own := len(s.view("a").Catalogue.Tools)
		if err := s.Put(t.Context(), fromFile("a", declare("x")), KeepInstance); err != nil {
			t.Fatal(err)
		}
		if got := s.view("a"); len(got.Catalogue.Tools) != own || got.ToolsPredefined {
			t.Errorf("a server's own list was replaced: %+v", got.Catalogue)
		}
	})
}

// An operator's stop of a permanent server outlasts a reload that changes
// something else of it, as it outlasts the runtime.
func TestReloadLeavesAStoppedPermanentServerDown(t *testing.T) {
	for _, how := range []Replace{KeepInstance, DrainInstance, KillInstance, HandOver} {
		bubble(t, func(t *testing.T) {
			s := newTestSystem(t, nil, fromFile("a", restart(supervisor.Permanent)))
			synctest.Wait()
			s.wantState("a", supervisor.Ready, supervisor.PhaseNone)
			if err := s.Stop(t.Context(), "a", "maintenance"); err != nil {
				t.Fatal(err)
			}
			if err := s.Put(t.Context(), fromFile("a", restart(supervisor.Permanent), described("new")), how); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			s.wantState("a", supervisor.Cold, supervisor.PhaseNone)
			s.mustEcho("a")
			if err := s.Put(t.Context(), fromFile("a", restart(supervisor.Permanent), described("newer")), how); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			s.wantState("a", supervisor.Ready, supervisor.PhaseNone)
		})
	}
}
