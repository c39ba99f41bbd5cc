package supervisor

import "time"

// probeJitter spreads the probes: hundreds of servers that were started
// together must not be asked together for ever after.
const probeJitter = 0.1

// probeDelay is the time until the next probe: the interval, more or less a
// tenth.
func (s *step) probeDelay() time.Duration {
	return scale(s.m.Policy.ProbeInterval, 1+probeJitter*(2*clamp01(s.env.Jitter)-1))
}

// probeElapsed asks for a sign of life, unless the instance gave one since the
// last probe: answered calls are as good as an answered probe.
func (s *step) probeElapsed(lastReply time.Time) {
	if s.env.Now.Sub(lastReply) < s.m.Policy.ProbeInterval {
		s.m.ProbeMisses = 0
		s.do(ProbeSpared{})
		s.arm(TimerProbe, s.probeDelay())
		return
	}
	s.do(ProbeInstance{Epoch: s.m.Epoch})
}

func (s *step) probePassed(took time.Duration) {
	s.m.ProbeMisses = 0
	s.emit(HealthCheckPassed, map[string]any{"duration_ms": milliseconds(took)})
	s.arm(TimerProbe, s.probeDelay())
}

// probeFailed counts a missed answer. At the limit the instance is degraded
// and killed at once: one that answers no probe will not drain either.
func (s *step) probeFailed(reason string) {
	s.m.ProbeMisses++
	s.emit(HealthCheckFailed, map[string]any{
		"consecutive_failures": s.m.ProbeMisses,
		"error_message":        reason,
	})
	if s.m.ProbeMisses < s.m.Policy.MaxFailures || s.m.Candidate.Epoch != 0 {
		s.arm(TimerProbe, s.probeDelay())
		return
	}
	s.m.Failures++
	s.emitDegraded(s.m.ProbeMisses, reason)
	s.become(Degraded)
	s.stop(StopInstance{Epoch: s.m.Epoch, Reason: reasonUnresponsive, Kill: true})
	s.m.Recovering = true // a restart follows, unless somebody stops the server now
}
