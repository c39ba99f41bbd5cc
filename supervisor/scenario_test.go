package supervisor

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func (w *world) wantSituation(want string) {
	w.t.Helper()
	if got := render(w.m, w.now); got != want {
		w.t.Errorf("situation = %q, want %q", got, want)
	}
}

func (w *world) wantEffects(want string) {
	w.t.Helper()
	if got := renderEffects(w.effects); got != want {
		w.t.Errorf("effects = %q, want %q", got, want)
	}
}

func (w *world) count(kind EventKind) int {
	n := 0
	for _, e := range w.events {
		if e.Kind == kind {
			n++
		}
	}
	return n
}

func TestGivesUpAfterExactlyMaxRestarts(t *testing.T) {
	t.Parallel()
	for _, limit := range []int{0, 1, 2, 5, 20} {
		p := testPolicy()
		p.MaxRestarts = limit
		p.BackoffMax = time.Second // all of them inside the period
		w := newWorld(t, p).gaveUp()
		if got, want := w.starts, 1+limit; got != want {
			t.Errorf("MaxRestarts %d: %d starts, want %d", limit, got, want)
		}
		if got := w.count(ServerGaveUp); got != 1 {
			t.Errorf("MaxRestarts %d: McpServerGaveUp came %d times, want once", limit, got)
		}
		if got := w.m.BudgetUsed(w.now); got != limit {
			t.Errorf("MaxRestarts %d: BudgetUsed = %d", limit, got)
		}
	}
}

func TestRestartWindowSlides(t *testing.T) {
	t.Parallel()
	p := testPolicy()
	p.MaxRestarts, p.StableAfter = 2, time.Second
	w := newWorld(t, p)
	w.call().started()
	// One crash every 31 s never fills a window of two in 60 s.
	for range 50 {
		w.wait(31 * time.Second).step(TimerFired{Kind: TimerStable, Seq: w.m.Timers[TimerStable]})
		w.crash()
		if w.m.Phase == PhaseGaveUp {
			t.Fatalf("gave up with %d restarts in the window", w.m.BudgetUsed(w.now))
		}
		w.started()
	}
	// One more right after the last is the third in 60 s.
	w.crash()
	w.wantSituation("dead/gave_up failures=2 streak=1 restarts=2")
	if got := w.count(ServerGaveUp); got != 1 {
		t.Errorf("McpServerGaveUp came %d times, want once", got)
	}
}

func TestCallAfterGivingUpWaitsForTheWindow(t *testing.T) {
	t.Parallel()
	w := newWorld(t, testPolicy()).gaveUp()
	wait := w.m.RetryIn(w.now)
	w.wait(wait - 1).call()
	w.wantEffects(`fail "gave up: too many restarts" gave-up retry=1ns`)
	if w.m.CanStart(w.now) || w.m.AcceptsCall(w.now) {
		t.Error("CanStart or AcceptsCall is true while a call is refused")
	}
	w.wait(1).call()
	w.wantEffects("dead->initializing; start #7")
	// It crashes again: the streak and its delays go on where they were, and
	// the one restart that left the window is the one that is allowed.
	w.started().crash()
	w.wantSituation("dead/backoff recovering failures=7 streak=6 restarts=5 next=1.6s")
}

func TestOperatorStartForgetsEverything(t *testing.T) {
	t.Parallel()
	w := newWorld(t, testPolicy()).gaveUp().operator()
	w.wantEffects("dead->initializing; start #7")
	w.wantSituation("initializing live")
	for restart := range DefaultMaxRestarts {
		w.started().crash()
		if w.m.Phase == PhaseGaveUp {
			t.Fatalf("gave up at restart %d after an operator's start", restart+1)
		}
		if restart > 0 {
			w.fire(TimerRetry)
		}
	}
}

