package supervisor

import "testing"

// TestConditionIsWhatGroupsMayDo follows one server through its ends: the group
// may wake what is idle, revives what failed and leaves alone what somebody stopped.
func TestConditionIsWhatGroupsMayDo(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		do   func(w *world)
		want Condition
	}{
		{"never started", func(*world) {}, ConditionCold},
		{"starting", func(w *world) { w.call() }, ConditionStarting},
		{"ready", func(w *world) { w.call().started() }, ConditionReady},
		{"idle", func(w *world) { w.call().started().stop(reasonIdle) }, ConditionIdle},
		{"stopped for memory", func(w *world) { w.call().started().stop(ReasonMemory) }, ConditionIdle},
		{"ended by itself", func(w *world) { w.call().started().step(Exited{Epoch: w.m.Epoch, Normal: true}) }, ConditionIdle},
		{"stopped for a new spec", func(w *world) { w.call().started().stop(ReasonReload) }, ConditionIdle},
		{"new spec after a failed start", func(w *world) { w.call().startFailed(FailPermanent).stop(ReasonReload) }, ConditionIdle},
		{"stopped by a person", func(w *world) { w.call().started().stop("user_request") }, ConditionStopped},
		{"stopped by a person without a word", func(w *world) { w.call().started().stop("") }, ConditionStopped},
		{"stopped by a person after a failed start", func(w *world) { w.call().startFailed(FailPermanent).stop("user_request") }, ConditionStopped},
		{"stopped with its dependency", func(w *world) { w.call().started().stop(ReasonDependencyStopped) }, ConditionStopped},
		{"its dependency gave up", func(w *world) { w.call().started().stop(ReasonDependencyGaveUp) }, ConditionFailed},
		{"not started again after its dependency's crash", func(w *world) { w.call().started().stop(ReasonDependencyRestart) }, ConditionFailed},
		{"failed to start", func(w *world) { w.call().startFailed(FailPermanent) }, ConditionFailed},
		{"crashed", func(w *world) { w.call().started().crash() }, ConditionFailed},
		{"reset after a failure", func(w *world) { w.call().startFailed(FailPermanent).step(ResetWanted{}) }, ConditionIdle},
	} {
		w := newWorld(t, testPolicy())
		c.do(w)
		if w.m.Phase == PhaseStopping {
			if w.is != c.want {
				t.Errorf("%s, while it stops: %d, want %d", c.name, w.is, c.want)
			}
			w.step(Exited{Epoch: w.m.Epoch, Normal: true})
		}
		if w.is != c.want {
			t.Errorf("%s: %d, want %d", c.name, w.is, c.want)
		}
	}
}

// TestGroupRestartIsNoFailureOfItsDependents: they stop and start again for the
// crash of another.
func TestGroupRestartIsNoFailureOfItsDependents(t *testing.T) {
	t.Parallel()
	w := newWorld(t, testPolicy()).call().started()
	w.step(StopWanted{Reason: ReasonDependencyRestart, Then: CauseCall})
	if w.is != ConditionStopped {
		t.Errorf("while it stops: %d", w.is)
	}
	w.step(Exited{Epoch: w.m.Epoch, Normal: true})
	if w.is != ConditionStarting {
		t.Errorf("then: %d", w.is)
	}
}

// TestReplacedInstanceSaysNothingOfItsServer: the end of the old instance may be
// told when the new one is gone, too.
func TestReplacedInstanceSaysNothingOfItsServer(t *testing.T) {
	t.Parallel()
	e := Event{Kind: ServerStopped, Data: map[string]any{"reason": ReasonReplaced}}
	if rest := RestAfter(e, ConditionIdle); rest != ConditionIdle {
		t.Errorf("got %d", rest)
	}
}
