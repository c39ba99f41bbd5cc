package supervisor

import "time"

// Reasons that this package gives itself.
const (
	reasonIdle         = "idle"
	reasonExited       = "exited"
	reasonUnresponsive = "unresponsive"
	reasonDegraded     = "degraded: waiting before the next start"
	reasonGaveUp       = "gave up: too many restarts"
	reasonBudget       = "restart budget used up"
)

// Reasons that the shell gives. A stop for any other reason is somebody's wish.
const (
	ReasonReload            = "config_reload"      // a changed file
	ReasonDependencyRestart = "dependency_restart" // of a group restart; unless temporary it starts again
	ReasonDependencyGaveUp  = "dependency_gave_up" // what it depends on does not come back by itself
	ReasonDependencyStopped = "dependency_stopped" // somebody stopped what it depends on
)

// stopWanted handles a wish for no instance. The first stop's reason stays;
// a later one only withdraws a start that was to follow.
func (s *step) stopWanted(in StopWanted) {
	s.hastenLeaver(in.Reason)
	switch {
	case s.m.State == Cold:
	case s.m.Phase == PhaseStopping:
		s.stopAgain(in)
	case s.m.Live:
		s.giveUpCandidate(in.Reason)
		s.m.StartAfter = in.Then
		s.stop(StopInstance{Epoch: s.m.Epoch, Reason: in.Reason, Drain: s.m.State == Ready})
	case in.Then != 0:
		// Without an instance there is none to restart; a planned restart stays
		// planned and giving up stays final.
	default:
		s.stopped(in.Reason)
	}
}

func (s *step) stopAgain(in StopWanted) {
	if in.Then != 0 && !s.m.Recovering {
		return // the stop under way does, and whether a start follows is its own matter
	}
	s.m.StartAfter = in.Then
	if s.m.Recovering {
		// The kill of an unresponsive instance was ours, the stop is not.
		s.m.Recovering = false
		s.m.StopReason = in.Reason
	}
}

// stop begins to end the live instance or attempt; its end is a later input.
func (s *step) stop(how StopInstance) {
	s.cancelAll()
	s.m.Phase = PhaseStopping
	s.m.StopReason = how.Reason
	s.m.Recovering, s.m.Lost = false, false
	s.do(how)
}

// stopped brings a server without an instance to cold. It is an end that was
// wanted, so past failures are forgotten. Calls that still wait get an answer
// unless a start follows: nothing else would ever answer them.
func (s *step) stopped(reason string) {
	after := s.m.StartAfter
	s.cancelAll()
	s.endEpoch()
	s.forget()
	s.emit(ServerStopped, map[string]any{"reason": reason})
	s.become(Cold)
	if after != 0 {
		s.startWanted(after)
		return
	}
	s.do(FailWaiting{Reason: "stopped: " + reason})
}

// endEpoch clears what belongs to one instance or to what was planned after it.
func (s *step) endEpoch() {
	s.m.Live = false
	s.m.Recovering, s.m.Lost = false, false
	s.m.Phase = PhaseNone
	s.m.ProbeMisses = 0
	s.m.RetryDelay, s.m.NextRetryAt = 0, time.Time{}
	s.m.ReadySince = time.Time{}
	s.m.StopReason = ""
	s.m.StartAfter = 0
}

// forget ends a streak of failures.
func (s *step) forget() {
	s.m.Failures = 0
	s.m.Streak = 0
}
