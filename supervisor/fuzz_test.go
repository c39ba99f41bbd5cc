package supervisor

import (
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// FuzzMachine plays random inputs, true and stale ones, against what must hold
// whatever happens. Every two bytes are one input; the first four choose the
// policy.
func FuzzMachine(f *testing.F) {
	f.Add([]byte{1, 3, 2, 0, 0, 0, 3, 0, 7, 0, 3, 0, 7, 0, 11, 0, 3, 0, 7, 0, 11, 0, 7, 0, 11, 0})
	f.Add([]byte{0, 5, 1, 1, 0, 0, 4, 0, 0, 0, 4, 0, 0, 0, 4, 0, 0, 0, 13, 9, 0, 0})
	f.Add([]byte{2, 2, 3, 0, 1, 0, 2, 0, 0, 0, 7, 0, 3, 0, 10, 0, 10, 0, 10, 0, 2, 0, 8, 0})
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) < 4 || len(data) > 1024 {
			return
		}
		play(t, data)
	})
}

// TestRandomInputs is the fuzz test's little sister for every run: the same
// seeds each time.
func TestRandomInputs(t *testing.T) {
	t.Parallel()
	for seed := range uint64(500) {
		random := rand.New(rand.NewPCG(seed, 1))
		data := make([]byte, 400)
		for i := range data {
			data[i] = byte(random.Uint32())
		}
		if play(t, data); t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

func play(t *testing.T, data []byte) {
	c := newChecker(t, policyFrom(data))
	for i := 4; i+1 < len(data) && !t.Failed(); i += 2 {
		c.step(c.input(data[i], data[i+1]))
	}
	c.canBeStopped()
}

func policyFrom(b []byte) Policy {
	p := testPolicy()
	p.Restart = [...]Restart{Permanent, Transient, Temporary}[int(b[0])%3]
	p.MaxRestarts = int(b[1] % 8)
	p.MaxFailures = int(b[2] % 4)
	switch b[3] % 4 {
	case 1:
		p.StableAfter = 0
	case 2:
		p.IdleTTL, p.ProbeInterval = 0, 0
	case 3:
		p.BackoffInitial, p.BackoffMax = 0, 0
	}
	return p
}

// checker plays the shell and remembers what the machine told it to do.
type checker struct {
	t        *testing.T
	m        Machine
	now      time.Time
	running  uint64 // epoch of the current instance, 0 if none
	coming   uint64 // epoch of the candidate
	leaving  uint64 // epoch of the other that is being ended
	served   bool   // leaving was the current instance
	wasReady bool
	newest   uint64
	timers   [TimerKinds]uint64
	auto     []time.Time // automatic restarts
	autoRun  bool        // the running attempt is one of them
}

func newChecker(t *testing.T, p Policy) *checker {
	return &checker{t: t, m: NewMachine(p), now: epoch0}
}

// input makes an input of two bytes. Most are about the present; the high bits
// of arg make some stale.
func (c *checker) input(kind, arg byte) Input {
	epoch := c.m.Epoch
	if arg >= 0xe0 {
		epoch += uint64(arg%4) - 2
	}
	switch kind % 26 {
	case 0:
		return StartWanted{Cause: CauseCall}
	case 1:
		return StartWanted{Cause: CauseOperator}
	case 2:
		return StopWanted{Reason: "fuzz"}
	case 3:
		return Started{Epoch: epoch, Tools: int(arg), Duration: time.Duration(arg)}
	case 4:
		return StartFailed{Epoch: epoch, Class: FailTransient, Reason: "transient"}
	case 5:
		return StartFailed{Epoch: epoch, Class: FailPermanent, Reason: "permanent"}
	case 6:
		return StartFailed{Epoch: epoch, Class: FailResource, Reason: "resource"}
	case 7:
		if arg&1 != 0 {
			return Exited{Epoch: epoch, Class: FailResource, Reason: "lost"}
		}
		return Exited{Epoch: epoch, Reason: "crash"}
	case 8:
		return Exited{Epoch: epoch, Normal: true, Reason: "exit 0"}
	case 9:
		return ProbePassed{Epoch: epoch}
	case 10:
		return ProbeFailed{Epoch: epoch, Reason: "timeout"}
	case 11, 12, 13, 14:
		return c.timer(TimerKind(kind%26-11), arg)
	case 15:
		c.now = c.now.Add(jump(arg))
		return StartWanted{Cause: CauseCall}
	case 17:
		return ResetWanted{}
	case 18:
		return StopWanted{Reason: "fuzz", Then: CauseCall}
	case 19:
		return StartFailed{Epoch: epoch, Class: FailDependency, Reason: "dependency"}
	}
	p := c.policy(arg)
	switch kind % 26 {
	case 20:
		return ReplaceWanted{Policy: p}
	case 21:
		return ReplaceWithdrawn{Reason: "fuzz"}
	case 22:
		return Started{Epoch: c.m.Candidate.Epoch, Tools: int(arg)}
	case 23:
		return StartFailed{Epoch: c.m.Candidate.Epoch, Class: FailureClass(arg%4) + FailTransient, Reason: "candidate"}
	case 24:
		return Exited{Epoch: c.m.Candidate.Epoch, Normal: arg&1 != 0, Reason: "candidate"}
	case 25:
		return Exited{Epoch: c.m.Leaver.Epoch, Normal: arg&1 != 0, Reason: "leaver"}
	}
	return PolicyChanged{Policy: p}
}

func (c *checker) policy(arg byte) Policy {
	p := policyFrom([]byte{0, arg, arg >> 3, arg >> 4})
	p.Restart = c.m.Policy.Restart
	return p
}

func (c *checker) timer(kind TimerKind, arg byte) Input {
	c.now = c.now.Add(jump(arg))
	in := TimerFired{Kind: kind, Seq: c.m.Timers[kind], InFlight: int(arg % 3)}
	if arg >= 0xe0 {
		in.Seq += uint64(arg%4) - 2
	}
	if arg&8 != 0 {
		in.LastUsed, in.LastReply = c.now.Add(-jump(arg^0x55)), c.now.Add(-jump(arg^0x2a))
	}
	return in
}

// jump is nothing up to about four hours.
func jump(arg byte) time.Duration {
	return time.Duration(arg&0x0f) * time.Millisecond << (arg >> 4)
}

func (c *checker) step(in Input) {
	env := Env{Now: c.now, Jitter: float64(c.now.UnixNano()%1000) / 1000}
	old, kept := c.m, deepCopy(c.m)
	next, effects := old.Step(in, env)
	again, sameEffects := old.Step(in, env)
	if !same(kept, old) {
		c.t.Errorf("%T changed the old machine (-before +after):\n%s", in, cmp.Diff(kept, old))
	}
	if !same(next, again) || len(effects) != len(sameEffects) {
		c.t.Errorf("%T has two outcomes", in)
	}
	if c.isStale(in) && (!same(old, next) || len(effects) != 0) {
		c.t.Errorf("stale %#v changed something", in)
	}
	if _, reset := in.(ResetWanted); reset {
		c.auto = nil
	}
	c.m = next
	c.checkWishes(old, in)
	c.checkTransitions(old, effects)
	for _, e := range effects {
		c.carryOut(old, in, e)
	}
	c.checkMachine()
	checkForecast(c.t, "forecast", c.m, c.now)
	if c.t.Failed() {
		c.t.Logf("after %#v in %s:\nnow %s\neffects %s", in, render(old, c.now), render(next, c.now), renderEffects(effects))
	}
}

// isStale knows from the effects alone what is about something past.
func (c *checker) isStale(in Input) bool {
	var epoch uint64
	switch in := in.(type) {
	case Started:
		epoch = in.Epoch
	case StartFailed:
		epoch = in.Epoch
	case Exited:
		epoch = in.Epoch
	case ProbePassed:
		epoch = in.Epoch
	case ProbeFailed:
		epoch = in.Epoch
	case TimerFired:
		return in.Seq == 0 || in.Seq != c.timers[in.Kind]
	default:
		return false
	}
	if epoch == 0 || epoch != c.running && epoch != c.coming && epoch != c.leaving {
		return true
	}
	switch in.(type) {
	case ProbePassed, ProbeFailed:
		return epoch != c.running
	case Started:
		return epoch == c.leaving
	}
	return false
}

func deepCopy(m Machine) Machine {
	m.Restarts = slices.Clone(m.Restarts)
	return m
}

// same is cmp.Equal at a speed that leaves time for fuzzing.
func same(a, b Machine) bool {
	restarts := slices.Equal(a.Restarts, b.Restarts)
	x, y := reflect.ValueOf(a), reflect.ValueOf(b)
	for i := range x.NumField() {
		if x.Type().Field(i).Name != "Restarts" && !x.Field(i).Equal(y.Field(i)) {
			return false
		}
	}
	return restarts
}

// checkWishes: what an operator asks for is so afterwards, and what must not be
// retried is not planned.
func (c *checker) checkWishes(old Machine, in Input) {
	switch in := in.(type) {
	case ResetWanted:
		if c.m.Failures+c.m.Streak+len(c.m.Restarts) != 0 || c.m.Phase == PhaseGaveUp || c.m.Phase == PhaseBackoff {
			c.t.Errorf("after a reset: %s", render(c.m, c.now))
		}
		if c.m.Live != (old.Live || old.State != Cold && c.m.Policy.Restart == Permanent) {
			c.t.Errorf("a reset changed the instance: %s", render(c.m, c.now))
		}
	case StartFailed:
		noRetry := in.Class == FailPermanent || in.Class == FailDependency
		if noRetry && in.Epoch == old.Epoch && old.Phase != PhaseStopping && old.State == Initializing && !c.m.AtRest() && !c.isStale(in) {
			c.t.Errorf("a start that failed for %v is planned again: %s", in.Class, render(c.m, c.now))
		}
	case StopWanted:
		if in.Then == 0 && c.m.StartAfter != 0 {
			c.t.Errorf("a start follows a stop: %s", render(c.m, c.now))
		}
	}
}

// checkTransitions: the events tell the whole way from the old state to the
// new one, in legal steps, and tell none where there was none.
func (c *checker) checkTransitions(old Machine, effects []Effect) {
	state := old.State
	for _, e := range effects {
		emit, ok := e.(Emit)
		if !ok || emit.Event.Kind != ServerStateChanged {
			continue
		}
		from, to := stateNamed(emit.Event.Data["old_state"]), stateNamed(emit.Event.Data["new_state"])
		if from != state || !Legal(from, to) {
			c.t.Errorf("transition %v -> %v in state %v", from, to, state)
		}
		state = to
	}
	if state != c.m.State {
		c.t.Errorf("events end in state %v, machine is %v", state, c.m.State)
	}
}

func stateNamed(name any) State { return State(slices.Index(stateNames[:], name.(string))) }

func (c *checker) carryOut(old Machine, in Input, e Effect) {
	switch e := e.(type) {
	case StartInstance:
		if e.After != 0 && (!c.m.Recovering || e.After < 0 || e.After > maxSpread) {
			c.t.Errorf("%+v waits, recovering %v", e, c.m.Recovering)
		}
		if e.Candidate {
			c.startCandidate(old, e.Epoch)
			return
		}
		c.startInstance(old, in, e.Epoch)
	case SwitchInstance:
		if e.Epoch != c.coming || e.Old != c.running || c.leaving != 0 {
			c.t.Errorf("switch %+v while %d runs, %d comes, %d leaves", e, c.running, c.coming, c.leaving)
		}
		c.leaving, c.served = c.running, true
		c.running, c.coming, c.wasReady = e.Epoch, 0, false
	case PromoteCandidate:
		if e.Epoch != c.coming || c.running != 0 {
			c.t.Errorf("promotion of %d while %d runs, %d comes", e.Epoch, c.running, c.coming)
		}
		c.running, c.coming, c.wasReady, c.autoRun = e.Epoch, 0, false, c.m.Recovering
		c.countAuto()
	case StopInstance:
		if e.Epoch != c.running && e.Epoch != c.leaving {
			c.t.Errorf("stop of epoch %d while %d runs and %d leaves", e.Epoch, c.running, c.leaving)
		}
		if e.Replaced && e.Epoch != c.leaving {
			c.t.Errorf("stop of replaced epoch %d, %d leaves", e.Epoch, c.leaving)
		}
	case ProbeInstance:
		if e.Epoch != c.running || !c.m.Serving() {
			c.t.Errorf("probe of epoch %d while %d runs", e.Epoch, c.running)
		}
	case ArmTimer:
		if e.After < 0 || e.Seq == 0 || e.Seq <= slices.Max(old.Timers[:]) {
			c.t.Errorf("bad timer %+v", e)
		}
		c.timers[e.Kind] = e.Seq
	case CancelTimer:
		c.timers[e.Kind] = 0
	case FailWaiting:
		if e.RetryAfter < 0 || e.Reason == "" {
			c.t.Errorf("bad answer %+v", e)
		}
	case Emit:
		c.event(e.Event)
	}
}

func (c *checker) startInstance(old Machine, in Input, epoch uint64) {
	if c.running != 0 {
		c.t.Errorf("start of epoch %d while %d runs", epoch, c.running)
	}
	if epoch <= c.newest {
		c.t.Errorf("start of epoch %d after %d", epoch, c.newest)
	}
	c.running, c.newest, c.wasReady, c.autoRun = epoch, epoch, false, c.m.Recovering && !c.m.Lost
	if !c.autoRun {
		if start, ok := in.(StartWanted); ok && start.Cause == CauseOperator || old.StartAfter == CauseOperator {
			c.auto = nil // an operator's start resets the budget
		}
		return
	}
	c.countAuto()
}

func (c *checker) startCandidate(old Machine, epoch uint64) {
	if c.running == 0 || !old.Serving() || c.coming != 0 || c.leaving != 0 {
		c.t.Errorf("candidate %d while %d runs, %d comes, %d leaves", epoch, c.running, c.coming, c.leaving)
	}
	if epoch <= c.newest {
		c.t.Errorf("start of candidate %d after %d", epoch, c.newest)
	}
	c.coming, c.newest = epoch, epoch
}

// countAuto counts an automatic restart against the budget.
func (c *checker) countAuto() {
	if !c.autoRun {
		return
	}
	c.auto = append(c.auto, c.now)
	if used := c.autoInPeriod(); used > c.m.Policy.MaxRestarts {
		c.t.Errorf("%d automatic restarts in a period, the limit is %d", used, c.m.Policy.MaxRestarts)
	}
}

func (c *checker) autoInPeriod() int {
	used := 0
	for _, at := range c.auto {
		if c.now.Sub(at) < c.m.Policy.Period {
			used++
		}
	}
	return used
}

// event follows the life of the instance: ready once, ended once.
func (c *checker) event(e Event) {
	switch e.Kind {
	case ServerStarted:
		if c.wasReady || e.Epoch != c.running {
			c.t.Errorf("epoch %d is ready, %d runs", e.Epoch, c.running)
		}
		c.wasReady = true
	case ServerCrashed:
		if !c.wasReady {
			c.t.Errorf("epoch %d crashed and was not ready", e.Epoch)
		}
		c.running, c.wasReady = 0, false
	case ServerReplaceFailed:
		if e.Epoch == 0 || e.Epoch != c.coming {
			c.t.Errorf("candidate %d failed, %d comes", e.Epoch, c.coming)
		}
		c.leaving, c.coming, c.served = c.m.Leaver.Epoch, 0, false
	case ServerStopped:
		if e.Epoch == c.leaving {
			if !c.served {
				c.t.Errorf("the candidate %d that was given up stopped", e.Epoch)
			}
			c.leaving = 0
			return
		}
		c.running, c.wasReady = 0, false
	case ServerStartFailed:
		if c.wasReady {
			c.t.Errorf("epoch %d failed to start after it was ready", e.Epoch)
		}
		if class := e.Data["class"]; (class == FailResource.String() || class == FailDependency.String()) && c.autoRun {
			c.auto = c.auto[:max(0, len(c.auto)-1)] // does not count; a reset may have come between
		}
		c.running = 0
	}
}

func (c *checker) checkMachine() {
	m := c.m
	if m.Leaver.Epoch == 0 && !c.served {
		c.leaving = 0 // a candidate that was given up ends without a word
	}
	if m.Timers != c.timers {
		// A timer that fired is gone without an effect.
		for kind := range TimerKinds {
			if m.Timers[kind] != 0 && m.Timers[kind] != c.timers[kind] {
				c.t.Errorf("timer %v is %d, the shell was told %d", kind, m.Timers[kind], c.timers[kind])
			}
		}
		c.timers = m.Timers
	}
	for _, rule := range []struct {
		name string
		kept bool
	}{
		{"the candidate is the one that comes", m.Candidate.Epoch == c.coming},
		{"the leaver is the one that leaves", m.Leaver.Epoch == c.leaving && (c.leaving == 0 || m.Leaver.Served == c.served)},
		{"a candidate comes beside one that serves, alone", m.Candidate.Epoch == 0 || m.Serving() && m.Leaver.Epoch == 0},
		{"epochs are of one instance", m.Candidate.Epoch == 0 || m.Candidate.Epoch != m.Epoch},
		{"no epoch is used twice", m.LastEpoch() == c.newest || c.newest == 0},
		{"live is the instance that runs", m.Live == (c.running != 0)},
		{"ready instances were started", m.State != Ready || c.wasReady},
		{"cold has nothing", m.State != Cold || !m.Live && m.Phase == PhaseNone && m.Timers == [TimerKinds]uint64{}},
		{"starting and ready are live", m.State != Initializing && m.State != Ready || m.Live},
		{"others live only while stopping", m.State == Initializing || m.State == Ready || !m.Live || m.Phase == PhaseStopping},
		{"stopping has an instance", m.Phase != PhaseStopping || m.Live},
		{"dead has none", m.State != Dead || !m.Live},
		{"backoff has a date and a timer", m.Phase != PhaseBackoff || !m.NextRetryAt.IsZero() && m.Armed(TimerRetry)},
		{"retry is armed only in backoff", !m.Armed(TimerRetry) || m.Phase == PhaseBackoff},
		{"backoff is dead or degraded", m.Phase != PhaseBackoff || m.State == Dead || m.State == Degraded},
		{"gave up is dead", m.Phase != PhaseGaveUp || m.State == Dead},
		{"only ready has the other timers", m.Serving() || !m.Armed(TimerProbe) && !m.Armed(TimerIdle) && !m.Armed(TimerStable)},
		{"a start follows only a stop", m.StartAfter == 0 || m.Phase == PhaseStopping},
		{"a stop has its reason, others none", (m.StopReason != "") == (m.Phase == PhaseStopping)},
		{"a retry date is for backoff, degrade", m.NextRetryAt.IsZero() || m.Phase == PhaseBackoff || m.State == Degraded},
		{"ready has its date", m.State != Ready || !m.ReadySince.IsZero()},
		{"the window is bounded", len(m.Restarts) <= 7}, // the largest MaxRestarts of policyFrom
		{"a delay belongs to a backoff", m.RetryDelay == 0 || m.Phase == PhaseBackoff},
		{"counters are not negative", m.Failures >= 0 && m.Streak >= 0 && m.ProbeMisses >= 0},
		{"temporary servers plan nothing", m.Policy.Restart != Temporary || m.Phase != PhaseBackoff},
	} {
		if !rule.kept {
			c.t.Errorf("rule broken: %s", rule.name)
		}
	}
}

// canBeStopped: wherever the inputs led, a stop and the instance's end lead to
// cold, and from there the server starts again.
func (c *checker) canBeStopped() {
	c.step(StopWanted{Reason: "end"})
	c.step(Exited{Epoch: c.m.Epoch, Reason: "end"})
	c.step(Exited{Epoch: c.m.Leaver.Epoch, Reason: "end"})
	if c.m.State != Cold || c.running+c.coming+c.leaving != 0 {
		c.t.Errorf("after a stop: %s, want cold", render(c.m, c.now))
	}
	c.step(StartWanted{Cause: CauseCall})
	c.step(Started{Epoch: c.m.Epoch})
	if !c.m.Serving() {
		c.t.Errorf("after a new start: %s, want ready", render(c.m, c.now))
	}
}
