package supervisor

import (
	"testing"
	"time"
)

// epoch0 is where virtual time begins.
var epoch0 = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// noJitter is the random number that leaves a delay as it is.
const noJitter = 0.5

func testPolicy() Policy {
	return PolicyOf(ServerSpec{Mode: ModeSubprocess})
}

// world drives one machine in virtual time, as the shell would: it keeps the
// armed timers and can let them fire.
type world struct {
	t       testing.TB
	m       Machine
	now     time.Time
	jitter  float64
	due     [TimerKinds]time.Time
	effects []Effect // of the last step
	starts  int
	events  []Event
	// is and rest are what groups see of it.
	is, rest Condition
}

func newWorld(t testing.TB, p Policy) *world {
	return &world{t: t, m: NewMachine(p), now: epoch0, jitter: noJitter}
}

func (w *world) step(in Input) *world {
	w.m, w.effects = w.m.Step(in, Env{Now: w.now, Jitter: w.jitter})
	for _, e := range w.effects {
		switch e := e.(type) {
		case StartInstance:
			w.starts++
		case ArmTimer:
			w.due[e.Kind] = w.now.Add(e.After)
		case Emit:
			w.events = append(w.events, e.Event)
			w.rest = RestAfter(e.Event, w.rest)
		}
	}
	w.is = ConditionOf(w.m, w.is, w.rest, false)
	return w
}

func (w *world) call() *world     { return w.step(StartWanted{Cause: CauseCall}) }
func (w *world) operator() *world { return w.step(StartWanted{Cause: CauseOperator}) }
func (w *world) stop(reason string) *world {
	return w.step(StopWanted{Reason: reason})
}
func (w *world) started() *world {
	return w.step(Started{Epoch: w.m.Epoch, Tools: 3, Duration: 20 * time.Millisecond})
}
func (w *world) startFailed(c FailureClass) *world {
	return w.step(StartFailed{Epoch: w.m.Epoch, Class: c, Reason: "boom"})
}
func (w *world) crash() *world { return w.step(Exited{Epoch: w.m.Epoch, Reason: "signal: killed"}) }
func (w *world) lose() *world {
	return w.step(Exited{Epoch: w.m.Epoch, Class: FailResource, Reason: "reaper lost"})
}
func (w *world) probeFailed() *world {
	return w.step(ProbeFailed{Epoch: w.m.Epoch, Reason: "timeout"})
}

// candidate begins a replacement by the same policy.
func (w *world) candidate() *world { return w.step(ReplaceWanted{Policy: w.m.Policy}) }
func (w *world) candidateStarted() *world {
	return w.step(Started{Epoch: w.m.Candidate.Epoch, Tools: 4, Duration: 30 * time.Millisecond})
}
func (w *world) wait(d time.Duration) *world {
	w.now = w.now.Add(d)
	return w
}

// fire lets the armed timer of a kind end: time goes on to its date.
func (w *world) fire(kind TimerKind) *world {
	w.t.Helper()
	if !w.m.Armed(kind) {
		w.t.Fatalf("timer %v is not armed in %s", kind, render(w.m, w.now))
	}
	if w.now.Before(w.due[kind]) {
		w.now = w.due[kind]
	}
	return w.step(TimerFired{Kind: kind, Seq: w.m.Timers[kind]})
}

// gaveUp crashes until the machine does not restart any more.
func (w *world) gaveUp() *world {
	for w.call().started(); w.m.Phase != PhaseGaveUp; {
		w.crash()
		if w.m.Phase == PhaseBackoff {
			w.fire(TimerRetry)
		}
		if w.m.Live {
			w.started()
		}
	}
	return w
}

// situation is a reachable place of the machine, by the way that leads to it.
type situation struct {
	name  string
	reach func(w *world)
}

