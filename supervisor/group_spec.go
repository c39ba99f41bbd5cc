package supervisor

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"
)

// Strategy is how a group picks the member for a call.
type Strategy string

// The strategies of the contract (reference section 4.1).
const (
	RoundRobin         Strategy = "round_robin"
	WeightedRoundRobin Strategy = "weighted_round_robin" // smooth: a heavy member's turns are spread out
	LeastConnections   Strategy = "least_connections"    // fewest calls in flight, then least recently picked
	RandomPick         Strategy = "random"               // by weight
	ByPriority         Strategy = "priority"             // lowest number first, round robin among equals
)

// Affinity is what keeps a caller with one member.
type Affinity string

// AffinitySession keeps the calls of one session with one member while that is
// in rotation; no affinity is the empty text.
const AffinitySession Affinity = "session"

// Defaults and bounds of groups (reference section 4.2).
const (
	DefaultMinHealthy         = 1
	DefaultUnhealthyThreshold = 2
	DefaultHealthyThreshold   = 1
	DefaultBreakerThreshold   = 10
	DefaultBreakerReset       = 60 * time.Second
	DefaultSlowStart          = 10 * time.Second
	DefaultOutlierInterval    = 10 * time.Second
	DefaultOutlierEjection    = 30 * time.Second
	DefaultOutlierMinCalls    = 20
	// MaxMembers bounds the members of one group: a pick looks at each.
	MaxMembers = 100
	MaxWeight  = 100
	MaxPins    = 1000

	maxMinHealthy = 10000
	maxThreshold  = 100000
	maxGroupTime  = 24 * time.Hour
)

// GroupMember is one member as the spec wants it.
type GroupMember struct {
	ID       string `json:"id"`
	Weight   int    `json:"weight"`   // 1 to MaxWeight
	Priority int    `json:"priority"` // 1 to MaxWeight, 1 is served first
	// Owned: the server was defined inside of the group and goes with it.
	Owned bool `json:"owned,omitempty"`
}

// Canary sends a fixed share of the calls to one member, which gets no others
// while another member is in rotation.
type Canary struct {
	Member  string `json:"member"`
	Percent int    `json:"percent"` // 0 to 100
}

// OutlierPolicy ejects members that answer much slower than the others.
type OutlierPolicy struct {
	// Factor is how many times the median of the members' mean latencies a
	// member's own mean may be; 0 turns ejection by latency off.
	Factor   float64       `json:"factor"`
	Interval time.Duration `json:"interval"`  // length of a measurement
	Ejection time.Duration `json:"ejection"`  // time out of rotation
	MinCalls int           `json:"min_calls"` // of a member in a measurement, else it is not judged
}

// GroupSpec is the wanted configuration of one group. It is a value: nobody
// changes a spec, its slices or its map after handing it over.
type GroupSpec struct {
	ID          string   `json:"group_id"`
	Description string   `json:"description,omitempty"`
	Strategy    Strategy `json:"strategy"`
	MinHealthy  int      `json:"min_healthy"` // members in rotation for state healthy
	// AutoStart starts members as they join; without it a member joins the
	// rotation when somebody starts it, or at a rebalance.
	AutoStart          bool              `json:"auto_start"`
	UnhealthyThreshold int               `json:"unhealthy_threshold"` // failures in a row that take a member out
	HealthyThreshold   int               `json:"healthy_threshold"`   // successes in a row that bring it back
	BreakerThreshold   int               `json:"breaker_threshold"`   // failures in a row that open the breaker
	BreakerReset       time.Duration     `json:"breaker_reset"`       // from open to half open; also the pause between tries to revive a member
	SlowStart          time.Duration     `json:"slow_start"`          // a member that came back grows to its weight over this time, with the strategies that go by weight; negative: at once
	Affinity           Affinity          `json:"affinity,omitempty"`
	Canary             *Canary           `json:"canary,omitempty"`
	Pins               map[string]string `json:"pins,omitempty"` // principal to member, while that is in rotation
	Outlier            OutlierPolicy     `json:"outlier"`
	// Tools are predefined tool objects, listed until a member told its own.
	Tools   []json.RawMessage `json:"tools,omitempty"`
	Members []GroupMember     `json:"members"`

	Provenance Provenance `json:"provenance"`
}

