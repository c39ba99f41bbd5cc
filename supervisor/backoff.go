package supervisor

import (
	"math"
	"time"
)

// nextDelay takes the next delay of the streak. A crash may have the first,
// which is none; a failed start begins with the second, because the attempt
// that just failed was the one at once.
func (s *step) nextDelay(first int) time.Duration {
	n := max(s.m.Streak, first)
	s.m.Streak = n + 1
	return s.m.Policy.delay(n, s.env.Jitter)
}

// backOff plans the next automatic restart.
func (s *step) backOff(delay time.Duration) {
	s.m.Phase = PhaseBackoff
	s.m.RetryDelay = delay
	s.m.Recovering = true
	s.m.NextRetryAt = s.env.Now.Add(delay)
	s.arm(TimerRetry, delay)
}

// maxSpread bounds what jitter does to the restart that is meant to be at once:
// it stays well below what a start takes.
const maxSpread = 10 * time.Millisecond

// spread is how long the first restart of a streak waits: a fleet that is
// killed at one moment must not ask for all its starts at one moment. It is the
// jitter of the first delay that the policy has, bounded by maxSpread; no
// jitter, no spread. random is in [0, 1).
func (p Policy) spread(random float64) time.Duration {
	widest := scale(max(p.BackoffInitial, 0), clamp01(p.Jitter))
	return scale(min(widest, maxSpread), clamp01(random))
}

// delay is the backoff curve: nothing for restart 0 of a streak, then the
// initial delay, doubling up to the cap. The jitter lies around the capped
// value, so that a thousand servers at the cap do not restart in step; a delay
// may therefore exceed BackoffMax by the jitter's share. random is in [0, 1).
func (p Policy) delay(n int, random float64) time.Duration {
	if n <= 0 || p.BackoffInitial <= 0 {
		return 0
	}
	d := p.BackoffInitial
	for i := 1; i < n && d < p.BackoffMax; i++ {
		d *= 2
		if d <= 0 { // doubled out of range
			d = math.MaxInt64
		}
	}
	d = max(min(d, p.BackoffMax), 0)
	return scale(d, 1+clamp01(p.Jitter)*(2*clamp01(random)-1))
}

// scale multiplies without leaving the range of durations.
func scale(d time.Duration, factor float64) time.Duration {
	f := float64(d) * factor
	if f >= math.MaxInt64 {
		return math.MaxInt64
	}
	return time.Duration(f)
}

// clamp01 also turns NaN into 0: a bad number must not make a bad delay.
func clamp01(f float64) float64 {
	if f > 0 {
		return min(f, 1)
	}
	return 0
}
