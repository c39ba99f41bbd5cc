package actors

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aabb9013/hangar/backends/fake"
	"github.com/aabb9013/hangar/persistence"
	"github.com/aabb9013/hangar/supervisor"
)

// flakyStore fails or delays its commits as a test wants it.
type flakyStore struct {
	persistence.Store
	broken  atomic.Bool
	panics  atomic.Bool
	latency atomic.Int64
}

func (s *flakyStore) Commit(b ...persistence.Batch) error {
	time.Sleep(time.Duration(s.latency.Load()))
	switch {
	case s.panics.Load():
		panic("test")
	case s.broken.Load():
		return persistence.ErrNoSpace
	}
	return s.Store.Commit(b...)
}

func newFlakySystem(t *testing.T, sc script, all ...supervisor.ServerSpec) (*testSystem, *flakyStore) {
	store := &flakyStore{Store: persistence.NewMemory()}
	return newTestSystemWith(t, sc, func(o *Options) { o.Store, o.Specs = store, all }), store
}

func TestChangeThatCannotBeWrittenChangesNothing(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s, store := newFlakySystem(t, nil, spec("a"))
		s.mustEcho("a")
		version := s.FleetVersion()
		ttl := 10 * time.Second
		for _, fault := range []*atomic.Bool{&store.broken, &store.panics} {
			fault.Store(true)
			wantErr(t, s.Create(t.Context(), spec("b")), supervisor.ErrReadOnly, supervisor.ErrInternal)
			wantErr(t, s.Update(t.Context(), "a", supervisor.Patch{IdleTTL: &ttl}), supervisor.ErrReadOnly, supervisor.ErrInternal)
			wantErr(t, s.Delete(t.Context(), "a"), supervisor.ErrReadOnly, supervisor.ErrInternal)
			fault.Store(false)
		}
		if _, ok := s.View("b"); ok || s.FleetVersion() != version {
			t.Error("the fleet changed")
		}
		if v := s.view("a"); v.Spec.IdleTTL == ttl || v.State != supervisor.Ready {
			t.Errorf("the server changed: %+v", v)
		}
		for range 2 { // the ids are not left busy
			if err := s.Create(t.Context(), spec("b")); err != nil {
				t.Fatal(err)
			}
			s.mustEcho("b")
			if err := s.Delete(t.Context(), "b"); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func TestNewOverAFailingStoreSaysSo(t *testing.T) {
	bubble(t, func(t *testing.T) {
		_, err := New(Options{Store: persistence.NewFailing(errors.New("broken")), Specs: specs(2)})
		if err == nil {
			t.Fatal("no error")
		}
		store := &flakyStore{Store: persistence.NewMemory()}
		store.broken.Store(true)
		_, err = New(Options{Store: store, Specs: []supervisor.ServerSpec{spec("a", fromConfig)}})
		wantErr(t, err, supervisor.ErrReadOnly)
		time.Sleep(2 * time.Second)
	})
}

func fromConfig(s *supervisor.ServerSpec) { s.Provenance = supervisor.FromConfig }

func TestDuplicateIDsAreRefused(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s, store := newFlakySystem(t, nil, spec("a"))
		wantErr(t, s.Create(t.Context(), spec("a")), supervisor.ErrServerExists)
		store.latency.Store(int64(time.Second))
		var created, refused atomic.Int64
		var wg sync.WaitGroup
		for range 10 { // at once, while the first is being written
			wg.Go(func() {
				switch err := s.Create(t.Context(), spec("b")); {
				case err == nil:
					created.Add(1)
				case errors.Is(err, supervisor.ErrServerExists):
					refused.Add(1)
				default:
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if created.Load() != 1 || refused.Load() != 9 || len(s.Views()) != 2 {
			t.Errorf("%d created, %d refused, %d servers", created.Load(), refused.Load(), len(s.Views()))
		}
	})
}

func TestUnknownServers(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newTestSystem(t, nil)
		_, err := s.Start(t.Context(), "x")
		wantErr(t, err, supervisor.ErrServerNotFound)
		wantErr(t, s.Stop(t.Context(), "x", "test"), supervisor.ErrServerNotFound)
		wantErr(t, s.Delete(t.Context(), "x"), supervisor.ErrServerNotFound)
		wantErr(t, s.Update(t.Context(), "x", supervisor.Patch{}), supervisor.ErrServerNotFound)
		_, err = s.Logs("x", 1)
		wantErr(t, err, supervisor.ErrServerNotFound)
	})
}

func TestDeleteDuringStartAndDuringCalls(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newTestSystem(t, func(server string, _ uint64) fake.Script {
			if server == "slow" {
				return fake.Script{InitDelay: 20 * time.Second}
			}
			return fake.Script{}
		}, spec("slow"), spec("busy", concurrency(1)))
		starting := s.begin(callOf{server: "slow", tool: "echo"})
		synctest.Wait()
		if err := s.Delete(t.Context(), "slow"); err != nil {
			t.Error(err)
		}
		wantErr(t, starting.wait(), supervisor.ErrServerNotFound)

		s.mustEcho("busy")
		ref, _ := s.Ref([]byte("busy"))
		flying := s.begin(callOf{server: "busy", tool: "sleep", args: `{"ms":2000}`})
		synctest.Wait()
		queued := s.begin(callOf{server: "busy", tool: "echo"})
		synctest.Wait()
		deleted := make(chan error, 1)
		go func() { deleted <- s.Delete(context.Background(), "busy") }()
		synctest.Wait()
		wantErr(t, s.Delete(t.Context(), "busy"), supervisor.ErrServerNotFound, supervisor.ErrOverloaded)
		wantErr(t, begin(ref, callOf{tool: "echo"}).wait(), supervisor.ErrServerNotFound)
		wantErr(t, queued.wait(), supervisor.ErrServerNotFound)
		if err := flying.wait(); err != nil {
			t.Errorf("a call in flight may drain: %v", err)
		}
		if err := <-deleted; err != nil {
			t.Error(err)
		}
		if s.backend.Live() != 0 || len(s.Views()) != 0 {
			t.Errorf("%d live, %d servers", s.backend.Live(), len(s.Views()))
		}
		wantErr(t, begin(ref, callOf{tool: "echo"}).wait(), supervisor.ErrServerNotFound)
		if err := s.Create(t.Context(), spec("busy")); err != nil {
			t.Fatal(err)
		}
		if v := s.view("busy"); v.Catalogue != nil || v.Counters.Calls.Load() != 0 {
			t.Error("the new server has the old one's tools or counters")
		}
		s.mustEcho("busy")
	})
}

