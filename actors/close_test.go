package actors

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/aabb9013/hangar/backends/fake"
	"github.com/aabb9013/hangar/persistence"
	"github.com/aabb9013/hangar/supervisor"
)

func TestCloseDrainsAndStopsInParallel(t *testing.T) {
	bubble(t, func(t *testing.T) {
		const n = 100
		s := newTestSystemWith(t, func(server string, _ uint64) fake.Script {
			return fake.Script{IgnoreStop: len(server) == 3 && server[2] == '7' && server[1]%2 == 0} // 5 of 100
		}, func(o *Options) { o.Specs, o.MaxParallelStarts = specs(n), n })
		for i := range n {
			s.mustEcho(fmt.Sprint("s", i))
		}
		flying := s.begin(callOf{server: "s1", tool: "sleep", args: `{"ms":4000}`})
		endless := s.begin(callOf{server: "s2", tool: "sleep", args: `{"ms":3600000}`, timeout: time.Hour})
		synctest.Wait()
		began := time.Now()
		closed := make(chan error, 1)
		go func() {
			ctx, cancel := context.WithTimeout(context.Background(), 15*time.Second)
			defer cancel()
			closed <- s.Close(ctx)
		}()
		synctest.Wait()
		wantErr(t, s.echo("s3"), supervisor.ErrClosing)
		wantErr(t, s.Create(t.Context(), spec("new")), supervisor.ErrClosing)
		_, err := s.Start(t.Context(), "s3")
		wantErr(t, err, supervisor.ErrClosing)
		wantErr(t, s.Stop(t.Context(), "s3", "test"), supervisor.ErrClosing)
		again := make(chan time.Duration, 1)
		go func() { s.Close(context.Background()); again <- time.Since(began) }()
		if err := flying.wait(); err != nil {
			t.Errorf("a call in flight did not drain: %v", err)
		}
		if err := endless.wait(); err == nil {
			t.Error("an endless call was answered")
		}
		if err := <-closed; err != nil {
			t.Error(err)
		}
		took := time.Since(began)
		if took > 15*time.Second {
			t.Errorf("close took %v", took)
		}
		if at := <-again; at < took {
			t.Errorf("the second Close returned after %v, the first after %v", at, took)
		}
		if n := s.backend.Live(); n != 0 {
			t.Errorf("%d instances live", n)
		}
		calls, err := s.store.History("s1", 0, 10)
		if err != nil || len(calls) != 2 {
			t.Errorf("%d calls of s1 on record, %v", len(calls), err)
		}
		if got := kinds(eventsOf(t, s.store, "s1")); got[len(got)-1] != supervisor.ServerStateChanged {
			t.Errorf("the last event of s1 is %v", got[len(got)-1])
		}
	})
}

func TestCloseMeetsAShortDeadline(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newTestSystem(t, always(fake.Script{IgnoreStop: true}), specs(20)...)
		for i := range 20 {
			s.mustEcho(fmt.Sprint("s", i))
		}
		began := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		if err := s.Close(ctx); err != nil || time.Since(began) > 3*time.Second {
			t.Errorf("close: %v after %v", err, time.Since(began))
		}
	})
}

func TestCloseDuringStarts(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newTestSystemWith(t, always(fake.Script{StartDelay: time.Second, InitHang: true}), func(o *Options) {
			o.Specs, o.MaxParallelStarts = specs(30), 5
		})
		var calls []*pending
		for i := range 30 {
			calls = append(calls, s.begin(callOf{server: fmt.Sprint("s", i), tool: "echo"}))
		}
		time.Sleep(1500 * time.Millisecond)
		began := time.Now()
		if err := s.Close(t.Context()); err != nil || time.Since(began) > 2*time.Second {
			t.Errorf("close: %v after %v", err, time.Since(began))
		}
		for _, p := range calls {
			wantErr(t, p.wait(), supervisor.ErrClosing)
		}
	})
}

func TestEverythingRacingWithCloseReturns(t *testing.T) {
	for delay := range 20 {
		bubble(t, func(t *testing.T) {
			store := &flakyStore{Store: persistence.NewMemory()}
			store.latency.Store(int64(time.Millisecond))
			s := newTestSystemWith(t, always(fake.Script{InitDelay: 2 * time.Millisecond, StopDelay: 2 * time.Millisecond}), func(o *Options) {
				o.Specs, o.Store = specs(10), store
			})
			var wg sync.WaitGroup
			for i := range 10 {
				id := fmt.Sprint("s", i)
				ref, _ := s.Ref([]byte(id))
				wg.Go(func() {
					for range 5 {
						begin(ref, callOf{tool: "echo", args: `{"text":"x"}`}).wait()
						time.Sleep(time.Millisecond)
					}
				})
				wg.Go(func() { s.Start(context.Background(), id) })
				wg.Go(func() { time.Sleep(3 * time.Millisecond); s.Stop(context.Background(), id, "test") })
				wg.Go(func() { time.Sleep(4 * time.Millisecond); s.Delete(context.Background(), id) })
				wg.Go(func() {
					if s.Create(context.Background(), spec(id+"x")) == nil {
						s.Start(context.Background(), id+"x")
					}
				})
			}
			time.Sleep(time.Duration(delay) * 500 * time.Microsecond)
			if err := s.Close(context.Background()); err != nil {
				t.Error(err)
			}
			wg.Wait()
		})
	}
}

func TestCloseOverAHangingOrBrokenStore(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s, store := newFlakySystem(t, nil, spec("a"))
		s.mustEcho("a")
		store.latency.Store(int64(time.Minute))
		began := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if err := s.Close(ctx); err == nil || time.Since(began) > 20*time.Second {
			t.Errorf("close: %v after %v", err, time.Since(began))
		}
		time.Sleep(time.Hour)
	})
}

func TestCloseLeavesNoGoroutineAndNoTimer(t *testing.T) {
	before := goleak.IgnoreCurrent()
	sys := realSystemOf(t, fake.New(always(fake.Script{})), specs(5)...)
	for i := range 5 {
		ref, _ := sys.Ref(fmt.Append(nil, "s", i))
		if err := begin(ref, callOf{tool: "echo", args: `{"text":"x"}`}).wait(); err != nil {
			t.Error(err)
		}
	}
	if err := sys.Close(context.Background()); err != nil {
		t.Error(err)
	}
	goleak.VerifyNone(t, before)
	ref, _ := sys.Ref([]byte("s0"))
	if err := begin(ref, callOf{tool: "echo"}).wait(); !errors.Is(err, supervisor.ErrClosing) {
		t.Errorf("call after Close: %v", err)
	}
}
