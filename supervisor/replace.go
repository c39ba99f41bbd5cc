package supervisor

// ReasonReplaced stands in the event of an instance that handed over.
const ReasonReplaced = "replaced"

// Candidate is the second instance of a server while it comes up beside the one
// that serves. The zero Candidate is none.
type Candidate struct {
	Epoch  uint64
	Policy Policy // of the spec it is started with; it comes into force with it
}

// Leaver is the other second instance: the one that handed over and finishes
// its calls, or a candidate that was given up and is not gone yet. The zero
// Leaver is none. While there is one there is no Candidate.
type Leaver struct {
	Epoch  uint64
	Served bool // it was the server's instance
}

// CanReplace reports whether a ReplaceWanted starts a candidate.
func (m Machine) CanReplace() bool {
	return m.Serving() && m.Candidate.Epoch == 0 && m.Leaver.Epoch == 0
}

// LastEpoch is the highest epoch that was given to a start attempt.
func (m Machine) LastEpoch() uint64 { return max(m.Epoch, m.Spent) }

func (m Machine) isCandidate(epoch uint64) bool { return epoch != 0 && epoch == m.Candidate.Epoch }
func (m Machine) isLeaver(epoch uint64) bool    { return epoch != 0 && epoch == m.Leaver.Epoch }

// replaceWanted starts a candidate. The instance that serves goes on meanwhile;
// it is neither stopped for being idle nor killed for want of answers, because
// the candidate ends it either way, or gives it back to those timers.
func (s *step) replaceWanted(p Policy) {
	if !s.m.CanReplace() {
		return
	}
	s.m.Spent = s.m.LastEpoch() + 1
	s.m.Candidate = Candidate{Epoch: s.m.Spent, Policy: p}
	s.do(StartInstance{Epoch: s.m.Spent, Candidate: true})
}

// switchOver makes the candidate the server's instance in one step; the old one
// drains. The state stays ready. Its end was wanted, so past failures are
// forgotten.
func (s *step) switchOver(in Started) {
	old := s.m.Epoch
	s.cancelAll()
	s.endEpoch()
	s.forget()
	s.m.Leaver = Leaver{Epoch: old, Served: true}
	s.promote()
	s.m.ReadySince = s.env.Now
	s.do(SwitchInstance{Epoch: s.m.Epoch, Old: old})
	s.emitStarted(in)
	s.do(ReleaseWaiting{})
	s.armReady()
	s.do(StopInstance{Epoch: old, Reason: ReasonReplaced, Drain: true, Replaced: true})
}

// promote makes the candidate's epoch the server's.
func (s *step) promote() {
	s.m.Epoch, s.m.Policy, s.m.Live = s.m.Candidate.Epoch, s.m.Candidate.Policy, true
	s.m.Candidate = Candidate{}
}

// takeOver: the instance that serves ended while a candidate came up. The
// candidate's attempt goes on as the start that would follow anyway. After a
// crash it is the automatic restart and counts as one; without budget for that
// it is still the start that an operator's change asked for.
func (s *step) takeOver(class FailureClass, reason string, normal bool) {
	crashed := !normal || s.m.Policy.Restart == Permanent
	s.cancelAll()
	if crashed {
		if class != FailResource {
			s.m.Failures++
		}
		s.emitCrashed(reason)
		s.endEpoch()
		s.become(Dead)
	} else {
		s.endEpoch()
		s.forget()
		s.emit(ServerStopped, map[string]any{"reason": reasonExited})
		s.become(Cold)
	}
	s.promote()
	if crashed && class != FailResource && s.m.Policy.Restart != Temporary && s.m.hasBudget(s.env.Now) {
		s.count()
		s.m.Recovering = true
		s.nextDelay(0) // begins or goes on with the streak; this attempt did not wait
	}
	s.become(Initializing)
	s.do(PromoteCandidate{Epoch: s.m.Epoch})
}

// candidateFailed leaves everything as it was before the candidate.
func (s *step) candidateFailed(class FailureClass, reason string) {
	s.emitReplaceFailed(s.m.Candidate.Epoch, map[string]any{"reason": reason, "class": class.String()})
	s.m.Candidate = Candidate{}
}

// giveUpCandidate ends a candidate that nobody wants any more.
func (s *step) giveUpCandidate(reason string) {
	epoch := s.m.Candidate.Epoch
	if epoch == 0 {
		return
	}
	s.m.Candidate, s.m.Leaver = Candidate{}, Leaver{Epoch: epoch}
	s.emitReplaceFailed(epoch, map[string]any{"reason": reason})
	s.do(StopInstance{Epoch: epoch, Reason: reason})
}

// hastenLeaver: a stop of the server is one of all its instances, and none
// takes longer than the usual grace.
func (s *step) hastenLeaver(reason string) {
	if s.m.Leaver.Epoch != 0 {
		s.do(StopInstance{Epoch: s.m.Leaver.Epoch, Reason: reason, Drain: s.m.Leaver.Served})
	}
}

func (s *step) leaverGone() {
	left := s.m.Leaver
	s.m.Leaver = Leaver{}
	if left.Served {
		s.do(Emit{Event: Event{Kind: ServerStopped, Epoch: left.Epoch, Data: map[string]any{"reason": ReasonReplaced}}})
	}
}

func (s *step) emitReplaceFailed(epoch uint64, data map[string]any) {
	s.do(Emit{Event: Event{Kind: ServerReplaceFailed, Epoch: epoch, Data: data}})
}
