package actors

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aabb9013/hangar/backends/fake"
	"github.com/aabb9013/hangar/supervisor"
)

// TestDependenciesInChaos plays crashes, failing starts, stops, starts, resets
// and calls over servers that depend on each other. Nothing may hang: every
// call and every wish is answered, and in the end everything can be started.
func TestDependenciesInChaos(t *testing.T) {
	for seed := range uint64(15) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			bubble(t, func(t *testing.T) { chaos(t, rand.New(rand.NewPCG(seed, 3))) })
		})
	}
}

func chaos(t *testing.T, random *rand.Rand) {
	pick := func(n int) int { return random.IntN(n) }
	edits := func(s *supervisor.ServerSpec) {
		s.Strategy = []supervisor.RestartStrategy{supervisor.OneForOne, supervisor.RestForOne, supervisor.AllForOne}[pick(3)]
		s.Restart = []supervisor.Restart{supervisor.Permanent, supervisor.Transient, supervisor.Transient, supervisor.Temporary}[pick(4)]
		s.MaxRestarts = 1 + pick(4)
	}
	calm := new(atomic.Bool)
	seeds := rand.New(rand.NewPCG(random.Uint64(), 5)) // of the backend, which asks from goroutines
	odds := make([]int, 1000)
	for i := range odds {
		odds[i] = seeds.IntN(10)
	}
	s, _ := newLives(t, func(server string, epoch uint64) fake.Script {
		sc := fake.Script{StartDelay: 50 * time.Millisecond, StopDelay: 20 * time.Millisecond}
		if odd := odds[(int(epoch)*31+len(server)*7+int(server[0]))%len(odds)]; !calm.Load() && odd == 0 {
			sc.StartErr = errors.New("not now")
		} else if !calm.Load() && odd == 1 {
			sc.RunFor, sc.ExitCode = time.Second, 1
		}
		return sc
	}, shop(edits)...)
	views := s.Views()
	var calls []*pending
	for range 120 {
		id := views[pick(len(views))].Spec.ID
		switch pick(8) {
		case 0, 1:
			if in := s.backend.Last(id); in != nil {
				in.Crash(pick(2))
			}
		case 2:
			go func() { _ = s.Stop(context.Background(), id, "test") }()
		case 3:
			go func() { _, _ = s.Start(context.Background(), id) }()
		case 4:
			go func() { _, _ = s.Reset(context.Background(), id) }()
		case 5:
			go func() { _, _ = s.StopWithDependents(context.Background(), id, "test") }()
		default:
			calls = append(calls, s.begin(callOf{server: id, tool: "echo", timeout: time.Hour}))
		}
		time.Sleep(time.Duration(pick(400)) * time.Millisecond)
	}
	time.Sleep(10 * time.Minute)
	synctest.Wait()
	for _, p := range calls {
		if !p.isDone() {
			t.Fatalf("a call of %s still waits: %+v", p.call.Tool, s.Views())
		}
	}
	calm.Store(true)
	for _, v := range views {
		_, _ = s.Reset(t.Context(), v.Spec.ID)
	}
	for _, v := range views {
		began := time.Now()
		if _, err := s.Start(t.Context(), v.Spec.ID); err != nil || time.Since(began) > time.Minute {
			t.Errorf("%s: %v after %v", v.Spec.ID, err, time.Since(began))
		}
	}
	for _, v := range views {
		if n := s.backend.MaxLiveOf(v.Spec.ID); n > 1 {
			t.Errorf("%s had %d instances at one time", v.Spec.ID, n)
		}
		s.wantState(v.Spec.ID, supervisor.Ready, supervisor.PhaseNone)
	}
}
