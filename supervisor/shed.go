package supervisor

import "time"

const (
	// shedAfter is how many calls must have left a queue before its rate is
	// believed.
	shedAfter = 16
	// shedMargin is how much faster than seen the server may become: a call is
	// refused only if even then its turn comes too late.
	shedMargin = 2
	// drainWeight is the share of one call in the smoothed rate.
	drainWeight = 1.0 / 16
)

// DrainRate is how fast the calls that wait in front of a server get their
// turn. It is a value; the zero DrainRate knows nothing.
type DrainRate struct {
	perCall float64 // seconds from one turn to the next, smoothed
	seen    int     // turns behind it, up to shedAfter
	since   time.Time
}

// Begin tells that calls wait from now on: only such time says how fast the
// server is.
func (r DrainRate) Begin(now time.Time) DrainRate {
	r.since = now
	return r
}

// Drained tells that n calls got their turn since the last Begin or Drained.
func (r DrainRate) Drained(n int, now time.Time) DrainRate {
	if n <= 0 {
		return r
	}
	if r.since.IsZero() {
		return r.Begin(now)
	}
	each := max(now.Sub(r.since).Seconds(), 0) / float64(n)
	for range min(n, 64) { // more of the same change nothing
		if r.seen == 0 {
			r.perCall = each
		}
		r.perCall += drainWeight * (each - r.perCall)
		r.seen = min(r.seen+1, shedAfter)
	}
	r.since = now
	return r
}

// TooLate decides whether a call with so many ahead of it cannot get its turn
// before its deadline, and tells the wait that it has before it at the rate
// seen so far. A call without a deadline is never too late.
func (r DrainRate) TooLate(ahead int, now, deadline time.Time) (wait time.Duration, late bool) {
	if r.seen < shedAfter || deadline.IsZero() {
		return 0, false
	}
	wait = scale(time.Second, r.perCall*float64(ahead+1))
	return wait, wait/shedMargin > deadline.Sub(now)
}
