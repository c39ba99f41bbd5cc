package supervisor

import (
	"slices"
	"time"
)

// Condition is what a group knows of a member's server.
type Condition uint8

// The conditions. Cold: never started as far as the group knows. Idle: at rest
// until the next call wakes it. Stopped: by somebody's wish. Failed: crashed,
// degraded, not able to start, or stopped because what it depends on failed;
// also while it recovers from that.
const (
	ConditionCold Condition = iota
	ConditionStarting
	ConditionReady
	ConditionIdle
	ConditionStopped
	ConditionFailed
)

// ConditionOf is the condition of a server with this machine. before is the one
// it had; rest is what RestAfter made of its last event: why it is down, if it is.
// down: somebody has stopped it, for whatever reason and if it ran or not, and
// nobody has wanted it since.
func ConditionOf(m Machine, before, rest Condition, down bool) Condition {
	switch {
	case down && (m.State == Cold || m.Phase == PhaseStopping):
		return ConditionStopped
	case m.Phase == PhaseStopping && m.Recovering:
		return ConditionFailed
	case m.Phase == PhaseStopping && m.StopReason == ReasonDependencyRestart && m.StartAfter != 0:
		return ConditionStopped // for a moment, and by no fault of its own
	case m.Phase == PhaseStopping:
		return conditionAtRest(m.StopReason)
	case m.State == Ready:
		return ConditionReady
	case m.State == Initializing && !m.Recovering && m.Failures == 0:
		return ConditionStarting
	case m.State == Cold && before == ConditionCold:
		return ConditionCold
	case m.State == Cold:
		return rest
	}
	return ConditionFailed
}

// RestAfter is the condition of a server that is down after this event of it;
// before is the one after the event before it.
func RestAfter(e Event, before Condition) Condition {
	switch e.Kind {
	case ServerStopped:
		if reason, _ := e.Data["reason"].(string); reason != ReasonReplaced {
			return conditionAtRest(reason)
		}
	case ServerReset:
		return ConditionIdle
	}
	return before
}

// conditionAtRest tells a server that the next call starts from one that
// somebody wants to be down.
func conditionAtRest(reason string) Condition {
	switch reason {
	case reasonIdle, reasonExited, ReasonMemory, ReasonReload:
		return ConditionIdle
	case ReasonDependencyRestart, ReasonDependencyGaveUp:
		return ConditionFailed
	}
	return ConditionStopped
}

// GroupState is the state of a group, spelled as the contract spells it.
type GroupState string

// The states (reference section 4.3): inactive without a member in rotation,
// partial with fewer than min_healthy, degraded while the breaker is open.
const (
	GroupInactive GroupState = "inactive"
	GroupPartial  GroupState = "partial"
	GroupHealthy  GroupState = "healthy"
	GroupDegraded GroupState = "degraded"
)

// Member is one member of a group as it stands.
type Member struct {
	GroupMember
	Condition  Condition
	InRotation bool
	Failures   int // in a row
	Successes  int // in a row
	// Back is when it came back into rotation after a failure; slow start
	// counts from here.
	Back         time.Time
	fell         bool      // out of rotation by a failure or an ejection
	slow         bool      // ejected for its latency: a success is no way back
	ejectedUntil time.Time // out although its server is ready
	reviveAt     time.Time // when the group tries to start it again
}

// Group is the whole state of one group: a value without clock, goroutine or
// I/O. Only NewGroup and Step make one; its fields are for reading.
type Group struct {
	Spec      GroupSpec
	Members   []Member // in the order of the spec
	Breaker   Breaker
	probe     uint64 // number of the probe that a half-open breaker may take
	rebalance uint64 // number of the last rebalance, which ends what strategies remember
	measureAt time.Time
}

// Inputs of a group; the sum is closed.
type (
	// GroupInput is one fact or wish given to Group.Step.
	GroupInput interface{ groupInput() }
	// GroupSpecChanged replaces the spec. Known are the conditions of members
	// that were not in the old one.
	GroupSpecChanged struct {
		Spec  GroupSpec
		Known map[string]Condition
	}
	// MemberChanged tells a member's condition; told again, a failure is one more.
	MemberChanged struct {
		ID        string
		Condition Condition
	}
	// MemberReported is the outcome of a health check or of a call. A call
	// that was answered has succeeded, whatever the tool said.
	MemberReported struct {
		ID string
		OK bool
	}
	// LatenciesMeasured are the calls of the members since the last measurement.
	LatenciesMeasured struct{ Members []Latency }
	// ProbeReturned says that the probe of a half-open breaker ended without
	// an outcome: another call may be the probe.
	ProbeReturned struct{}
	// Rebalanced is the wish to look at all members anew and to close the breaker.
	Rebalanced struct{}
	// GroupTimeElapsed comes when Due has come.
	GroupTimeElapsed struct{}
)

