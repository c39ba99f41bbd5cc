package actors

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aabb9013/hangar/backends"
	"github.com/aabb9013/hangar/supervisor"
)

// scale is a sampler that answers what a test says: bytes by process id.
type scale struct {
	mu    sync.Mutex
	bytes map[int]int64
	exact bool
	fail  bool
	// shared: what is not exact counts each page three times.
	shared bool
}

func (s *scale) sample(pids []int, exact bool) []int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail {
		panic("the sampler is broken")
	}
	s.exact = exact
	result := make([]int64, len(pids))
	for i, pid := range pids {
		result[i] = s.bytes[pid]
		if s.shared && !exact {
			result[i] *= 3
		}
	}
	return result
}

func (s *scale) breaks(yes bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail = yes
}

func (s *scale) wasExact() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.exact
}

// weigh says what a server's instance uses from now on.
func (s *scale) weigh(ts *testSystem, server string, bytes int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.bytes == nil {
		s.bytes = make(map[int]int64)
	}
	s.bytes[ts.view(server).PID] = bytes
}

// numbered gives every instance of a backend a process id.
type numbered struct {
	backends.Backend
	last atomic.Int64
}

type numberedInstance struct {
	backends.Instance
	pid int
}

func (n *numbered) Start(ctx context.Context, spec backends.LaunchSpec) (backends.Instance, error) {
	in, err := n.Backend.Start(ctx, spec)
	if err != nil {
		return nil, err
	}
	return numberedInstance{in, int(n.last.Add(1))}, nil
}

func (n numberedInstance) PID() int { return n.pid }

func newMemorySystem(t *testing.T, budget int64, servers int) (*testSystem, *scale) {
	sc := &scale{}
	ts := newTestSystemWith(t, nil, func(o *Options) {
		o.Backends[supervisor.ModeSubprocess] = &numbered{Backend: o.Backends[supervisor.ModeSubprocess]}
		o.MemoryBudget, o.SampleMemory, o.Specs = budget, sc.sample, specs(servers)
	})
	return ts, sc
}

// tick lets one measurement pass.
func tick() {
	time.Sleep(MemoryInterval + time.Millisecond)
	synctest.Wait()
}

func TestMemoryIsMeasuredAndKept(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s, sc := newMemorySystem(t, 0, 2)
		s.mustEcho("s0")
		for i := range MaxMemoryPoints + 3 {
			sc.weigh(s, "s0", int64(1000+i))
			s.mustEcho("s0") // not idle
			tick()
		}
		last := int64(1000 + MaxMemoryPoints + 2)
		if got := s.view("s0").MemoryBytes(); got != last {
			t.Errorf("s0 has %d bytes, want %d", got, last)
		}
		if got := s.Memory(); got.Bytes != last || got.Under || got.SampledAt.IsZero() {
			t.Errorf("all servers: %+v", got)
		}
		epoch, curve := s.MemoryCurve("s0")
		if epoch != 1 || len(curve) != MaxMemoryPoints || curve[0].Bytes != 1003 || curve[MaxMemoryPoints-1].Bytes != last {
			t.Errorf("curve of epoch %d: %v", epoch, curve)
		}
		if !slices.IsSortedFunc(curve, func(a, b MemoryPoint) int { return a.At.Compare(b.At) }) {
			t.Error("the curve is not in order")
		}
		if epoch, curve := s.MemoryCurve("s1"); epoch != 0 || curve != nil {
			t.Errorf("a server that never ran has a curve: %d, %v", epoch, curve)
		}
		// After a crash the curve is still that of the instance that ended.
		s.backend.Last("s0").Crash(1)
		synctest.Wait()
		if epoch, curve := s.MemoryCurve("s0"); epoch != 1 || len(curve) != MaxMemoryPoints {
			t.Errorf("after the crash: epoch %d, %d points", epoch, len(curve))
		}
		sc.weigh(s, "s0", 7)
		tick()
		if epoch, curve := s.MemoryCurve("s0"); epoch != 2 || len(curve) != 1 || curve[0].Bytes != 7 {
			t.Errorf("the next instance: epoch %d, %v", epoch, curve)
		}
	})
}

