package supervisor

import "time"

// step is one call of Step while it runs: the machine that becomes the next
// one, and the effects so far.
type step struct {
	m   Machine
	env Env
	out []Effect

	counted   bool // a restart was added to the window
	takenBack bool // the last one was taken out again
}

// Step decides what one input means. It returns the next machine and what the
// shell has to do, in order; no effects and the same machine when the input
// changes nothing, as a fact of an old epoch or a stale timer does. It does not
// change m or anything m refers to, and the same arguments always give the same
// answer. Steps of one server are for one goroutine at a time; the machine that
// was passed in stays valid for reading anywhere.
func (m Machine) Step(in Input, env Env) (Machine, []Effect) {
	if m.isStale(in) {
		return m, nil
	}
	s := step{m: m, env: env}
	switch in := in.(type) {
	case StartWanted:
		s.startWanted(in.Cause)
	case StopWanted:
		s.stopWanted(in)
	case ResetWanted:
		s.resetWanted()
	case ReplaceWanted:
		s.replaceWanted(in.Policy)
	case ReplaceWithdrawn:
		s.giveUpCandidate(in.Reason)
	case Started:
		if m.isCandidate(in.Epoch) {
			s.switchOver(in)
			break
		}
		s.started(in)
	case StartFailed:
		s.ended(in.Epoch, in.Class, in.Reason, false)
	case Exited:
		class := FailTransient
		if in.Class == FailResource {
			class = FailResource
		}
		s.ended(in.Epoch, class, in.Reason, in.Normal)
	case ProbePassed:
		s.probePassed(in.Duration)
	case ProbeFailed:
		s.probeFailed(in.Reason)
	case TimerFired:
		s.timerFired(in)
	case PolicyChanged:
		s.policyChanged(in.Policy)
	}
	s.note(m)
	return s.m, s.out
}

// isStale tells the inputs that are about something past: they must be dropped
// before anything looks at them.
func (m Machine) isStale(in Input) bool {
	switch in := in.(type) {
	case Started:
		if m.isCandidate(in.Epoch) {
			return false
		}
		return !m.isCurrent(in.Epoch) || m.State != Initializing || m.Phase != PhaseNone
	case StartFailed:
		return !m.isKnown(in.Epoch)
	case Exited:
		return !m.isKnown(in.Epoch)
	case ProbePassed:
		return !m.isCurrent(in.Epoch) || !m.Serving()
	case ProbeFailed:
		return !m.isCurrent(in.Epoch) || !m.Serving()
	case TimerFired:
		return !m.Armed(in.Kind) || m.Timers[in.Kind] != in.Seq
	}
	return false
}

func (m Machine) isCurrent(epoch uint64) bool { return m.Live && epoch == m.Epoch }

// isKnown tells whether something of the epoch may exist.
func (m Machine) isKnown(epoch uint64) bool {
	return m.isCurrent(epoch) || m.isCandidate(epoch) || m.isLeaver(epoch)
}

func (s *step) do(e Effect) { s.out = append(s.out, e) }

func (s *step) emit(kind EventKind, data map[string]any) {
	s.do(Emit{Event: Event{Kind: kind, Epoch: s.m.Epoch, Data: data}})
}

// milliseconds is how the contract spells durations.
func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