var situations = []situation{
	{"cold", func(w *world) {}},
	{"initializing", func(w *world) { w.call() }},
	{"initializing, last chance", func(w *world) {
		w.call().startFailed(FailTransient).call().startFailed(FailTransient).call()
	}},
	{"initializing, recovering", func(w *world) { w.call().started().crash() }},
	{"initializing, recovering, last chance", func(w *world) {
		w.call().started().crash().startFailed(FailTransient).fire(TimerRetry)
	}},
	{"initializing, recovering, budget used up", func(w *world) {
		w.m.Policy.MaxRestarts = 1
		w.call().started().crash()
	}},
	{"initializing, stopping", func(w *world) { w.call().stop("test") }},
	{"initializing, stopping, start wanted", func(w *world) { w.call().stop("test").call() }},
	{"ready", func(w *world) { w.call().started() }},
	{"ready after a crash", func(w *world) { w.call().started().crash().started() }},
	{"ready, last probe", func(w *world) {
		w.call().started().fire(TimerProbe).probeFailed().fire(TimerProbe).probeFailed().fire(TimerProbe)
	}},
	{"ready, budget used up", func(w *world) {
		w.m.Policy.MaxRestarts = 1
		w.call().started().crash().started()
	}},
	{"ready, stopping", func(w *world) { w.call().started().stop("test") }},
	{"ready, stopping, operator wants it", func(w *world) { w.call().started().stop("test").operator() }},
	{"ready, idle stop", func(w *world) {
		w.call().started()
		w.fire(TimerIdle)
	}},
	{"degraded, killing", func(w *world) {
		w.call().started().probeFailed().probeFailed().probeFailed()
	}},
	{"degraded, killing, in a streak", func(w *world) {
		w.call().started().crash().started().probeFailed().probeFailed().probeFailed().call()
	}},
	{"ready, stopping for another's restart", func(w *world) {
		w.call().started().step(StopWanted{Reason: "for another", Then: CauseCall})
	}},
	{"degraded, killing, operator wants it", func(w *world) {
		w.call().started().probeFailed().probeFailed().probeFailed().operator()
	}},
	{"degraded, killing, budget used up", func(w *world) {
		w.m.Policy.MaxRestarts = 0
		w.call().started().probeFailed().probeFailed().probeFailed()
	}},
	{"degraded, stopping", func(w *world) {
		w.call().started().probeFailed().probeFailed().probeFailed().stop("test")
	}},
	{"degraded, backoff", func(w *world) {
		w.call().started().crash().startFailed(FailTransient).fire(TimerRetry).startFailed(FailTransient)
	}},
	{"degraded, backoff, due", func(w *world) {
		w.call().started().crash().startFailed(FailTransient).fire(TimerRetry).startFailed(FailTransient).wait(time.Minute)
	}},
	{"degraded, hold-off", func(w *world) {
		for range 3 {
			w.call().startFailed(FailTransient)
		}
	}},
	{"degraded, hold-off over", func(w *world) {
		for range 3 {
			w.call().startFailed(FailTransient)
		}
		w.wait(time.Minute)
	}},
	{"dead", func(w *world) { w.call().startFailed(FailTransient) }},
	{"dead, backoff", func(w *world) { w.call().started().crash().started().crash() }},
	{"restarting after a loss", func(w *world) { w.call().started().lose() }},
	{"dead, backoff after a loss", func(w *world) { w.call().started().lose().startFailed(FailResource) }},
	{"dead, gave up", func(w *world) { w.gaveUp() }},
	{"dead, gave up, window slid", func(w *world) { w.gaveUp().wait(time.Minute) }},
	{"permanent: initializing", func(w *world) {
		w.m.Policy.Restart = Permanent
		w.call()
	}},
	{"permanent: gave up", func(w *world) {
		w.m.Policy.Restart = Permanent
		w.gaveUp()
	}},
	{"permanent: ready", func(w *world) {
		w.m.Policy.Restart = Permanent
		w.call().started()
	}},
	{"temporary: ready", func(w *world) {
		w.m.Policy.Restart = Temporary
		w.call().started()
	}},
	{"temporary: degraded, killing", func(w *world) {
		w.m.Policy.Restart = Temporary
		w.call().started().probeFailed().probeFailed().probeFailed()
	}},
	{"temporary: degraded, killing, start wanted", func(w *world) {
		w.m.Policy.Restart = Temporary
		w.call().started().probeFailed().probeFailed().probeFailed().call()
	}},
	{"ready, candidate", func(w *world) { w.call().started().candidate() }},
	{"ready, candidate, last probe", func(w *world) {
		w.call().started().candidate().fire(TimerProbe).probeFailed().fire(TimerProbe).probeFailed().fire(TimerProbe)
	}},
	{"ready, candidate, budget used up", func(w *world) {
		w.m.Policy.MaxRestarts = 1
		w.call().started().crash().started().candidate()
	}},
	{"ready, old one drains", func(w *world) { w.call().started().candidate().candidateStarted() }},
	{"ready, candidate given up", func(w *world) {
		w.call().started().candidate().step(ReplaceWithdrawn{Reason: "another change"})
	}},
	{"ready, stopping, candidate given up", func(w *world) { w.call().started().candidate().stop("test") }},
	{"ready, stopping, old one drains", func(w *world) {
		w.call().started().candidate().candidateStarted().stop("test")
	}},
	{"cold, old one drains", func(w *world) {
		w.call().started().candidate().candidateStarted().stop("test")
		w.step(Exited{Epoch: w.m.Epoch, Reason: "signal: terminated"})
	}},
	{"initializing, candidate took over", func(w *world) { w.call().started().candidate().crash() }},
	{"permanent: ready, candidate", func(w *world) {
		w.m.Policy.Restart = Permanent
		w.call().started().candidate()
	}},
	{"temporary: ready, candidate", func(w *world) {
		w.m.Policy.Restart = Temporary
		w.call().started().candidate()
	}},
}

// stimulus is one input as it would come now. It returns nil where the input
// cannot come: an answer to a probe has no seq, but a timer that is not armed
// cannot fire.
type stimulus struct {
	name string
	make func(w *world) Input
}

