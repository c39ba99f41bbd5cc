package supervisor

import "time"

// BudgetUsed returns how many automatic restarts of the last Period count
// against MaxRestarts at now.
func (m Machine) BudgetUsed(now time.Time) int {
	used := 0
	for _, at := range m.Restarts {
		if m.inWindow(at, now) {
			used++
		}
	}
	return used
}

// inWindow: a restart leaves the window when exactly Period has passed, so any
// stretch shorter than Period holds at most MaxRestarts of them.
func (m Machine) inWindow(at, now time.Time) bool { return now.Sub(at) < m.Policy.Period }

func (m Machine) hasBudget(now time.Time) bool { return m.BudgetUsed(now) < m.Policy.MaxRestarts }

// budgetIn is the time until the window has room for one restart; 0 if it has
// room now, or never will.
func (m Machine) budgetIn(now time.Time) time.Duration {
	if m.Policy.MaxRestarts <= 0 || m.hasBudget(now) {
		return 0
	}
	// The window may be fuller than a new, smaller policy allows: what has to
	// leave is the oldest of the newest MaxRestarts.
	oldest := m.Restarts[len(m.Restarts)-m.Policy.MaxRestarts]
	return max(m.Policy.Period-now.Sub(oldest), 0)
}

// count puts a restart at now into the window: a new slice, because the old
// machine keeps its own, without what slid out. As nothing is counted without
// budget, it is never longer than MaxRestarts. A smaller policy does not shorten
// it at once, or the next larger one would grant restarts anew.
func (s *step) count() {
	window := make([]time.Time, 0, s.m.BudgetUsed(s.env.Now)+1)
	for _, at := range s.m.Restarts {
		if s.m.inWindow(at, s.env.Now) {
			window = append(window, at)
		}
	}
	s.m.Restarts, s.counted = append(window, s.env.Now), true
}

// takeBack takes the last restart out again if there was one for this attempt.
// The capacity goes with it, so that nothing appended later meets the old slice.
func (s *step) takeBack(was bool) {
	n := len(s.m.Restarts)
	if !was || n == 0 {
		return
	}
	s.m.Restarts, s.takenBack = s.m.Restarts[:n-1:n-1], true
}