func (GroupSpecChanged) groupInput()  {}
func (MemberChanged) groupInput()     {}
func (MemberReported) groupInput()    {}
func (LatenciesMeasured) groupInput() {}
func (ProbeReturned) groupInput()     {}
func (Rebalanced) groupInput()        {}
func (GroupTimeElapsed) groupInput()  {}

// Effects of a group besides Emit.
type (
	// WakeMember asks the member's server to start as a call would.
	WakeMember struct{ ID string }
	// MeasureLatencies asks for LatenciesMeasured.
	MeasureLatencies struct{}
)

func (WakeMember) effect()       {}
func (MeasureLatencies) effect() {}

// InRotation counts the members that calls go to.
func (g Group) InRotation() int {
	n := 0
	for i := range g.Members {
		if g.Members[i].InRotation {
			n++
		}
	}
	return n
}

// State derives the group's state.
func (g Group) State() GroupState {
	switch n := g.InRotation(); {
	case g.Breaker.State() == CircuitOpen:
		return GroupDegraded
	case n == 0:
		return GroupInactive
	case n < g.Spec.MinHealthy:
		return GroupPartial
	}
	return GroupHealthy
}

// Available is the contract's is_available.
func (g Group) Available() bool {
	return g.Breaker.State() != CircuitOpen && g.InRotation() > 0
}

// Wants tells whether a success of the member would change anything; if not,
// it need not be reported.
func (g Group) Wants(i int) bool {
	m := &g.Members[i]
	return g.Breaker.wants() || m.Failures > 0 || !m.InRotation && !m.slow
}

// Due is when GroupTimeElapsed is to be given; zero for never.
func (g Group) Due() time.Time {
	var due time.Time
	soonest := func(at time.Time) {
		if !at.IsZero() && (due.IsZero() || at.Before(due)) {
			due = at
		}
	}
	soonest(g.Breaker.Until)
	soonest(g.measureAt)
	for i := range g.Members {
		soonest(g.Members[i].ejectedUntil)
		soonest(g.Members[i].reviveAt)
	}
	return due
}

func (g Group) index(id string) int {
	return slices.IndexFunc(g.Members, func(m Member) bool { return m.ID == id })
}

// Balance returns the balancer for the group as it stands. What strategies
// remember is taken over from before, which may be nil, as long as the
// strategy is the same and until a rebalance.
func (g Group) Balance(before *Balancer) *Balancer {
	b := &Balancer{spec: g.Spec, canary: -1, seats: make([]seat, len(g.Members)), probe: g.probe, rebalance: g.rebalance}
	if before != nil {
		b.probed = before.probed
	}
	if before != nil && before.spec.Strategy == g.Spec.Strategy && before.rebalance == g.rebalance {
		b.turn, b.picks, b.share = before.turn, before.picks, before.share
	} else {
		before = nil
	}
	b.places = g.places(before)
	for i := range g.Members {
		m := &g.Members[i]
		b.seats[i] = seat{id: m.ID, hash: hashOf(m.ID), weight: m.Weight, priority: m.Priority, back: m.Back}
		b.ramping = b.ramping || m.InRotation && !m.Back.IsZero() && g.Spec.SlowStart > 0
		if before != nil {
			if j := before.seatOf(m.ID); j >= 0 {
				b.seats[i].current, b.seats[i].picked = before.seats[j].current, before.seats[j].picked
			}
		}
	}
	b.from = g.candidates(func(m *Member) bool { return m.InRotation })
	if len(b.from) == 0 {
		// A first start is worth waiting for, a recovery is not.
		b.from = g.candidates(func(m *Member) bool { return m.Condition == ConditionStarting })
	}
	if len(b.from) == 0 && g.Breaker.State() == CircuitHalfOpen {
		b.from = g.candidates(func(m *Member) bool { return m.Condition == ConditionReady })
		b.probing = true
	}
	if c := g.Spec.Canary; c != nil {
		if i := b.seatOf(c.Member); slices.Contains(b.from, i) {
			b.canary = i
		}
	}
	b.settle()
	return b
}

// settle makes the sum of what smooth weighted round robin remembers 0 again
// after members came or went: else one would be preferred for a long time.
func (b *Balancer) settle() {
	sum := 0
	for i := range b.seats {
		if !slices.Contains(b.from, i) {
			b.seats[i].current = 0
		}
		sum += b.seats[i].current
	}
	if sum != 0 {
		for i := range b.seats {
			b.seats[i].current = 0
		}
	}
}

// places are the seats by member, those of before if it has the same members.
func (g Group) places(before *Balancer) map[string]int {
	if before != nil && slices.EqualFunc(g.Members, before.seats, func(m Member, s seat) bool { return m.ID == s.id }) {
		return before.places
	}
	places := make(map[string]int, len(g.Members))
	for i := range g.Members {
		places[g.Members[i].ID] = i
	}
	return places
}

func (g Group) candidates(is func(m *Member) bool) []int {
	var all []int
	for i := range g.Members {
		if is(&g.Members[i]) {
			all = append(all, i)
		}
	}
	return all
}
