package actors

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aabb9013/hangar/persistence"
	"github.com/aabb9013/hangar/supervisor"
)

func TestProbePaceSpacesAndForgets(t *testing.T) {
	var p probePace
	const space = time.Second / MaxProbesPerSecond
	for i := range 10 {
		if got := p.wait(time.Hour); got != time.Duration(i)*space {
			t.Errorf("probe %d waits %v", i, got)
		}
	}
	if got := p.wait(time.Hour + 5*space); got != 5*space {
		t.Errorf("a moment later it waits %v", got)
	}
	for range 2 { // what was not used is not saved up
		if got := p.wait(2 * time.Hour); got > space {
			t.Errorf("after a quiet hour it waits %v", got)
		}
	}
}

// Servers that were started together and are quiet are probed apart from each
// other, at most so many in a second, and none is left out.
func TestProbesOfAFleetAreSpread(t *testing.T) {
	bubble(t, func(t *testing.T) {
		const n, interval = 3 * MaxProbesPerSecond, supervisor.MinHealthCheckInterval
		store := persistence.NewMemory()
		all := specs(n)
		for i := range all {
			all[i].HealthCheckInterval = interval
		}
		s := newTestSystemWith(t, nil, func(o *Options) { o.Specs, o.Store, o.MaxParallelStarts = all, store, n })
		var calls []*pending
		for i := range n {
			calls = append(calls, s.begin(callOf{server: fmt.Sprint("s", i), tool: "echo", args: `{"text":"x"}`}))
		}
		for _, p := range calls {
			if err := p.wait(); err != nil {
				t.Fatal(err)
			}
		}
		// Twice: the first probe finds the call that started the server. All are
		// due within a fifth of an interval, and wait three seconds at most.
		time.Sleep(3*interval + 3*time.Second)
		synctest.Wait()
		var checks []time.Time
		for i := range n {
			v := s.view(fmt.Sprint("s", i))
			if len(v.Checks) == 0 {
				t.Fatalf("server %s was never probed", v.Spec.ID)
			}
			for _, c := range v.Checks {
				if !c.OK || c.Duration != 0 {
					t.Errorf("server %s: %+v", v.Spec.ID, c)
				}
				checks = append(checks, c.At)
			}
		}
		slices.SortFunc(checks, time.Time.Compare)
		for i := MaxProbesPerSecond; i < len(checks); i++ {
			if d := checks[i].Sub(checks[i-MaxProbesPerSecond]); d < time.Second {
				t.Fatalf("%d probes in %v", MaxProbesPerSecond+1, d)
			}
		}
	})
}
