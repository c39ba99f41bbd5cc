package supervisor

import (
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
	starts, refused := false, false
	for _, e := range effects {
		switch e.(type) {
		case StartInstance:
			starts = true
		case FailWaiting:
			refused = true
		}
	}
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