// WithDefaults returns the spec with every unset field at its default, except
// AutoStart: only who decoded the input can tell an unset bool from false.
func (s GroupSpec) WithDefaults() GroupSpec {
	s.Strategy = orDefault(s.Strategy, RoundRobin)
	s.MinHealthy = max(s.MinHealthy, DefaultMinHealthy)
	s.UnhealthyThreshold = orDefault(s.UnhealthyThreshold, DefaultUnhealthyThreshold)
	s.HealthyThreshold = orDefault(s.HealthyThreshold, DefaultHealthyThreshold)
	s.BreakerThreshold = orDefault(s.BreakerThreshold, DefaultBreakerThreshold)
	s.BreakerReset = orDefault(s.BreakerReset, DefaultBreakerReset)
	s.SlowStart = orDefault(s.SlowStart, DefaultSlowStart)
	s.Outlier.Interval = orDefault(s.Outlier.Interval, DefaultOutlierInterval)
	s.Outlier.Ejection = orDefault(s.Outlier.Ejection, DefaultOutlierEjection)
	s.Outlier.MinCalls = orDefault(s.Outlier.MinCalls, DefaultOutlierMinCalls)
	s.Provenance = orDefault(s.Provenance, FromAPI)
	if len(s.Members) > 0 {
		s.Members = slices.Clone(s.Members)
		for i := range s.Members {
			s.Members[i] = s.Members[i].WithDefaults()
		}
	}
	return s
}

// WithDefaults returns the member with unset weight and priority at 1.
func (m GroupMember) WithDefaults() GroupMember {
	m.Weight, m.Priority = orDefault(m.Weight, 1), orDefault(m.Priority, 1)
	return m
}

// Has reports whether a server is a member.
func (s GroupSpec) Has(member string) bool { return s.index(member) >= 0 }

func (s GroupSpec) index(member string) int {
	return slices.IndexFunc(s.Members, func(m GroupMember) bool { return m.ID == member })
}

// With returns the spec with one more member.
func (s GroupSpec) With(m GroupMember) GroupSpec {
	s.Members = append(slices.Clone(s.Members), m)
	return s
}

// Without returns the spec without a member, and without its canary share and
// pins, which would name nobody.
func (s GroupSpec) Without(member string) GroupSpec {
	s.Members = slices.DeleteFunc(slices.Clone(s.Members), func(m GroupMember) bool { return m.ID == member })
	if s.Canary != nil && s.Canary.Member == member {
		s.Canary = nil
	}
	s.Pins = maps.Clone(s.Pins)
	maps.DeleteFunc(s.Pins, func(_, to string) bool { return to == member })
	return s
}

