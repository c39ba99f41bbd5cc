package actors

import (
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aabb9013/hangar/backends"
	"github.com/aabb9013/hangar/backends/fake"
	"github.com/aabb9013/hangar/supervisor"
)

// shortOf is a script whose starts fail for want of processes while short is set.
func shortOf(short *atomic.Bool) script {
	return func(server string, _ uint64) fake.Script {
		if short.Load() {
			return fake.Script{StartErr: fmt.Errorf("%w: fork/exec: %w", backends.ErrResource, syscall.EAGAIN)}
		}
		return fake.Script{}
	}
}

// A want of processes or descriptors is nobody's fault: it costs no restart, is
// tried again by itself until it ends, and hurts nobody who runs.
func TestShortageBurnsNoRestarts(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var short atomic.Bool
		const n = 30
		s := newTestSystem(t, shortOf(&short), append(specs(n, jittered), spec("runs", func(s *supervisor.ServerSpec) { s.IdleTTL = time.Hour }))...)
		for i := range n {
			s.mustEcho(fmt.Sprint("s", i))
		}
		s.mustEcho("runs")
		short.Store(true)
		for i := range n {
			s.backend.Last(fmt.Sprint("s", i)).Crash(1)
		}
		starts := s.backend.Starts()
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		if tried := s.backend.Starts() - starts; tried < 5*n {
			t.Errorf("%d tries of %d servers in five minutes", tried, n)
		}
		dates := make(map[time.Time]bool)
		for i := range n {
			id := fmt.Sprint("s", i)
			s.wantState(id, supervisor.Dead, supervisor.PhaseBackoff)
			v := s.view(id)
			dates[v.NextRetryAt] = true
			if v.Restarts != 0 || v.Failures != 1 {
				t.Errorf("%s: %d restarts and %d failures counted, want none but the crash", id, v.Restarts, v.Failures)
			}
			if failed := s.count(id, supervisor.ServerStartFailed); failed < 2 || s.count(id, supervisor.ServerGaveUp) != 0 {
				t.Errorf("%s: %d failed starts, or it gave up", id, failed)
			}
			if all := s.dossiers(id); len(all) != 2 || all[0].Decision.Action != supervisor.DecisionBackoff || all[1].Kind != supervisor.DossierCrash {
				t.Errorf("%s has %d dossiers, want the crash and one of the shortage", id, len(all))
			}
		}
		if len(dates) < n/2 {
			t.Errorf("%d servers retry at %d different times, want jitter", n, len(dates))
		}
		s.mustEcho("runs")
		waits := s.begin(callOf{server: "s0", tool: "echo", args: `{"text":"x"}`, timeout: time.Hour})
		short.Store(false)
		if err := waits.wait(); err != nil {
			t.Errorf("a call that waited for the end of the shortage: %v", err)
		}
		time.Sleep(2 * supervisor.DefaultBackoffMax)
		for i := range n {
			s.wantState(fmt.Sprint("s", i), supervisor.Ready, supervisor.PhaseNone)
		}
		s.wantIdleStarts()
	})
}

// A start for a call is answered at once, and the next call tries again: nothing
// of the shortage stands in its way.
func TestShortageIsToldToTheCaller(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var short atomic.Bool
		short.Store(true)
		s := newTestSystem(t, shortOf(&short), spec("a"))
		for range 2 * supervisor.DefaultMaxFailures {
			err := s.echo("a")
			var failed *supervisor.StartFailedError
			if !errors.As(err, &failed) || !strings.Contains(failed.Reason, backends.ErrResource.Error()) {
				t.Fatalf("got %v, want a failed start that says why", err)
			}
		}
		s.wantState("a", supervisor.Dead, supervisor.PhaseNone)
		short.Store(false)
		s.mustEcho("a")
		if v := s.view("a"); v.Failures != 0 || v.Restarts != 0 {
			t.Errorf("%d failures, %d restarts counted", v.Failures, v.Restarts)
		}
	})
}
