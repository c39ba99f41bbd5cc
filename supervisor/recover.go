package supervisor

import "time"

// recover restarts a server whose instance ended without anybody wanting it:
// the first time of a streak at once but for its spread, later after a delay,
// and not at all when the budget is used up.
func (s *step) recover(reason string) {
	if !s.m.hasBudget(s.env.Now) {
		s.giveUp(reason)
		return
	}
	delay := s.nextDelay(0)
	if delay == 0 {
		s.restart(s.m.Policy.spread(s.env.Jitter))
		return
	}
	s.backOff(delay)
	if s.m.State == Degraded {
		// Calls are refused from here on, so those that wait are answered too.
		s.do(FailWaiting{Reason: reason, RetryAfter: delay})
	}
}

// retry carries out a planned restart. The budget was there when it was
// planned, but a new policy may have taken it away.
func (s *step) retry() {
	if !s.m.Lost && !s.m.hasBudget(s.env.Now) {
		s.giveUp(reasonBudget)
		return
	}
	s.restart(0)
}

// restart is an automatic start: the only kind that counts, unless it is for a
// loss.
func (s *step) restart(after time.Duration) {
	lost := s.m.Lost
	if !lost {
		s.count()
	}
	s.startAfter(after)
	s.m.Recovering, s.m.Lost = true, lost
}

// giveUp leaves the server dead until a call after the window has slid, or an
// operator, starts it. Waiting calls are answered: no restart is planned that
// they could wait for.
func (s *step) giveUp(reason string) {
	s.cancel(TimerRetry)
	s.endEpoch()
	s.become(Dead)
	s.m.Phase = PhaseGaveUp
	s.emit(ServerGaveUp, map[string]any{
		"restarts": s.m.BudgetUsed(s.env.Now),
		"period_s": s.m.Policy.Period.Seconds(),
		"reason":   reason,
	})
	told := reasonGaveUp
	if reason != reasonBudget {
		told += ", the last time: " + reason
	}
	s.do(FailWaiting{Reason: told, RetryAfter: s.m.RetryIn(s.env.Now), GaveUp: true})
}
