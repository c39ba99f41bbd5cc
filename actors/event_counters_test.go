package actors

import (
	"context"
	"maps"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aabb9013/hangar/backends/fake"
	"github.com/aabb9013/hangar/supervisor"
)

// TestEventsAreCounted: what the log tells of a server and what its counters
// tell are the same.
func TestEventsAreCounted(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newTestSystem(t, nil, spec("a", func(s *supervisor.ServerSpec) {
			s.HealthCheckInterval, s.IdleTTL = 5*time.Second, time.Hour
		}))
		s.mustEcho("a")
		s.awaitChecks("a", 1)
		s.backend.Last("a").Crash(1)
		synctest.Wait()
		s.mustEcho("a")
		s.backend.Last("a").Freeze()
		s.awaitChecks("a", 2)
		if n := s.view("a").ProbeMisses; n != 1 {
			t.Errorf("%d misses", n)
		}
		time.Sleep(time.Minute) // it is degraded, killed and started again
		if err := s.Stop(context.Background(), "a", "a wish"); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		seen := map[supervisor.EventKind]uint64{}
		for _, e := range s.events("a") {
			seen[e.kind]++
		}
		v := s.view("a")
		got := map[supervisor.EventKind]uint64{
			supervisor.ServerStarted: v.Events.Started.Load(), supervisor.ServerCrashed: v.Events.Crashed.Load(),
			supervisor.HealthCheckPassed: v.Events.ChecksPassed.Load(), supervisor.HealthCheckFailed: v.Events.ChecksFailed.Load(),
		}
		for kind, n := range got {
			if n == 0 || n != seen[kind] {
				t.Errorf("%s: counted %d, in the log %d", kind, n, seen[kind])
			}
		}
		if n := v.Events.Restarted.Load(); n != seen[supervisor.ServerCrashed] {
			t.Errorf("%d restarts after %d crashes", n, seen[supervisor.ServerCrashed])
		}
		if stops := maps.Collect(v.Events.Stops); stops["requested"] != 1 {
			t.Errorf("stops: %v", stops)
		}
		if at := v.Events.StateChanged.Load(); at != time.Now().UnixNano() {
			t.Errorf("the last change was at %d, not now", at)
		}
		if v.ProbeMisses != 0 {
			t.Errorf("%d misses of a stopped server", v.ProbeMisses)
		}
	})
}

// TestStartsThatWaitAreCounted: one attempt runs, the others wait.
func TestStartsThatWaitAreCounted(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newTestSystemWith(t, always(fake.Script{StartDelay: time.Second}), func(o *Options) { o.Specs, o.MaxParallelStarts = specs(5), 1 })
		var calls []*pending
		for _, v := range s.Views() {
			calls = append(calls, s.begin(callOf{server: v.Spec.ID, tool: "echo"}))
		}
		synctest.Wait()
		if running, waiting := s.Starting(), s.StartsWaiting(); running != 1 || waiting != 4 {
			t.Errorf("%d run, %d wait", running, waiting)
		}
		for _, c := range calls {
			wantNil(t, c.wait())
		}
		synctest.Wait()
		if running, waiting := s.Starting(), s.StartsWaiting(); running != 0 || waiting != 0 {
			t.Errorf("afterwards %d run, %d wait", running, waiting)
		}
	})
}
