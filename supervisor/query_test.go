package supervisor

import (
	"slices"
	"testing"
	"time"
)

// TestQueriesForecastACall: what CanStart and AcceptsCall say is what a
// StartWanted for a call then does, everywhere.
func TestQueriesForecastACall(t *testing.T) {
	t.Parallel()
	for _, at := range situations {
		w := newWorld(t, testPolicy())
		at.reach(w)
		checkForecast(t, at.name, w.m, w.now)
	}
}

func checkForecast(t testing.TB, name string, m Machine, now time.Time) {
	t.Helper()
	_, effects := m.Step(StartWanted{Cause: CauseCall}, Env{Now: now, Jitter: noJitter})
	starts := slices.ContainsFunc(effects, func(e Effect) bool { _, ok := e.(StartInstance); return ok })
	refused := slices.ContainsFunc(effects, func(e Effect) bool { _, ok := e.(FailWaiting); return ok })
	if got := m.CanStart(now); got != starts {
		t.Errorf("%s: CanStart = %t, but a call gives %s", name, got, renderEffects(effects))
	}
	if got := m.AcceptsCall(now); got == refused {
		t.Errorf("%s: AcceptsCall = %t, but a call gives %s", name, got, renderEffects(effects))
	}
	if m.RetryIn(now) < 0 {
		t.Errorf("%s: RetryIn = %v, want no negative time", name, m.RetryIn(now))
	}
}

func TestAtRestMeansThatNothingIsArmed(t *testing.T) {
	t.Parallel()
	for _, at := range situations {
		w := newWorld(t, testPolicy())
		at.reach(w)
		if !w.m.AtRest() {
			continue
		}
		for kind := range TimerKinds {
			if w.m.Armed(kind) {
				t.Errorf("%s: at rest with timer %v armed", at.name, kind)
			}
		}
	}
}