func TestConcurrentDeletesAndCreatesEndWell(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s, store := newFlakySystem(t, nil, specs(5)...)
		store.latency.Store(int64(time.Millisecond))
		var wg sync.WaitGroup
		for i := range 50 {
			id := fmt.Sprint("s", i%5)
			wg.Go(func() {
				ref, ok := s.Ref([]byte(id))
				if ok {
					begin(ref, callOf{tool: "echo", args: `{"text":"x"}`}).wait()
				}
			})
			wg.Go(func() { s.Delete(t.Context(), id) })
			wg.Go(func() { s.Create(t.Context(), spec(id)) })
			if i%10 == 0 {
				time.Sleep(time.Millisecond)
			}
		}
		wg.Wait()
		synctest.Wait()
		for i := range 5 {
			id := fmt.Sprint("s", i)
			if _, ok := s.View(id); !ok {
				if err := s.Create(t.Context(), spec(id)); err != nil {
					t.Error(err)
				}
			}
			s.mustEcho(id)
		}
	})
}

func TestUpdatesApply(t *testing.T) {
	bubble(t, func(t *testing.T) {
		envs := make(chan map[string]string, 10)
		rig := &envRig{envs: envs}
		s := newTestSystemWith(t, nil, func(o *Options) {
			rig.Backend = o.Backends[supervisor.ModeSubprocess]
			o.Backends[supervisor.ModeSubprocess] = rig
			o.Specs = []supervisor.ServerSpec{spec("a")}
		})
		s.mustEcho("a")
		<-envs
		ttl, env := 20*time.Second, map[string]string{"K": "v"}
		if err := s.Update(t.Context(), "a", supervisor.Patch{IdleTTL: &ttl, Env: &env}); err != nil {
			t.Fatal(err)
		}
		if v := s.view("a"); v.Spec.IdleTTL != ttl || v.Spec.Env["K"] != "v" || v.State != supervisor.Ready {
			t.Errorf("view %+v", v)
		}
		time.Sleep(21 * time.Second)
		s.wantState("a", supervisor.Cold, supervisor.PhaseNone)
		s.mustEcho("a")
		if got := <-envs; got["K"] != "v" {
			t.Errorf("next start has env %v", got)
		}
		bad := -time.Second
		wantErr(t, s.Update(t.Context(), "a", supervisor.Patch{IdleTTL: &bad}), supervisor.ErrInvalidSpec)
	})
}