func TestIdleServersAreStoppedOverTheMemoryBudget(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s, sc := newMemorySystem(t, 100, 4)
		for i := range 4 {
			s.mustEcho(fmt.Sprint("s", i))
			sc.weigh(s, fmt.Sprint("s", i), 30)
			time.Sleep(time.Millisecond) // an order of use
		}
		held := s.begin(callOf{server: "s0", tool: "sleep", args: `{"ms":600000}`, timeout: time.Hour})
		for range 4 {
			tick()
		}
		// 120 of 100: s1 is the least recently used without a call; then 90 are left.
		s.wantState("s0", supervisor.Ready, supervisor.PhaseNone)
		s.wantState("s1", supervisor.Cold, supervisor.PhaseNone)
		s.wantState("s2", supervisor.Ready, supervisor.PhaseNone)
		s.wantState("s3", supervisor.Ready, supervisor.PhaseNone)
		if m := s.Memory(); m.Under || m.Bytes != 90 {
			t.Errorf("after the stop: %+v", m)
		}
		var stops, pressures []logged
		for _, e := range s.events("s1") {
			if e.kind == supervisor.ServerStopped {
				stops = append(stops, e)
			}
		}
		for _, e := range s.events("") {
			if e.kind == supervisor.MemoryPressured {
				pressures = append(pressures, e)
			}
		}
		if len(stops) != 1 || stops[0].data["reason"] != "memory_budget" {
			t.Errorf("stops of s1: %v", stops)
		}
		if len(pressures) != 3 || pressures[0].data["starts_held"] != true || fmt.Sprint(pressures[1].data["victims"]) != "[s1]" ||
			pressures[1].data["bytes"] != 120.0 || pressures[1].data["budget_bytes"] != 100.0 || pressures[2].data["under_pressure"] != false {
			t.Errorf("pressure events: %v", pressures)
		}
		s.mustEcho("s1") // a call starts it again
		if held.isDone() {
			t.Errorf("the call in flight ended: %v", held.err)
		}
	})
}

func TestServerUsedMeanwhileIsNotReclaimed(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s, _ := newMemorySystem(t, 0, 1)
		s.mustEcho("s0")
		c := s.fleet.Load().byID["s0"]
		decided := c.sys.at(&c.usedAt)
		time.Sleep(time.Millisecond)
		s.mustEcho("s0")
		s.tell(c.pid, reclaimServer{1, decided})
		s.wantState("s0", supervisor.Ready, supervisor.PhaseNone)
		now := c.sys.at(&c.usedAt)
		s.tell(c.pid, reclaimServer{2, now})
		s.wantState("s0", supervisor.Ready, supervisor.PhaseNone)
		s.tell(c.pid, reclaimServer{1, now})
		synctest.Wait()
		time.Sleep(10 * time.Second)
		s.wantState("s0", supervisor.Cold, supervisor.PhaseNone)
	})
}

func TestStartsAreHeldOverTheBudgetAndNoneWaitsForEver(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s, sc := newMemorySystem(t, 100, 5)
		busy := s.begin(callOf{server: "s0", tool: "sleep", args: `{"ms":60000}`, timeout: time.Hour})
		synctest.Wait()
		sc.weigh(s, "s0", 200)
		tick()
		if m := s.Memory(); !m.Held || !m.Under {
			t.Fatalf("over the budget, all busy: %+v, want starts held", m)
		}
		var calls []*pending
		for i := 1; i < 5; i++ {
			calls = append(calls, s.begin(callOf{server: fmt.Sprint("s", i), tool: "sleep", args: `{"ms":3600000}`, timeout: 2 * time.Hour}))
		}
		started := func() (n int) {
			for _, v := range s.Views()[1:] {
				if v.State == supervisor.Ready {
					n++
				}
			}
			return n
		}
		synctest.Wait()
		if n := started(); n > 1 {
			t.Fatalf("%d servers started at once, want at most one", n)
		}
		tick()
		if n := started(); n < 1 || n > 2 {
			t.Fatalf("%d servers started within two samples, want one for each", n)
		}
		if err := busy.wait(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(supervisor.MemoryIdle) // then s0 can be stopped
		tick()
		tick()
		tick()
		s.wantState("s0", supervisor.Cold, supervisor.PhaseNone)
		if n := started(); n != 4 || s.Memory().Held {
			t.Errorf("%d servers run when there is memory again, want 4; %+v", n, s.Memory())
		}
		for i, c := range calls {
			ref, _ := s.Ref(fmt.Appendf(nil, "s%d", i+1))
			ref.Cancel(c.call.ID, context.Canceled)
			c.wait()
		}
	})
}

