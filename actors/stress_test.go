package actors

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/aabb9013/hangar/backends"
	"github.com/aabb9013/hangar/backends/fake"
	"github.com/aabb9013/hangar/supervisor"
)

// TestStress lets everything happen at once for a while in real time: every
// call must end exactly once, and nothing may be left at the end.
func TestStress(t *testing.T) {
	const servers, length = 20, 2 * time.Second
	before := goleak.IgnoreCurrent()
	b := fake.New(func(_ string, epoch uint64) fake.Script {
		sc := fake.Script{StartDelay: time.Millisecond, CallDelay: time.Duration(epoch%3) * 100 * time.Microsecond}
		if epoch%17 == 0 {
			sc.ExitOnStart, sc.ExitCode = true, 1
		}
		return sc
	})
	b.EOFGrace, b.TermGrace = 50*time.Millisecond, 50*time.Millisecond
	rig := &rigged{Backend: b, onSend: func(c *backends.Call) {
		if c.Tool == "boom" {
			panic("test")
		}
	}}
	var all []supervisor.ServerSpec
	for i := range servers {
		all = append(all, spec(fmt.Sprint("s", i), concurrency(1+i%4)))
	}
	sys := realSystemOf(t, rig, all...)
	var calls, ok, ended atomic.Int64
	end := time.Now().Add(length)
	var wg sync.WaitGroup
	worker := func(do func(r *rand.Rand, id string)) {
		seed := rand.Uint64()
		wg.Go(func() {
			r := rand.New(rand.NewPCG(seed, 1))
			for time.Now().Before(end) {
				do(r, fmt.Sprint("s", r.IntN(servers)))
			}
		})
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	var doubles sync.Map
	for w := range 24 {
		worker(func(r *rand.Rand, id string) {
			ref, found := sys.Ref([]byte(id))
			if !found {
				time.Sleep(100 * time.Microsecond)
				return
			}
			o := callOf{tool: "echo", args: `{"text":"x"}`, session: uint64(w % 5), timeout: 5 * time.Second}
			switch n := r.IntN(1000); {
			case n < 100:
				o.tool, o.args = "sleep", `{"ms":2}`
			case n < 110:
				o.timeout = time.Duration(r.IntN(3)) * time.Millisecond
			case n == 999:
				o.tool = "boom"
			}
			calls.Add(1)
			p := begin(ref, o)
			if r.IntN(20) == 0 {
				ref.Cancel(p.call.ID, context.Canceled)
			}
			if p.wait() == nil {
				ok.Add(1)
			}
			ended.Add(1)
			doubles.Store(p, nil)
		})
	}
	worker(func(r *rand.Rand, id string) {
		_ = sys.Stop(ctx, id, "stress")
		time.Sleep(time.Duration(r.IntN(5)) * time.Millisecond)
	})
	worker(func(r *rand.Rand, id string) {
		if in := b.Last(id); in != nil {
			in.Crash(1)
		}
		time.Sleep(time.Duration(r.IntN(20)) * time.Millisecond)
		_, _ = sys.Start(ctx, id) // also out of giving up
	})
	worker(func(r *rand.Rand, id string) {
		if err := sys.Delete(ctx, id); err != nil && !errors.Is(err, supervisor.ErrServerNotFound) {
			t.Errorf("delete: %v", err)
		}
		time.Sleep(time.Duration(r.IntN(30)) * time.Millisecond)
		if err := sys.Create(ctx, spec(id, concurrency(2))); err != nil && !errors.Is(err, supervisor.ErrServerExists) {
			t.Errorf("create: %v", err)
		}
	})
	worker(func(r *rand.Rand, id string) {
		ttl := time.Duration(1+r.IntN(100)) * time.Second
		_ = sys.Update(ctx, id, supervisor.Patch{IdleTTL: &ttl})
		sys.Views()
		time.Sleep(time.Millisecond)
	})
	wg.Wait()
	for _, c := range sys.fleet.Load().order {
		if n := c.active.Load(); n != 0 {
			t.Errorf("server %s: %d calls are active", c.id, n)
		}
		if n := c.counters.Waiting.Load(); n != 0 {
			t.Errorf("server %s: %d calls wait", c.id, n)
		}
	}
	if err := sys.Flush(ctx); err != nil {
		t.Error(err)
	}
	if err := sys.Close(ctx); err != nil {
		t.Error(err)
	}
	if n := b.Live(); n != 0 {
		t.Errorf("%d instances live", n)
	}
	if n := sys.Starting(); n != 0 {
		t.Errorf("%d slots are taken", n)
	}
	if calls.Load() != ended.Load() || ok.Load() == 0 {
		t.Errorf("%d calls, %d ended, %d answered", calls.Load(), ended.Load(), ok.Load())
	}
	doubles.Range(func(p, _ any) bool {
		select {
		case <-p.(*pending).call.Done():
			if !errors.Is(p.(*pending).err, supervisor.ErrInternal) {
				t.Errorf("a call ended twice; first with %v", p.(*pending).err)
				return false
			}
		default:
		}
		return true
	})
	goleak.VerifyNone(t, before)
	t.Logf("%d calls, %d answered, %d starts", calls.Load(), ok.Load(), b.Starts())
}
