package supervisor

// ended handles the end of an epoch, however it was told: a backend may see
// the end of a starting instance as an exit, or the other way round.
func (s *step) ended(epoch uint64, class FailureClass, reason string, normal bool) {
	switch {
	case s.m.isLeaver(epoch):
		s.leaverGone()
	case s.m.isCandidate(epoch):
		s.candidateFailed(class, reason)
	case s.m.Phase == PhaseStopping && s.m.Recovering:
		s.killed()
	case s.m.Phase == PhaseStopping:
		s.stopped(s.m.StopReason)
	case s.m.State == Initializing:
		s.startFailed(class, reason)
	case s.m.Candidate.Epoch != 0:
		s.takeOver(class, reason, normal)
	case normal && s.m.Policy.Restart != Permanent:
		s.exitedByItself()
	case class == FailResource:
		s.lost(reason)
	default:
		s.crashed(reason)
	}
}

// exitedByItself: a server that is not permanent may end when it has nothing
// to do. No failure, no restart; the next call starts it. Calls that were not
// sent yet stay in the shell, which asks for a start again (see AtRest).
func (s *step) exitedByItself() {
	s.cancelAll()
	s.endEpoch()
	s.forget()
	s.emit(ServerStopped, map[string]any{"reason": reasonExited})
	s.become(Cold)
}

func (s *step) crashed(reason string) {
	s.cancelAll()
	s.m.Failures++
	s.emitCrashed(reason)
	s.endEpoch()
	s.become(Dead)
	if s.m.Policy.Restart != Temporary {
		s.recover(reason)
	}
}

// lost: the instance ended for a fault of the node, not of the server. That
// counts as no failure, and the restarts after it cost no budget for as long as
// only the node makes them fail.
func (s *step) lost(reason string) {
	s.cancelAll()
	s.emitCrashed(reason)
	s.endEpoch()
	s.become(Dead)
	if s.m.Policy.Restart != Temporary {
		s.m.Lost = true
		s.restart(s.m.Policy.spread(s.env.Jitter)) // all servers are lost together
	}
}

// killed: the instance that answered no probes is gone. Its failure was
// counted when it became degraded.
func (s *step) killed() {
	reason, after := s.m.StopReason, s.m.StartAfter
	s.emitCrashed(reason)
	s.endEpoch()
	if after == CauseOperator {
		s.startWanted(after)
		return
	}
	if s.m.Policy.Restart != Temporary {
		s.recover(reason)
		return
	}
	s.become(Dead)
	if after != 0 {
		s.startWanted(after)
	}
}

func (s *step) emitCrashed(reason string) {
	s.emit(ServerCrashed, map[string]any{
		"reason":    reason,
		"epoch":     s.m.Epoch,
		"uptime_ms": milliseconds(s.env.Now.Sub(s.m.ReadySince)),
	})
}
