package supervisor

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func at(seconds ...int) []time.Time {
	var times []time.Time
	for _, s := range seconds {
		times = append(times, epoch0.Add(time.Duration(s)*time.Second))
	}
	return times
}

func TestBudget(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name     string
		limit    int
		restarts []time.Time
		now      int
		used     int
		in       time.Duration
	}{
		{"fresh", 2, nil, 0, 0, 0},
		{"room for one", 2, at(0), 10, 1, 0},
		{"full", 2, at(0, 10), 20, 2, 40 * time.Second},
		{"the edge belongs to the next window", 2, at(0, 10), 60, 1, 0},
		{"just before the edge", 2, at(1, 10), 60, 2, time.Second},
		{"fuller than a smaller policy allows", 2, at(0, 10, 20), 30, 3, 40 * time.Second},
		{"none allowed", 0, nil, 0, 0, 0},
		{"a clock that went back still counts", 1, at(50), 0, 1, 110 * time.Second},
	}
	for _, tt := range tests {
		p := testPolicy()
		p.MaxRestarts = tt.limit
		m := NewMachine(p)
		m.Restarts = tt.restarts
		now := at(tt.now)[0]
		if got := m.BudgetUsed(now); got != tt.used {
			t.Errorf("%s: BudgetUsed = %d, want %d", tt.name, got, tt.used)
		}
		if got := m.budgetIn(now); got != tt.in {
			t.Errorf("%s: budgetIn = %v, want %v", tt.name, got, tt.in)
		}
	}
}

func TestCountedCopies(t *testing.T) {
	t.Parallel()
	m := NewMachine(testPolicy())
	m.Restarts = append(make([]time.Time, 0, 16), at(0, 30, 50)...)
	next := step{m: m, env: Env{Now: at(70)[0]}}
	next.count()
	if diff := cmp.Diff(at(30, 50, 70), next.m.Restarts); diff != "" {
		t.Errorf("counted (-want +got):\n%s", diff)
	}
	back := step{m: m}
	back.takeBack(true)
	_ = append(back.m.Restarts, at(99)...)
	if diff := cmp.Diff(at(0, 30, 50), m.Restarts); diff != "" {
		t.Errorf("the old window changed (-want +got):\n%s", diff)
	}
}

func TestSmallerPolicyWaitsLonger(t *testing.T) {
	t.Parallel()
	w := newWorld(t, testPolicy()).gaveUp()
	large, small := w.m.Policy, w.m.Policy
	small.MaxRestarts = 1
	before := w.m.RetryIn(w.now)
	w.step(PolicyChanged{Policy: small})
	if got := w.m.RetryIn(w.now); got <= before {
		t.Errorf("RetryIn = %v, want more than the %v of the larger budget", got, before)
	}
	// Back and forth grants nothing.
	w.step(PolicyChanged{Policy: large}).call()
	if w.m.Phase != PhaseGaveUp {
		t.Errorf("%s, want still given up", render(w.m, w.now))
	}
}

func TestRetryWithoutBudgetGivesUp(t *testing.T) {
	t.Parallel()
	w := newWorld(t, testPolicy()).call().started().crash().started().crash()
	p := w.m.Policy
	p.MaxRestarts = 1
	w.step(PolicyChanged{Policy: p}).fire(TimerRetry)
	w.wantEffects(`GaveUp#2{period_s=60 reason=restart budget used up restarts=1}; ` +
		`fail "gave up: too many restarts" gave-up retry=59.9s`)
	w.wantSituation("dead/gave_up failures=2 streak=2 restarts=1")
}
