package supervisor

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

// stored is what comes back of a snapshot from the disk.
func stored(t *testing.T, s Snapshot) Snapshot {
	t.Helper()
	body, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	var back Snapshot
	if err := json.Unmarshal(body, &back); err != nil {
		t.Fatal(err)
	}
	return back
}

// restart ends the runtime and begins the next one after a while; the shell
// starts anew with what Restore tells it.
func (c *checker) restart(down time.Duration) {
	c.t.Helper()
	old, s := c.m, stored(c.t, c.m.Snapshot(c.now))
	c.now = c.now.Add(down)
	m, effects := Restore(old.Policy, s, c.now)
	c.coming, c.leaving = 0, 0
	c.running, c.wasReady, c.autoRun, c.timers = 0, false, false, [TimerKinds]uint64{}
	c.m = m
	for _, e := range effects {
		arm, ok := e.(ArmTimer)
		if !ok || arm.Kind != TimerRetry || arm.After < 0 {
			c.t.Errorf("restored with the effect %#v", e)
		}
		c.timers[arm.Kind] = arm.Seq
	}
	c.checkMachine()
	checkForecast(c.t, "restored", c.m, c.now)
	c.checkRestored(old)
	if c.t.Failed() {
		c.t.Logf("restored %s\nas %s", render(old, c.now), render(m, c.now))
	}
}

// checkRestored: an instance is gone, everything else is as it was.
func (c *checker) checkRestored(old Machine) {
	m := c.m
	want := old
	if old.Live {
		want.Live, want.State, want.Phase, want.NextRetryAt = false, Cold, PhaseNone, time.Time{}
	}
	if m.State != want.State || m.Phase != want.Phase || m.Epoch != old.LastEpoch() || m.Failures != old.Failures || m.Streak != old.Streak {
		c.t.Errorf("restored as another machine")
	}
	if m.BudgetUsed(c.now) != old.BudgetUsed(c.now) {
		c.t.Errorf("%d restarts in the window, %d before", m.BudgetUsed(c.now), old.BudgetUsed(c.now))
	}
	if want.NextRetryAt.Sub(c.now) > want.Policy.longestDelay() { // a smaller policy came after it was planned
		want.NextRetryAt = c.now.Add(want.Policy.longestDelay())
	}
	if m.RetryIn(c.now) != want.RetryIn(c.now) {
		c.t.Errorf("retry in %s, was in %s", m.RetryIn(c.now), want.RetryIn(c.now))
	}
	if m.AcceptsCall(c.now) != want.AcceptsCall(c.now) || m.CanStart(c.now) != want.CanStart(c.now) {
		c.t.Errorf("calls are answered in another way")
	}
}

// Runtimes end at random moments of random lives: the machine goes on as if
// its instance had been taken away and nothing else, and the limit of automatic
// restarts holds over all of the runtimes.
func TestRestoredMachineGoesOn(t *testing.T) {
	t.Parallel()
	for seed := range uint64(150) {
		random := rand.New(rand.NewPCG(seed, 2))
		b := make([]byte, 4)
		for i := range b {
			b[i] = byte(random.Uint32())
		}
		c := newChecker(t, policyFrom(b))
		for range 200 {
			if random.IntN(8) == 0 {
				c.restart(jump(byte(random.Uint32())))
			}
			c.step(c.input(byte(random.Uint32()), byte(random.Uint32())))
			if t.Failed() {
				t.Fatalf("seed %d", seed)
			}
		}
		c.canBeStopped()
	}
}

// E05.
func TestRestoredMachineSurvivesAWrongClock(t *testing.T) {
	p := testPolicy()
	p.MaxRestarts = 3
	gaveUp := NewMachine(p)
	gaveUp.State, gaveUp.Phase, gaveUp.Epoch = Dead, PhaseGaveUp, 9
	gaveUp.Restarts = []time.Time{epoch0.Add(-3 * time.Second), epoch0.Add(-2 * time.Second), epoch0.Add(-time.Second)}
	waiting := NewMachine(p)
	waiting.State, waiting.Epoch, waiting.Streak = Degraded, 4, 7
	waiting.Phase, waiting.Recovering, waiting.NextRetryAt = PhaseBackoff, true, epoch0.Add(10*time.Second)
	const hour, year = time.Hour, 365 * 24 * time.Hour
	for _, c := range []struct {
		skew    time.Duration
		accepts bool // after giving up
		retryIn time.Duration
	}{
		{0, false, 10 * time.Second},
		{4 * time.Second, false, 6 * time.Second},
		{-hour, false, 10 * time.Second},
		{-10 * year, false, 10 * time.Second},
		{hour, true, 0},
		{10 * year, true, 0},
	} {
		now := epoch0.Add(c.skew)
		m, _ := Restore(p, stored(t, gaveUp.Snapshot(epoch0)), now)
		if m.Phase != PhaseGaveUp || m.AcceptsCall(now) != c.accepts || m.RetryIn(now) > p.Period {
			t.Errorf("clock %+v: gave up as %s, accepts %v, retry in %s", c.skew, render(m, now), m.AcceptsCall(now), m.RetryIn(now))
		}
		m, effects := Restore(p, stored(t, waiting.Snapshot(epoch0)), now)
		if arm, ok := effects[0].(ArmTimer); !ok || arm.After != c.retryIn || m.RetryIn(now) != c.retryIn {
			t.Errorf("clock %+v: waits %s, effects %v; want %s", c.skew, m.RetryIn(now), effects, c.retryIn)
		}
	}
}

// FuzzRestore: whatever stands in a stored snapshot, the machine keeps its rules
// and waits no longer than its policy.
func FuzzRestore(f *testing.F) {
	f.Add([]byte(`{"state":"dead","phase":"gave_up","restarts_ago_ns":[5,4,3]}`), int64(0))
	f.Add([]byte(`{"state":"degraded","phase":"backoff","retry_in_ns":9223372036854775807,"held":true}`), int64(-1))
	f.Add([]byte(`{"state":"ready","running":true,"streak":-4,"epoch":18446744073709551615}`), int64(math.MaxInt64))
	f.Add([]byte(`{"state":"degraded","phase":"stopping","restarts_ago_ns":[-1,9223372036854775807]}`), int64(math.MinInt64))
	f.Fuzz(func(t *testing.T, body []byte, at int64) {
		var s Snapshot
		if json.Unmarshal(body, &s) != nil {
			return
		}
		p := testPolicy()
		now := time.Unix(0, at)
		c := newChecker(t, p)
		c.now = now
		m, effects := Restore(p, s, now)
		for _, e := range effects {
			c.timers[e.(ArmTimer).Kind] = e.(ArmTimer).Seq
		}
		c.m = m
		for _, at := range m.Restarts {
			if at.After(now) || !m.inWindow(at, now) {
				t.Errorf("restart at %s, now is %s", at, now)
			}
		}
		m.Restarts = nil
		c.m = m
		c.checkMachine()
		if wait := m.RetryIn(now); wait > max(p.Period, 2*p.BackoffMax) {
			t.Errorf("waits %s", wait)
		}
	})
}