func TestCrashLoopBacksOffAndGivesUp(t *testing.T) {
	t.Parallel()
	w := newWorld(t, testPolicy())
	w.call()
	var delays []time.Duration
	for w.started(); ; w.started() {
		w.crash()
		if w.m.Phase == PhaseGaveUp {
			break
		}
		delays = append(delays, w.m.RetryIn(w.now))
		if w.m.Phase == PhaseBackoff {
			w.fire(TimerRetry)
		}
	}
	want := []time.Duration{0, 100 * time.Millisecond, 200 * time.Millisecond, 400 * time.Millisecond, 800 * time.Millisecond}
	if diff := cmp.Diff(want, delays); diff != "" {
		t.Errorf("delays of a crash loop (-want +got):\n%s", diff)
	}
	if w.starts > 6 {
		t.Errorf("%d starts in a crash loop of a minute, want at most 6", w.starts)
	}
}

func TestStreakEndsWhenStable(t *testing.T) {
	t.Parallel()
	w := newWorld(t, testPolicy())
	w.call().started().crash().started().crash().fire(TimerRetry).started()
	w.fire(TimerStable).crash()
	w.wantSituation("initializing live recovering failures=1 streak=1 restarts=1")
}

func TestStreakGoesOnBeforeStable(t *testing.T) {
	t.Parallel()
	w := newWorld(t, testPolicy())
	w.call().started().crash().started().wait(DefaultStableAfter - 1).crash()
	w.wantSituation("dead/backoff recovering failures=2 streak=2 restarts=1 next=100ms")
}

func TestFailedStartOfACallRests(t *testing.T) {
	t.Parallel()
	for _, class := range []FailureClass{FailTransient, FailPermanent, FailResource} {
		for _, restart := range []Restart{Transient, Temporary} {
			p := testPolicy()
			p.Restart = restart
			w := newWorld(t, p).call().startFailed(class)
			if !w.m.AtRest() || w.m.State != Dead || w.m.Phase != PhaseNone {
				t.Errorf("%v, %v: %s, want dead and at rest", restart, class, render(w.m, w.now))
			}
		}
	}
}

func TestPermanentFailureNeverLoops(t *testing.T) {
	t.Parallel()
	for _, restart := range []Restart{Permanent, Transient, Temporary} {
		p := testPolicy()
		p.Restart = restart
		w := newWorld(t, p)
		for range 10 {
			w.call().startFailed(FailPermanent)
			if !w.m.AtRest() || w.m.State != Dead {
				t.Fatalf("%v: %s, want dead and at rest", restart, render(w.m, w.now))
			}
		}
		w.operator().started().crash()
		if restart != Temporary {
			w.startFailed(FailPermanent)
		}
		if !w.m.AtRest() {
			t.Errorf("%v: %s, want at rest after a permanent failure in a recovery", restart, render(w.m, w.now))
		}
	}
}

func TestResourceFailuresAreRetriedWithoutLimit(t *testing.T) {
	t.Parallel()
	w := newWorld(t, testPolicy())
	w.call().started().crash()
	var last time.Duration
	for range 50 {
		w.startFailed(FailResource)
		if w.m.State != Dead || w.m.Phase != PhaseBackoff || len(w.m.Restarts) != 0 || w.m.Failures != 1 {
			t.Fatalf("%s, want dead in backoff with nothing counted", render(w.m, w.now))
		}
		last = w.m.RetryIn(w.now)
		w.fire(TimerRetry)
	}
	if last != maxResourceDelay {
		t.Errorf("delay after 50 resource failures = %v, want %v", last, maxResourceDelay)
	}
	w.started().wantSituation("ready live failures=1 streak=51 restarts=1")
}

// What the node took it also gives back, however often and however long it
// takes; the first failure of the server itself counts again.
func TestLossIsRecoveredWithoutBudget(t *testing.T) {
	t.Parallel()
	w := newWorld(t, testPolicy()).call().started()
	for range 2 * testPolicy().MaxRestarts {
		w.lose().startFailed(FailResource)
		if w.m.Phase != PhaseBackoff || len(w.m.Restarts) != 0 || w.m.Failures != 0 {
			t.Fatalf("%s, want a retry with nothing counted", render(w.m, w.now))
		}
		w.fire(TimerRetry).startFailed(FailResource).fire(TimerRetry).started()
	}
	if len(w.m.Restarts) != 0 || w.m.Failures != 0 || w.m.Recovering {
		t.Errorf("%s", render(w.m, w.now))
	}
	w.lose().startFailed(FailTransient).fire(TimerRetry)
	if len(w.m.Restarts) != 1 || w.m.Failures != 1 || w.m.Lost {
		t.Errorf("%s, want one failure and one restart counted", render(w.m, w.now))
	}
}

