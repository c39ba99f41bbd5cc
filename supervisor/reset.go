package supervisor

// resetWanted is an operator's word that past trouble counts no more. Calls
// that wait for a planned restart are not answered: the server is at rest
// afterwards, and the shell asks for their start (see AtRest).
func (s *step) resetWanted() {
	if s.m.State == Cold && s.m.Failures+s.m.Streak+len(s.m.Restarts) == 0 {
		return
	}
	s.emit(ServerReset, map[string]any{
		"old_state":            s.m.State.String(),
		"phase":                s.m.Phase.String(),
		"consecutive_failures": s.m.Failures,
		"restarts":             s.m.BudgetUsed(s.env.Now),
	})
	s.forget()
	s.m.Restarts = nil
	if s.m.Live || s.m.State == Cold {
		return
	}
	s.cancelAll()
	s.endEpoch()
	if s.m.Policy.Restart == Permanent {
		s.start()
		return
	}
	s.become(Cold)
}

// Revived is the machine of a server whose shell was lost together with its
// instance: cold, with nothing of the past but the numbers that must not
// repeat.
func (m Machine) Revived() Machine {
	fresh := NewMachine(m.Policy)
	fresh.Epoch, fresh.TimerSeq, fresh.Revision = m.LastEpoch(), m.TimerSeq, m.Revision+1
	return fresh
}
