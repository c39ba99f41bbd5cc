package supervisor

import "time"

// timerFired handles the armed timer of its kind; Step dropped stale ones.
func (s *step) timerFired(in TimerFired) {
	s.m.Timers[in.Kind] = 0
	switch in.Kind {
	case TimerRetry:
		s.retry()
	case TimerProbe:
		s.probeElapsed(in.LastReply)
	case TimerIdle:
		s.idleElapsed(in.InFlight, in.LastUsed)
	case TimerStable:
		s.forget()
	}
}

// idleElapsed stops an instance that nobody used for the idle TTL. Calls in
// flight are use, however long they take, and so is being replaced.
func (s *step) idleElapsed(inFlight int, lastUsed time.Time) {
	if inFlight > 0 || s.m.Candidate.Epoch != 0 {
		s.arm(TimerIdle, s.m.Policy.IdleTTL)
		return
	}
	if lastUsed.Before(s.m.ReadySince) {
		lastUsed = s.m.ReadySince // a use of the instance before this one
	}
	idle := s.env.Now.Sub(lastUsed)
	if rest := s.m.Policy.IdleTTL - idle; rest > 0 {
		s.arm(TimerIdle, rest)
		return
	}
	s.emit(ServerIdleDetected, map[string]any{
		"idle_duration_s": idle.Seconds(),
		"last_used_at":    float64(lastUsed.UnixNano()) / float64(time.Second),
	})
	s.stop(StopInstance{Epoch: s.m.Epoch, Reason: reasonIdle, Drain: true})
}

// policyChanged takes the new policy. A timer is armed anew only when its own
// duration changed: a reload that changes nothing must not put off probes and
// idle stops, however often it comes.
func (s *step) policyChanged(p Policy) {
	old := s.m.Policy
	s.m.Policy = p
	if !s.m.Serving() {
		return
	}
	if old.IdleTTL != p.IdleTTL {
		s.rearm(TimerIdle, p.IdleTTL)
	}
	// While an answer is outstanding the timer rests; the answer arms it.
	if old.ProbeInterval != p.ProbeInterval && (s.m.Armed(TimerProbe) || old.ProbeInterval <= 0) {
		s.rearm(TimerProbe, s.probeDelay())
	}
}

// arm arms the timer of a kind, replacing an armed one. No duration means that
// the policy does not want the timer; only a retry may be due at once.
func (s *step) arm(kind TimerKind, after time.Duration) {
	if after <= 0 && kind != TimerRetry {
		return
	}
	s.m.TimerSeq++
	s.m.Timers[kind] = s.m.TimerSeq
	s.do(ArmTimer{Kind: kind, Seq: s.m.TimerSeq, After: after})
}

func (s *step) rearm(kind TimerKind, after time.Duration) {
	if after <= 0 {
		s.cancel(kind)
		return
	}
	s.arm(kind, after)
}

func (s *step) cancel(kind TimerKind) {
	if !s.m.Armed(kind) {
		return
	}
	s.m.Timers[kind] = 0
	s.do(CancelTimer{Kind: kind})
}

func (s *step) cancelAll() {
	for kind := range TimerKinds {
		s.cancel(kind)
	}
}