func TestPermanentServerRetriesItsFirstStart(t *testing.T) {
	t.Parallel()
	p := testPolicy()
	p.Restart = Permanent
	w := newWorld(t, p).call().startFailed(FailTransient)
	w.wantSituation("dead/backoff recovering failures=1 streak=2 next=100ms")
	w.fire(TimerRetry).startFailed(FailTransient)
	w.wantSituation("dead/backoff recovering failures=2 streak=3 restarts=1 next=200ms")
	w.fire(TimerRetry).startFailed(FailTransient)
	w.wantSituation("degraded/backoff recovering failures=3 streak=4 restarts=2 next=400ms")
}

func TestHoldOffOfADegradedServerGrows(t *testing.T) {
	t.Parallel()
	w := newWorld(t, testPolicy())
	var holds []time.Duration
	for range 15 {
		w.call().startFailed(FailTransient)
		holds = append(holds, w.m.RetryIn(w.now))
		w.wait(w.m.RetryIn(w.now))
	}
	if !slices.IsSorted(holds) || holds[1] != 0 || holds[2] != 400*time.Millisecond || holds[14] != DefaultBackoffMax {
		t.Errorf("hold-offs = %v, want 0 below the limit, then 400ms growing to %v", holds, DefaultBackoffMax)
	}
}

func TestStopDuringStart(t *testing.T) {
	t.Parallel()
	w := newWorld(t, testPolicy()).call().stop("user_request")
	w.wantEffects(`stop #1 "user_request"`)
	w.stop("shutdown").wantEffects("-")
	w.started().wantEffects("-") // it was too late
	w.startFailed(FailTransient)
	w.wantEffects(`Stopped#1{reason=user_request}; initializing->cold; fail "stopped: user_request"`)
	w.wantSituation("cold")
}

func TestExitDuringStopIsNoCrash(t *testing.T) {
	t.Parallel()
	w := newWorld(t, testPolicy()).call().started().stop("user_request").crash()
	w.wantSituation("cold")
	if got := w.count(ServerCrashed); got != 0 {
		t.Errorf("McpServerCrashed came %d times, want never", got)
	}
}

func TestStopDuringBackoffCancelsTheRetry(t *testing.T) {
	t.Parallel()
	w := newWorld(t, testPolicy()).call().started().crash().started().crash()
	retry := TimerFired{Kind: TimerRetry, Seq: w.m.Timers[TimerRetry]}
	w.stop("user_request").wantSituation("cold restarts=1")
	w.step(retry).wantEffects("-")
	// The old timer must not end a later backoff early either.
	w.call().started().crash().started().crash()
	w.step(retry).wantEffects("-")
}

func TestStartDuringStopFollowsIt(t *testing.T) {
	t.Parallel()
	w := newWorld(t, testPolicy()).call().started().stop("reload").call()
	w.wantEffects("-")
	w.crash().wantEffects("Stopped#1{reason=reload}; ready->cold; cold->initializing; start #2")
	w = newWorld(t, testPolicy()).call().started().stop("reload").call().stop("delete").crash()
	w.wantSituation("cold")
	w.wantEffects(`Stopped#1{reason=reload}; ready->cold; fail "stopped: reload"`)
}

func TestUnresponsiveInstanceIsReplaced(t *testing.T) {
	t.Parallel()
	w := newWorld(t, testPolicy()).call().started()
	for range DefaultMaxFailures {
		w.fire(TimerProbe).wantEffects("probe #1")
		if w.m.Armed(TimerProbe) {
			t.Fatal("the next probe is armed before the answer")
		}
		w.probeFailed()
	}
	w.wantSituation("degraded/stopping live recovering failures=1 misses=3 reason=unresponsive")
	w.crash().started().wantSituation("ready live failures=1 streak=1 restarts=1")
}

