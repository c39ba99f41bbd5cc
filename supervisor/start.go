package supervisor

import "time"

// startWanted handles a wish for a running instance. Without an instance it
// starts one, unless the wish must wait or is refused; with one it joins what
// is under way: single flight.
func (s *step) startWanted(cause Cause) {
	if s.m.Live {
		// Only a stop in progress needs to remember the wish. An operator's
		// start is the stronger one: it also resets the counters.
		if s.m.Phase == PhaseStopping && s.m.StartAfter != CauseOperator {
			s.m.StartAfter = cause
		}
		return
	}
	if cause == CauseOperator {
		s.forget()
		s.m.Restarts = nil
		s.start()
		return
	}
	s.startForCall()
}

// startForCall starts the server for a call. Such a start is no automatic
// restart and costs no budget, but it must not be a way around the hold-off of
// a degraded server or around giving up.
func (s *step) startForCall() {
	wait := s.m.RetryIn(s.env.Now)
	switch {
	case s.m.Phase == PhaseGaveUp && !s.m.hasBudget(s.env.Now):
		s.do(FailWaiting{Reason: reasonGaveUp, RetryAfter: wait, GaveUp: true})
	case s.m.State == Degraded && wait > 0:
		s.do(FailWaiting{Reason: reasonDegraded, RetryAfter: wait})
	case s.m.State == Degraded && s.m.Phase == PhaseBackoff:
		s.retry() // it is due; its timer is only late
	case s.m.Phase == PhaseBackoff:
		// Dead: the call waits for the planned restart, which is near.
	default:
		s.start()
	}
}

// start begins the attempt of a new epoch. The old one has ended, and endEpoch
// cleared what belonged to it; here ends what was planned after it.
func (s *step) start() { s.startAfter(0) }

func (s *step) startAfter(after time.Duration) {
	s.cancel(TimerRetry)
	s.m.Epoch = s.m.LastEpoch() + 1
	s.m.Live = true
	s.m.Recovering, s.m.Lost = false, false
	s.m.Phase = PhaseNone
	s.m.RetryDelay, s.m.NextRetryAt = 0, time.Time{}
	s.become(Initializing)
	s.do(StartInstance{Epoch: s.m.Epoch, After: after})
}

func (s *step) started(in Started) {
	s.m.Recovering, s.m.Lost = false, false
	s.m.ReadySince = s.env.Now
	if s.m.Policy.StableAfter <= 0 {
		s.forget()
	}
	s.emitStarted(in)
	s.become(Ready)
	s.do(ReleaseWaiting{})
	s.armReady()
}

func (s *step) emitStarted(in Started) {
	s.emit(ServerStarted, map[string]any{
		"tools_count":         in.Tools,
		"startup_duration_ms": milliseconds(in.Duration),
	})
}

// armReady arms the timers of an instance that serves.
func (s *step) armReady() {
	s.arm(TimerProbe, s.probeDelay())
	s.arm(TimerIdle, s.m.Policy.IdleTTL)
	s.arm(TimerStable, s.m.Policy.StableAfter)
}

// startFailed decides about a failed attempt that nobody had stopped. Its
// callers are answered in every case; what differs is whether the machine
// tries again by itself.
func (s *step) startFailed(class FailureClass, reason string) {
	recovering, lost := s.m.Recovering, s.m.Lost
	s.endEpoch()
	s.emit(ServerStartFailed, map[string]any{"reason": reason, "class": class.String()})
	if class == FailResource || class == FailDependency {
		// The node or another server was short of something: no fault of this one.
		s.takeBack(recovering && !lost)
	} else {
		s.m.Failures++
	}
	again := s.retriesStart(class, recovering)
	if again && class != FailResource && !s.m.hasBudget(s.env.Now) {
		s.giveUp(reason)
		return
	}
	s.restAfterFailure(class, reason)
	if again {
		delay := s.nextDelay(1)
		if class == FailResource {
			// The want ends for all servers at once and is nobody's fault: do
			// not let the wait outlast its cause by long.
			soon := s.m.Policy
			soon.BackoffMax = min(soon.BackoffMax, maxResourceDelay)
			delay = soon.delay(s.m.Streak-1, s.env.Jitter)
		}
		s.backOff(delay)
		s.m.Lost = lost && class == FailResource
	}
	s.do(FailWaiting{Reason: reason, RetryAfter: s.m.RetryIn(s.env.Now), Class: class})
}

// maxResourceDelay bounds the wait for the next try of a start that failed for
// want of a resource of the node, before jitter.
const maxResourceDelay = 5 * time.Second

func (s *step) retriesStart(class FailureClass, recovering bool) bool {
	if class == FailPermanent || class == FailDependency || s.m.Policy.Restart == Temporary {
		return false
	}
	return recovering || s.m.Policy.Restart == Permanent
}

// restAfterFailure picks the state after a failed start. Only transient
// failures degrade: a permanent one needs an operator, and those of resources
// and dependencies say nothing about the server.
func (s *step) restAfterFailure(class FailureClass, reason string) {
	if class != FailTransient || s.m.Failures < s.m.Policy.MaxFailures {
		s.become(Dead)
		return
	}
	s.emitDegraded(s.m.Failures, reason)
	s.become(Degraded)
	// Used when no retry is planned; a planned one overwrites it.
	s.m.NextRetryAt = s.env.Now.Add(s.m.Policy.delay(s.m.Failures, s.env.Jitter))
}

func (s *step) emitDegraded(failures int, reason string) {
	s.emit(ServerDegraded, map[string]any{"consecutive_failures": failures, "reason": reason})
}