var stimuli = []stimulus{
	{"call", func(*world) Input { return StartWanted{Cause: CauseCall} }},
	{"operator", func(*world) Input { return StartWanted{Cause: CauseOperator} }},
	{"stop", func(*world) Input { return StopWanted{Reason: "again"} }},
	{"stop, then a start", func(*world) Input { return StopWanted{Reason: "for another", Then: CauseCall} }},
	{"reset", func(*world) Input { return ResetWanted{} }},
	{"started", func(w *world) Input {
		return Started{Epoch: w.m.Epoch, Tools: 3, Duration: 20 * time.Millisecond}
	}},
	{"start failed, transient", func(w *world) Input {
		return StartFailed{Epoch: w.m.Epoch, Class: FailTransient, Reason: "boom"}
	}},
	{"start failed, permanent", func(w *world) Input {
		return StartFailed{Epoch: w.m.Epoch, Class: FailPermanent, Reason: "no program"}
	}},
	{"start failed, resource", func(w *world) Input {
		return StartFailed{Epoch: w.m.Epoch, Class: FailResource, Reason: "no process slot"}
	}},
	{"start failed, dependency", func(w *world) Input {
		return StartFailed{Epoch: w.m.Epoch, Class: FailDependency, Reason: "db is down"}
	}},
	{"exited, abnormal", func(w *world) Input { return Exited{Epoch: w.m.Epoch, Reason: "signal: killed"} }},
	{"exited, resource", func(w *world) Input {
		return Exited{Epoch: w.m.Epoch, Class: FailResource, Reason: "reaper lost"}
	}},
	{"exited, normal", func(w *world) Input { return Exited{Epoch: w.m.Epoch, Normal: true, Reason: "exit 0"} }},
	{"replace", func(w *world) Input {
		p := w.m.Policy
		p.IdleTTL = 20 * time.Second
		return ReplaceWanted{Policy: p}
	}},
	{"replace withdrawn", func(*world) Input { return ReplaceWithdrawn{Reason: "another change"} }},
	{"candidate started", func(w *world) Input {
		return Started{Epoch: w.m.Candidate.Epoch, Tools: 4, Duration: 30 * time.Millisecond}
	}},
	{"candidate failed, transient", func(w *world) Input {
		return StartFailed{Epoch: w.m.Candidate.Epoch, Class: FailTransient, Reason: "boom"}
	}},
	{"candidate failed, resource", func(w *world) Input {
		return StartFailed{Epoch: w.m.Candidate.Epoch, Class: FailResource, Reason: "no process slot"}
	}},
	{"candidate exited", func(w *world) Input { return Exited{Epoch: w.m.Candidate.Epoch, Reason: "signal: killed"} }},
	{"leaver exited", func(w *world) Input { return Exited{Epoch: w.m.Leaver.Epoch, Reason: "signal: killed"} }},
	{"leaver failed", func(w *world) Input {
		return StartFailed{Epoch: w.m.Leaver.Epoch, Class: FailTransient, Reason: "stopped"}
	}},
	{"probe passed", func(w *world) Input { return ProbePassed{Epoch: w.m.Epoch, Duration: time.Millisecond} }},
	{"probe failed", func(w *world) Input { return ProbeFailed{Epoch: w.m.Epoch, Reason: "timeout"} }},
	{"timer retry", timerNow(TimerRetry, TimerFired{})},
	{"timer probe", timerNow(TimerProbe, TimerFired{})},
	{"timer probe, answered lately", func(w *world) Input {
		return timerNow(TimerProbe, TimerFired{LastReply: w.now.Add(-time.Second)})(w)
	}},
	{"timer idle, idle", func(w *world) Input {
		w.wait(DefaultIdleTTL)
		return timerNow(TimerIdle, TimerFired{})(w)
	}},
	{"timer idle, used lately", func(w *world) Input {
		w.wait(DefaultIdleTTL)
		return timerNow(TimerIdle, TimerFired{LastUsed: w.now.Add(-10 * time.Second)})(w)
	}},
	{"timer idle, in flight", func(w *world) Input {
		w.wait(DefaultIdleTTL)
		return timerNow(TimerIdle, TimerFired{InFlight: 1})(w)
	}},
	{"timer stable", timerNow(TimerStable, TimerFired{})},
	{"policy, same", func(w *world) Input { return PolicyChanged{Policy: w.m.Policy} }},
	{"policy, other timers", func(w *world) Input {
		p := w.m.Policy
		p.IdleTTL, p.ProbeInterval = 10*time.Second, 5*time.Second
		return PolicyChanged{Policy: p}
	}},
	{"policy, no timers", func(w *world) Input {
		p := w.m.Policy
		p.IdleTTL, p.ProbeInterval = 0, 0
		return PolicyChanged{Policy: p}
	}},
}

// timerNow is the end of the armed timer, or of one that was never armed: the
// row then says that nothing happens.
func timerNow(kind TimerKind, fired TimerFired) func(w *world) Input {
	return func(w *world) Input {
		fired := fired
		fired.Kind, fired.Seq = kind, w.m.Timers[kind]
		return fired
	}
}
