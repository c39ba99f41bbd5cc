package supervisor

import (
	"slices"
	"time"
)

// Reasons of GroupMemberHealthChanged; the two thresholds are the contract's.
const (
	reasonUnhealthy    = "unhealthy_threshold_reached"
	reasonHealthy      = "healthy_threshold_reached"
	reasonMemberFailed = "member_failed"
	reasonMemberStop   = "member_stopped"
	reasonSlow         = "latency_outlier"
	reasonEjectionOver = "ejection_over"
	reasonRebalanced   = "rebalanced"
)

// groupStep is one call of Step while it runs.
type groupStep struct {
	g   Group
	now time.Time
	out []Effect
}

// NewGroup returns a group for a spec that has no members yet; they come with
// its first GroupSpecChanged.
func NewGroup(spec GroupSpec) Group {
	return Group{Spec: GroupSpec{ID: spec.ID, Strategy: spec.Strategy, MinHealthy: spec.MinHealthy}}
}

// Step decides what one input means: the next group, and the effects in order.
// It does not change g, and the same arguments always give the same answer.
func (g Group) Step(in GroupInput, now time.Time) (Group, []Effect) {
	s := groupStep{g: g, now: now}
	s.g.Members = slices.Clone(g.Members)
	switch in := in.(type) {
	case GroupSpecChanged:
		s.specChanged(in)
	case MemberChanged:
		if m := s.member(in.ID); m != nil {
			s.changed(m, in.Condition)
		}
	case MemberReported:
		if m := s.member(in.ID); m != nil && in.OK {
			s.succeeded(m)
		} else if m != nil {
			s.failed(m)
			s.eject(m, reasonUnhealthy)
		}
	case LatenciesMeasured:
		s.measured(in.Members)
	case ProbeReturned:
		s.g.probe++
	case Rebalanced:
		s.rebalance()
	case GroupTimeElapsed:
		s.elapsed()
	}
	s.report(g)
	return s.g, s.out
}

func (s *groupStep) member(id string) *Member {
	if i := s.g.index(id); i >= 0 {
		return &s.g.Members[i]
	}
	return nil
}

func (s *groupStep) emit(kind EventKind, data map[string]any) {
	s.out = append(s.out, Emit{Event{Kind: kind, Group: s.g.Spec.ID, Data: data}})
}

// wake starts a member's server. One that fails is tried again later.
func (s *groupStep) wake(m *Member) {
	m.reviveAt = s.now.Add(s.g.Spec.BreakerReset)
	s.out = append(s.out, WakeMember{m.ID})
}

func (s *groupStep) specChanged(in GroupSpecChanged) {
	old := s.g.Members
	s.g.Spec = in.Spec
	s.g.probe++ // the one under way may be of a member that is gone
	s.g.Members = make([]Member, len(in.Spec.Members))
	for i, want := range in.Spec.Members {
		m := &s.g.Members[i]
		if j := slices.IndexFunc(old, func(m Member) bool { return m.ID == want.ID }); j >= 0 {
			*m = old[j]
			m.GroupMember = want
		} else {
			m.GroupMember, m.Condition = want, in.Known[want.ID]
			s.join(m)
		}
		if m.Condition == ConditionCold && in.Spec.AutoStart {
			m.Condition = ConditionStarting
			s.wake(m)
		}
	}
	switch {
	case in.Spec.Outlier.Factor <= 0:
		s.g.measureAt = time.Time{}
	case s.g.measureAt.IsZero():
		s.g.measureAt = s.now.Add(in.Spec.Outlier.Interval)
	}
}

// join takes a new member as it is found.
func (s *groupStep) join(m *Member) {
	switch m.Condition {
	case ConditionReady:
		m.Successes = s.g.Spec.HealthyThreshold
		s.turn(m, true, reasonHealthy)
	case ConditionFailed:
		if m.fell = true; s.g.Spec.AutoStart {
			s.wake(m)
		}
	case ConditionIdle, ConditionStopped:
		m.Condition = ConditionCold
	}
}

// turn puts a member into rotation or takes it out.
func (s *groupStep) turn(m *Member, in bool, reason string) {
	if m.InRotation == in {
		return
	}
	m.InRotation = in
	if in {
		m.Back = time.Time{}
		if m.fell {
			m.Back = s.now
		}
		m.fell, m.slow, m.ejectedUntil, m.reviveAt = false, false, time.Time{}, time.Time{}
	}
	s.emit(GroupMemberHealthChanged, map[string]any{"member_id": m.ID, "in_rotation": in, "reason": reason})
}

