package supervisor

import "time"

// Serving reports whether calls may be sent to the instance of Epoch.
func (m Machine) Serving() bool { return m.State == Ready && m.Phase == PhaseNone }

// AcceptsCall reports whether a call that comes at now is served or may wait.
// If not, a StartWanted for it is refused with FailWaiting, and RetryIn says
// when that ends.
func (m Machine) AcceptsCall(now time.Time) bool {
	switch {
	case m.Live:
		return true
	case m.Phase == PhaseGaveUp:
		return m.hasBudget(now)
	case m.State == Degraded:
		return m.RetryIn(now) == 0 && (m.Phase != PhaseBackoff || m.hasBudget(now))
	}
	return true
}

// CanStart reports whether a StartWanted for a call at now begins an attempt at
// once: no instance lives, no planned restart is to be waited for, and the call
// is not refused.
func (m Machine) CanStart(now time.Time) bool {
	waits := m.State == Dead && m.Phase == PhaseBackoff
	return !m.Live && !waits && m.AcceptsCall(now)
}

// RetryIn returns the time from now until the planned restart, until the end
// of a degraded server's hold-off, or, after giving up, until a call may start
// the server again. It is 0 when there is nothing to wait for.
func (m Machine) RetryIn(now time.Time) time.Duration {
	switch {
	case m.Phase == PhaseGaveUp:
		return m.budgetIn(now)
	case m.NextRetryAt.IsZero():
		return 0
	}
	return max(m.NextRetryAt.Sub(now), 0)
}

// AtRest reports that no instance lives and none is planned. Calls that still
// wait for this server then need a StartWanted: no other input will come.
func (m Machine) AtRest() bool { return !m.Live && m.Phase != PhaseBackoff }

// Armed reports whether the timer of the kind runs.
func (m Machine) Armed(kind TimerKind) bool { return kind < TimerKinds && m.Timers[kind] != 0 }