func TestBrokenSamplerHarmsNobody(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s, sc := newMemorySystem(t, 100, 1)
		s.mustEcho("s0")
		sc.breaks(true)
		tick()
		sc.breaks(false)
		sc.weigh(s, "s0", 50)
		tick()
		if got := s.view("s0").MemoryBytes(); got != 50 {
			t.Errorf("after a failure %d bytes are measured, want 50", got)
		}
	})
}

func TestNearTheBudgetIsMeasuredExactly(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s, sc := newMemorySystem(t, 100, 1)
		s.mustEcho("s0")
		for _, c := range []struct {
			bytes int64
			next  bool
		}{{10, false}, {85, true}, {10, false}, {101, true}} {
			sc.weigh(s, "s0", c.bytes)
			s.mustEcho("s0")
			tick()
			s.mustEcho("s0")
			tick()
			if exact := sc.wasExact(); exact != c.next {
				t.Errorf("after %d of 100 bytes the next sample is exact: %t, want %t", c.bytes, exact, c.next)
			}
		}
	})
}

// What servers share counts once: a budget that holds all of them stops none.
func TestSharedPagesMakeNoPressure(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s, sc := newMemorySystem(t, 100, 2)
		sc.mu.Lock()
		sc.shared = true
		sc.mu.Unlock()
		for _, id := range []string{"s0", "s1"} {
			s.mustEcho(id)
			sc.weigh(s, id, 30)
		}
		for range 6 { // beyond MemoryIdle
			tick()
			if m := s.Memory(); m.Under || m.Held || m.Bytes != 60 {
				t.Errorf("%+v", m)
			}
		}
		s.wantState("s0", supervisor.Ready, supervisor.PhaseNone)
		s.wantState("s1", supervisor.Ready, supervisor.PhaseNone)
	})
}

// A clock that is set back must not make a hung server look alive, nor one that
// is set forward make a busy one idle.
func TestUseIsMeasuredByTheMonotonicClock(t *testing.T) {
	sys := realSystem(t, stubSpec("a")) // a bubble has no monotonic clock
	if _, err := callTool(t, sys, "a", "echo", `{"text":"x"}`); err != nil {
		t.Fatal(err)
	}
	ref, _ := sys.Ref([]byte("a"))
	for what, at := range map[string]time.Time{"use": sys.at(&ref.cell.usedAt), "answer": sys.at(&ref.cell.repliedAt)} {
		if wall := at.Round(0); at.IsZero() || at == wall {
			t.Errorf("the last %s, %s, has no monotonic reading", what, at)
		}
	}
}

func TestMemoryBudgetIsChangedInPlace(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s, sc := newMemorySystem(t, 0, 2)
		for i := range 2 {
			s.mustEcho(fmt.Sprint("s", i))
			sc.weigh(s, fmt.Sprint("s", i), 60)
		}
		for range 4 {
			tick()
		}
		if m := s.Memory(); m.Bytes != 120 || m.Under || m.Budget != 0 {
			t.Errorf("without a budget: %+v", m)
		}
		s.LimitMemory(100)
		synctest.Wait()
		if m := s.Memory(); m.Budget != 100 || m.Bytes != 120 {
			t.Errorf("told at once: %+v", m)
		}
		for range 4 {
			tick()
		}
		if m := s.Memory(); m.Bytes != 60 || m.Under {
			t.Errorf("with a budget of 100: %+v", m)
		}
	})
}
