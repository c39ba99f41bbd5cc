package supervisor

import (
	"testing"
	"time"
)

// drainedAt is a rate that has seen enough turns, so far apart each.
func drainedAt(each time.Duration, bursts, size int) (DrainRate, time.Time) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	r := DrainRate{}.Begin(now)
	for range bursts {
		now = now.Add(each * time.Duration(size))
		r = r.Drained(size, now)
	}
	return r, now
}

func TestCallThatCannotMeetItsDeadlineIsRefused(t *testing.T) {
	t.Parallel()
	slow, now := drainedAt(100*time.Millisecond, 100, 1)
	bursts, _ := drainedAt(100*time.Millisecond, 10, 32)
	young, _ := drainedAt(100*time.Millisecond, shedAfter-1, 1)
	at := func(d time.Duration) time.Time { return now.Add(d) }
	for _, c := range []struct {
		name     string
		rate     DrainRate
		ahead    int
		deadline time.Time
		late     bool
	}{
		{"far ahead of its deadline", slow, 10, at(60 * time.Second), false},
		{"about on time", slow, 99, at(10 * time.Second), false},
		{"on time at twice the rate", slow, 199, at(10 * time.Second), false},
		{"late even at twice the rate", slow, 201, at(10 * time.Second), true},
		{"next, and no time left", slow, 0, at(0), true},
		{"next, with time left", slow, 0, at(60 * time.Millisecond), false},
		{"no deadline", slow, 1000, time.Time{}, false},
		{"answers in bursts", bursts, 201, at(10 * time.Second), true},
		{"answers in bursts, on time", bursts, 150, at(10 * time.Second), false},
		{"too little is known", young, 1000, at(time.Second), false},
		{"nothing is known", DrainRate{}, 1000, at(time.Second), false},
		{"deadline has passed", slow, 5, at(-time.Second), true},
	} {
		if wait, late := c.rate.TooLate(c.ahead, now, c.deadline); late != c.late {
			t.Errorf("%s: late is %t with a wait of %s, want %t", c.name, late, wait, c.late)
		}
	}
}

func TestDrainRateFollowsTheServer(t *testing.T) {
	t.Parallel()
	r, now := drainedAt(time.Second, 50, 1)
	for range 100 { // it became ten times as fast
		now = now.Add(100 * time.Millisecond)
		r = r.Drained(1, now)
	}
	if wait, _ := r.TooLate(9, now, now.Add(time.Hour)); wait < 900*time.Millisecond || wait > 1200*time.Millisecond {
		t.Errorf("10 turns take %s, want about 1s", wait)
	}
	// Time without waiting calls is no sign of slowness.
	r = r.Begin(now.Add(time.Hour)).Drained(1, now.Add(time.Hour+100*time.Millisecond))
	if wait, _ := r.TooLate(9, now, now.Add(2*time.Hour)); wait > 1200*time.Millisecond {
		t.Errorf("after an idle hour 10 turns take %s, want about 1s", wait)
	}
	if got := r.Drained(0, now.Add(3*time.Hour)); got != r {
		t.Error("no turn changed the rate")
	}
	// The first burst after a start fills the slots and says nothing.
	if first := (DrainRate{}).Drained(100, now); first.seen != 0 {
		t.Errorf("%d turns are believed without a begin", first.seen)
	}
}