func TestUseWithoutReplyIsNoSignOfLife(t *testing.T) {
	t.Parallel()
	w := newWorld(t, testPolicy()).call().started().wait(DefaultHealthCheckInterval)
	w.step(TimerFired{Kind: TimerProbe, Seq: w.m.Timers[TimerProbe], InFlight: 4, LastUsed: w.now})
	w.wantEffects("probe #1")
}

func TestReplyClearsProbeMisses(t *testing.T) {
	t.Parallel()
	w := newWorld(t, testPolicy()).call().started().fire(TimerProbe).probeFailed().wait(DefaultHealthCheckInterval)
	w.step(TimerFired{Kind: TimerProbe, Seq: w.m.Timers[TimerProbe], LastReply: w.now.Add(-time.Second)})
	w.wantSituation("ready live")
}

func TestIdleCountsFromReadyNotFromAnEarlierInstance(t *testing.T) {
	t.Parallel()
	w := newWorld(t, testPolicy()).call().started()
	longAgo := w.now.Add(-time.Hour)
	w.wait(10 * time.Second).crash().started()
	w.wait(DefaultIdleTTL - time.Second)
	w.step(TimerFired{Kind: TimerIdle, Seq: w.m.Timers[TimerIdle], LastUsed: longAgo})
	w.wantEffects("arm idle 1s")
}

func TestStaleInputsChangeNothing(t *testing.T) {
	t.Parallel()
	for _, at := range situations {
		w := newWorld(t, testPolicy())
		at.reach(w)
		for _, in := range staleInputs(w.m) {
			next, effects := w.m.Step(in, Env{Now: w.now.Add(time.Hour)})
			if diff := cmp.Diff(w.m, next); diff != "" || len(effects) != 0 {
				t.Errorf("%s: stale %T gave effects %s and changed (-old +new):\n%s", at.name, in, renderEffects(effects), diff)
			}
		}
	}
}

func staleInputs(m Machine) []Input {
	epochs := []uint64{0, m.Epoch - 1, m.Epoch + 1}
	if !m.Live {
		epochs = append(epochs, m.Epoch) // the last one has ended
	}
	var stale []Input
	for _, epoch := range epochs {
		if m.Live && epoch == m.Epoch {
			continue
		}
		stale = append(stale,
			Started{Epoch: epoch}, StartFailed{Epoch: epoch, Class: FailTransient}, StartFailed{Epoch: epoch, Class: FailResource},
			Exited{Epoch: epoch}, Exited{Epoch: epoch, Normal: true}, ProbePassed{Epoch: epoch}, ProbeFailed{Epoch: epoch})
	}
	for kind := range TimerKinds + 2 {
		for seq := range m.TimerSeq + 2 {
			if kind < TimerKinds && seq != 0 && seq == m.Timers[kind] {
				continue
			}
			stale = append(stale, TimerFired{Kind: kind, Seq: seq})
		}
	}
	return stale
}

// Servers that were started in one moment are not probed in one moment.
func TestProbesAreJittered(t *testing.T) {
	t.Parallel()
	for random, want := range map[float64]time.Duration{0: 54 * time.Second, 0.5: time.Minute, 0.75: 63 * time.Second} {
		w := newWorld(t, testPolicy()).call()
		w.jitter = random
		check := func(when string) {
			t.Helper()
			for _, e := range w.effects {
				if arm, ok := e.(ArmTimer); ok && arm.Kind == TimerProbe {
					if arm.After != want {
						t.Errorf("random %v, %s: the next probe is after %v, want %v", random, when, arm.After, want)
					}
					return
				}
			}
			t.Errorf("%s: no probe is planned", when)
		}
		w.started()
		check("started")
		w.fire(TimerProbe)
		w.step(ProbePassed{Epoch: w.m.Epoch})
		check("probe passed")
		w.fire(TimerProbe).probeFailed()
		check("probe failed")
		w.wait(want)
		w.step(TimerFired{Kind: TimerProbe, Seq: w.m.Timers[TimerProbe], LastReply: w.now})
		check("answered lately")
	}
}