func TestConcurrentUpdatesAreNotLost(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newTestSystem(t, nil, spec("a"))
		c := s.fleet.Load().byID["a"]
		// A server's actor that is slow to see the first update must not cost
		// it: the registry goes by what it wrote.
		ttl, text := 77*time.Second, "changed"
		s.tell(s.registry, updateServer{"a", supervisor.Patch{IdleTTL: &ttl}, make(chan error, 1)})
		if err := s.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		stale := *c.view.Load()
		stale.Spec = spec("a")
		c.view.Store(&stale)
		if err := s.Update(t.Context(), "a", supervisor.Patch{Description: &text}); err != nil {
			t.Fatal(err)
		}
		if got := s.view("a").Spec; got.IdleTTL != ttl || got.Description != text {
			t.Errorf("got %+v", got)
		}
	})
}

func TestRestartOfTheRuntimeRestoresTheFleet(t *testing.T) {
	bubble(t, func(t *testing.T) {
		store := persistence.NewMemory()
		first := newTestSystemWith(t, nil, func(o *Options) {
			o.Store, o.Specs = store, []supervisor.ServerSpec{spec("conf", fromConfig)}
		})
		for _, id := range []string{"z", "a", "m", "shared"} {
			if err := first.Create(t.Context(), spec(id)); err != nil {
				t.Fatal(err)
			}
		}
		text := "kept"
		if err := first.Update(t.Context(), "m", supervisor.Patch{Description: &text}); err != nil {
			t.Fatal(err)
		}
		if err := first.Delete(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
		first.mustEcho("z")
		if err := first.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		second := newTestSystemWith(t, nil, func(o *Options) {
			o.Store = store
			o.Specs = []supervisor.ServerSpec{spec("conf", fromConfig), spec("shared", fromConfig, func(s *supervisor.ServerSpec) { s.Description = "configured" })}
		})
		var ids []string
		for _, v := range second.Views() {
			ids = append(ids, v.Spec.ID)
			if v.State != supervisor.Cold {
				t.Errorf("%s is %v", v.Spec.ID, v.State)
			}
		}
		if want := "[conf shared z m]"; fmt.Sprint(ids) != want {
			t.Errorf("servers %v, want %s", ids, want)
		}
		if got := second.view("m").Spec.Description; got != "kept" {
			t.Errorf("description %q", got)
		}
		if got := second.view("shared").Spec; got.Description != "configured" || got.Provenance != supervisor.FromConfig {
			t.Errorf("shared: %+v", got)
		}
		if v := second.view("z"); v.Catalogue == nil || len(v.Catalogue.Tools) == 0 || !v.ToolsStale {
			t.Error("the tools of z are not kept")
		}
		if err := second.Create(t.Context(), spec("new")); err != nil {
			t.Fatal(err)
		}
		if all := second.Views(); all[len(all)-1].Spec.ID != "new" {
			t.Error("a new server is not the last")
		}
		second.mustEcho("z")
		second.mustEcho("conf")
	})
}
