package supervisor

import "time"

// Snapshot is what of a machine survives the runtime, as it is stored. Times are
// kept as distances from SavedAt, because the clock of the next run may say
// anything. A field that is missing is zero and means what zero means in a
// Machine; unknown fields are of a newer version and ignored.
type Snapshot struct {
	SavedAt time.Time `json:"saved_at"` // wall clock
	State   string    `json:"state"`
	Phase   string    `json:"phase,omitempty"`
	Epoch   uint64    `json:"epoch"`
	// Running: an instance lived, was starting, or a restart was planned. It
	// is what the server is wanted to be, whatever it was at the moment.
	Running  bool            `json:"running,omitempty"`
	Failures int             `json:"failures,omitempty"`
	Streak   int             `json:"streak,omitempty"`
	Restarts []time.Duration `json:"restarts_ago_ns,omitempty"` // oldest first
	RetryIn  time.Duration   `json:"retry_in_ns,omitempty"`
	Held     bool            `json:"held,omitempty"` // RetryIn is set: 0 is due
	Revision uint64          `json:"revision,omitempty"`
}

// Snapshot returns what is to be stored of the machine at now.
func (m Machine) Snapshot(now time.Time) Snapshot {
	s := Snapshot{
		SavedAt: now.UTC().Round(0), State: m.State.String(), Phase: m.Phase.String(), Epoch: m.LastEpoch(),
		Running:  m.wantedRunning(),
		Failures: m.Failures, Streak: m.Streak, Revision: m.Revision,
	}
	for _, at := range m.Restarts {
		if m.inWindow(at, now) {
			s.Restarts = append(s.Restarts, max(now.Sub(at), 0))
		}
	}
	if !m.NextRetryAt.IsZero() {
		s.Held, s.RetryIn = true, max(m.NextRetryAt.Sub(now), 0)
	}
	return s
}

// stopsForGood: a stop is under way that no start follows.
func (m Machine) stopsForGood() bool {
	return m.Phase == PhaseStopping && !m.Recovering && m.StartAfter == 0
}

// maxRestored bounds the restarts taken over from a snapshot; the oldest go. It
// is more than any policy counts.
const maxRestored = 1000

// Restore returns the machine of a server whose runtime has ended, with the
// effects that make it go on: the timer of a planned restart. No instance has
// outlived the runtime, so what lived is cold; what had failed, backed off or
// given up still has, for what is left of its time. The policy is the present
// one. Whatever the snapshot and the clocks say, a wait is never longer than
// the policy could have made it, and while the clock was not set forward no
// restart of the window is forgotten.
func Restore(p Policy, s Snapshot, now time.Time) (Machine, []Effect) {
	// A clock that was set back since makes no time pass.
	passed := max(now.Sub(s.SavedAt), 0)
	m := NewMachine(p)
	m.Epoch, m.Failures, m.Streak, m.Revision = s.Epoch, max(s.Failures, 0), max(s.Streak, 0), s.Revision
	m.Restarts = restored(s.Restarts, passed, p.Period, now)
	left := min(max(s.RetryIn-passed, 0), p.longestDelay())
	st := step{m: m, env: Env{Now: now}}
	switch {
	case s.State == Degraded.String() && s.Phase != PhaseStopping.String():
		st.m.State = Degraded
	case s.State == Dead.String():
		st.m.State = Dead
	default: // it lived, or was never started
		return m, nil
	}
	switch {
	case s.Phase == PhaseGaveUp.String() && st.m.State == Dead:
		st.m.Phase = PhaseGaveUp
	case s.Phase == PhaseBackoff.String() && p.Restart != Temporary:
		st.backOff(left)
	case s.Held && st.m.State == Degraded:
		st.m.NextRetryAt = now.Add(left)
	}
	return st.m, st.out
}

// restored turns ages into dates, oldest first, and leaves out what has slid
// out of the window.
func restored(ages []time.Duration, passed, period time.Duration, now time.Time) (restarts []time.Time) {
	for _, ago := range ages[max(0, len(ages)-maxRestored):] {
		ago = max(ago, 0)
		if passed >= period || ago >= period-passed {
			continue
		}
		at := now.Add(-passed - ago)
		if n := len(restarts); n > 0 && at.Before(restarts[n-1]) {
			at = restarts[n-1]
		}
		restarts = append(restarts, at)
	}
	return restarts
}

// longestDelay is the cap of the backoff with all of its jitter.
func (p Policy) longestDelay() time.Duration {
	return scale(max(p.BackoffMax, 0), 1+clamp01(p.Jitter))
}