// changed takes a member's condition. An idle stop is no failure, and a stop
// by somebody's wish none either, but it takes the member out.
func (s *groupStep) changed(m *Member, to Condition) {
	was := m.Condition
	m.Condition = to
	switch to {
	case ConditionReady:
		s.succeeded(m)
	case ConditionFailed:
		s.failed(m)
		m.fell, m.slow, m.ejectedUntil = true, false, time.Time{}
		s.turn(m, false, reasonMemberFailed)
		if m.reviveAt.IsZero() {
			m.reviveAt = s.now.Add(s.g.Spec.BreakerReset)
		}
	case ConditionStopped:
		m.Successes, m.slow = 0, false
		m.reviveAt, m.ejectedUntil = time.Time{}, time.Time{}
		s.turn(m, false, reasonMemberStop)
	case ConditionIdle:
		m.ejectedUntil = time.Time{}
		switch {
		case m.InRotation:
		case was == ConditionFailed: // a reset or a new spec: a new chance
			s.wake(m)
		default:
			m.slow = false
			m.reviveAt = s.now.Add(s.g.Spec.BreakerReset)
		}
	}
}

func (s *groupStep) succeeded(m *Member) {
	s.g.Breaker.success()
	m.Failures = 0
	m.Successes++
	if m.Condition == ConditionReady {
		m.reviveAt = time.Time{}
		// The threshold is for a way back: a first start is enough.
		if !m.slow && (!m.fell || m.Successes >= s.g.Spec.HealthyThreshold) {
			s.turn(m, true, reasonHealthy)
		}
	}
}

func (s *groupStep) failed(m *Member) {
	m.Failures++
	m.Successes = 0
	s.g.Breaker.failure(s.g.Spec.BreakerThreshold, s.g.Spec.BreakerReset, s.now)
}

// eject takes out a member whose server runs, for a while, if its failures
// reached the threshold and if half of the group is left: what half of the
// members do is more likely the fault of something else.
func (s *groupStep) eject(m *Member, reason string) {
	if !m.InRotation || reason == reasonUnhealthy && m.Failures < s.g.Spec.UnhealthyThreshold {
		return
	}
	if out := len(s.g.Members) - s.g.InRotation(); 2*(out+1) > len(s.g.Members) {
		return
	}
	m.fell = true
	m.ejectedUntil = s.now.Add(s.g.Spec.BreakerReset)
	s.turn(m, false, reason)
}

func (s *groupStep) rebalance() {
	s.g.Breaker = Breaker{}
	s.g.rebalance++
	for i := range s.g.Members {
		m := &s.g.Members[i]
		m.Failures, m.Successes, m.slow, m.ejectedUntil = 0, 0, false, time.Time{}
		switch m.Condition {
		case ConditionReady:
			s.turn(m, true, reasonRebalanced)
		case ConditionIdle: // not unhealthy, only asleep
		default:
			s.turn(m, false, reasonRebalanced)
		}
		if !m.InRotation && s.g.Spec.AutoStart && m.Condition != ConditionStopped && m.Condition != ConditionStarting {
			s.wake(m)
		}
	}
}

func (s *groupStep) elapsed() {
	if at := s.g.measureAt; !at.IsZero() && !s.now.Before(at) {
		s.g.measureAt = s.now.Add(s.g.Spec.Outlier.Interval)
		s.out = append(s.out, MeasureLatencies{})
	}
	if s.g.Breaker.elapsed(s.now) {
		s.g.probe++
	}
	for i := range s.g.Members {
		m := &s.g.Members[i]
		if at := m.ejectedUntil; !at.IsZero() && !s.now.Before(at) {
			m.ejectedUntil = time.Time{}
			if m.Condition == ConditionReady {
				// One more failure takes it out again.
				m.Failures = min(m.Failures, s.g.Spec.UnhealthyThreshold-1)
				s.turn(m, true, reasonEjectionOver)
			}
		}
		if at := m.reviveAt; !at.IsZero() && !s.now.Before(at) {
			s.wake(m)
		}
	}
}

// report tells what the step changed in the group as a whole.
func (s *groupStep) report(before Group) {
	was, is := before.Breaker.State(), s.g.Breaker.State()
	if was != is {
		switch is {
		case CircuitOpen:
			s.emit(GroupCircuitOpened, map[string]any{"failure_count": s.g.Breaker.Failures})
		case CircuitClosed:
			s.emit(GroupCircuitClosed, map[string]any{})
		}
		s.emit(CircuitBreakerStateChanged, map[string]any{"mcp_server_id": s.g.Spec.ID, "old_state": was, "new_state": is})
	}
	if was, is := before.State(), s.g.State(); was != is {
		s.emit(GroupStateChanged, map[string]any{
			"old_state": was, "new_state": is, "healthy_count": s.g.InRotation(), "total_count": len(s.g.Members),
		})
	}
}