// Validate reports every fault of a spec (after WithDefaults) at once; each is
// ErrInvalidSpec for errors.Is. That the members exist is for the caller.
func (s GroupSpec) Validate() error {
	var faults []error
	fault := func(format string, args ...any) {
		faults = append(faults, fmt.Errorf("%w: "+format, append([]any{ErrInvalidSpec}, args...)...))
	}
	if err := validateID("group_id", s.ID); err != nil {
		faults = append(faults, err)
	}
	if !slices.Contains([]Strategy{RoundRobin, WeightedRoundRobin, LeastConnections, RandomPick, ByPriority}, s.Strategy) {
		fault("strategy %q is not one of round_robin, weighted_round_robin, least_connections, random, priority", clip(string(s.Strategy)))
	}
	if s.Affinity != "" && s.Affinity != AffinitySession {
		fault("affinity %q is not session", clip(string(s.Affinity)))
	}
	if len(s.Description) > MaxDescription {
		fault("description is longer than %d bytes", MaxDescription)
	}
	for _, n := range [...]struct {
		name        string
		value, most int
	}{
		{"min_healthy", s.MinHealthy, maxMinHealthy},
		{"unhealthy_threshold", s.UnhealthyThreshold, maxThreshold},
		{"healthy_threshold", s.HealthyThreshold, maxThreshold},
		{"failure_threshold", s.BreakerThreshold, maxThreshold},
		{"outlier min_calls", s.Outlier.MinCalls, maxThreshold},
	} {
		if n.value < 1 || n.value > n.most {
			fault("%s must be between 1 and %d", n.name, n.most)
		}
	}
	for _, d := range [...]struct {
		name         string
		value, least time.Duration
	}{
		{"reset_timeout_s", s.BreakerReset, time.Second}, {"slow_start_s", s.SlowStart, -maxGroupTime},
		{"outlier interval_s", s.Outlier.Interval, time.Second}, {"outlier ejection_s", s.Outlier.Ejection, time.Second},
	} {
		if d.value < d.least || d.value > maxGroupTime {
			fault("%s must be at most %g, and a second or more where it may not be 0", d.name, maxGroupTime.Seconds())
		}
	}
	if f := s.Outlier.Factor; f != 0 && !(f > 1 && f <= 1000) {
		fault("outlier factor must be 0 (off), or more than 1 and at most 1000")
	}
	s.validateMembers(fault)
	ServerSpec{Tools: s.Tools}.validateTools(fault)
	return errors.Join(faults...)
}

func (s GroupSpec) validateMembers(fault func(string, ...any)) {
	if len(s.Members) > MaxMembers {
		fault("the group has %d members, the limit is %d", len(s.Members), MaxMembers)
	}
	seen := make(map[string]bool, len(s.Members))
	for _, m := range s.Members {
		switch {
		case seen[m.ID]:
			fault("member_id %q is a member already", clip(m.ID))
		case m.ID == s.ID:
			fault("member_id %q is the group itself; a member is a server", clip(m.ID))
		}
		seen[m.ID] = true
		if m.Weight < 1 || m.Weight > MaxWeight {
			fault("weight of member %q must be between 1 and %d", clip(m.ID), MaxWeight)
		}
		if m.Priority < 1 || m.Priority > MaxWeight {
			fault("priority of member %q must be between 1 and %d", clip(m.ID), MaxWeight)
		}
	}
	if c := s.Canary; c != nil && (!seen[c.Member] || c.Percent < 0 || c.Percent > 100) {
		fault("canary must name a member and a percent between 0 and 100")
	}
	if len(s.Pins) > MaxPins {
		fault("pins has %d entries, the limit is %d", len(s.Pins), MaxPins)
	}
	for _, principal := range slices.Sorted(maps.Keys(s.Pins)) {
		if !seen[s.Pins[principal]] {
			fault("pins: %q is pinned to %q, which is no member", clip(principal), clip(s.Pins[principal]))
		}
	}
}

// GroupPatch is a change of a group's spec; nil fields stay as they are. All
// of it takes effect with the next call.
type GroupPatch struct {
	Description *string
	Strategy    *Strategy
	MinHealthy  *int
	AutoStart   *bool
	Affinity    *Affinity
	SlowStart   *time.Duration
	Canary      **Canary // to nil: no canary
	Pins        *map[string]string
}

// Apply returns the patched spec; the caller validates it.
func (p GroupPatch) Apply(s GroupSpec) GroupSpec {
	setIf(&s.Description, p.Description)
	setIf(&s.Strategy, p.Strategy)
	setIf(&s.MinHealthy, p.MinHealthy)
	setIf(&s.AutoStart, p.AutoStart)
	setIf(&s.Affinity, p.Affinity)
	setIf(&s.SlowStart, p.SlowStart)
	setIf(&s.Canary, p.Canary)
	setIf(&s.Pins, p.Pins)
	return s.WithDefaults()
}

func setIf[T any](to, from *T) {
	if from != nil {
		*to = *from
	}
}
