package supervisor

import (
	"fmt"
	"testing"
)

// R06: OTP's table for one server: restart type × how its instance ended. The
// outcome is the situation right after the end.
func TestR06RestartTypes(t *testing.T) {
	t.Parallel()
	ends := []struct {
		name string
		play func(w *world)
		want map[Restart]string
	}{
		{"normal exit", func(w *world) { w.call().started().step(Exited{Epoch: w.m.Epoch, Normal: true}) }, map[Restart]string{
			Permanent: "restarted", Transient: "cold", Temporary: "cold",
		}},
		{"crash", func(w *world) { w.call().started().crash() }, map[Restart]string{
			Permanent: "restarted", Transient: "restarted", Temporary: "dead",
		}},
		{"unresponsive", func(w *world) { w.call().started().probeFailed().probeFailed().probeFailed().crash() }, map[Restart]string{
			Permanent: "restarted", Transient: "restarted", Temporary: "dead",
		}},
		{"init failure of a call's start", func(w *world) { w.call().startFailed(FailTransient) }, map[Restart]string{
			Permanent: "backoff", Transient: "dead", Temporary: "dead",
		}},
		{"init failure of a restart", func(w *world) { w.call().started().crash().startFailed(FailTransient) }, map[Restart]string{
			Permanent: "backoff", Transient: "backoff", Temporary: "dead",
		}},
		{"permanent init failure of a call's start", func(w *world) { w.call().startFailed(FailPermanent) }, map[Restart]string{
			Permanent: "dead", Transient: "dead", Temporary: "dead",
		}},
		{"permanent init failure of a restart", func(w *world) { w.call().started().crash().startFailed(FailPermanent) }, map[Restart]string{
			Permanent: "dead", Transient: "dead", Temporary: "dead",
		}},
		{"permanent init failure after a retry", func(w *world) {
			w.call().started().crash().startFailed(FailTransient)
			if w.m.Armed(TimerRetry) {
				w.fire(TimerRetry).startFailed(FailPermanent)
			}
		}, map[Restart]string{
			Permanent: "dead", Transient: "dead", Temporary: "dead",
		}},
		{"init failure for a dependency", func(w *world) { w.call().started().crash().startFailed(FailDependency) }, map[Restart]string{
			Permanent: "dead", Transient: "dead", Temporary: "dead",
		}},
		{"a stop that ends in a crash", func(w *world) { w.call().started().stop("test").crash() }, map[Restart]string{
			Permanent: "cold", Transient: "cold", Temporary: "cold",
		}},
		{"a stop that ends in a failed start", func(w *world) { w.call().stop("test").startFailed(FailTransient) }, map[Restart]string{
			Permanent: "cold", Transient: "cold", Temporary: "cold",
		}},
		{"a stop for another's restart", func(w *world) {
			w.call().started().step(StopWanted{Reason: "other", Then: CauseCall}).crash()
		}, map[Restart]string{
			Permanent: "started", Transient: "started", Temporary: "started",
		}},
	}
	for _, end := range ends {
		for restart, want := range end.want {
			p := testPolicy()
			p.Restart = restart
			w := newWorld(t, p)
			end.play(w)
			if got := w.outcome(); got != want {
				t.Errorf("%s, %s: %s, want %s (%s)", restart, end.name, got, want, render(w.m, w.now))
			}
		}
	}
}

// outcome: a restart counts, a start does not.
func (w *world) outcome() string {
	switch {
	case w.m.State == Initializing && w.m.Recovering:
		return "restarted"
	case w.m.State == Initializing && len(w.m.Restarts) == 0:
		return "started"
	case w.m.Phase != PhaseNone:
		return w.m.Phase.String()
	}
	return fmt.Sprint(w.m.State)
}

// TestOperatorBurnsNoAttempt: neither his start nor his reset counts, and both
// give the whole budget back; want of resources and of a dependency costs none.
func TestOperatorBurnsNoAttempt(t *testing.T) {
	t.Parallel()
	for name, play := range map[string]func(w *world){
		"start": func(w *world) { w.operator() },
		"reset": func(w *world) { w.step(ResetWanted{}) },
	} {
		w := newWorld(t, testPolicy()).gaveUp()
		if play(w); w.m.BudgetUsed(w.now) != 0 || w.m.Failures != 0 || w.m.Streak != 0 {
			t.Errorf("%s: %s", name, render(w.m, w.now))
		}
	}
	for _, class := range []FailureClass{FailResource, FailDependency} {
		w := newWorld(t, testPolicy()).call().started().crash().startFailed(class)
		if w.m.BudgetUsed(w.now) != 0 || w.m.Failures != 1 {
			t.Errorf("%v: %s", class, render(w.m, w.now))
		}
	}
}
