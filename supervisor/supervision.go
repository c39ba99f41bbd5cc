package supervisor

import (
	"slices"
	"time"
)

// RestartStrategy says what else is restarted when a server is restarted after
// a crash, and what is stopped when it is given up. OTP asks it of a
// supervisor; here the server that crashed is asked.
type RestartStrategy string

// OneForOne restarts the crashed server alone, RestForOne also every server
// that depends on it, directly or not, AllForOne its whole connected group of
// dependencies and dependents.
const (
	OneForOne  RestartStrategy = "one_for_one"
	RestForOne RestartStrategy = "rest_for_one"
	AllForOne  RestartStrategy = "all_for_one"
)

// Bounds of the supervision keys of a spec.
const (
	// MaxDependsOn bounds the servers one server names in depends_on.
	MaxDependsOn     = 100
	MaxMaxRestarts   = 1000
	MaxRestartPeriod = 24 * time.Hour
	MinBackoff       = time.Millisecond
	MaxBackoff       = time.Hour
	MaxResetAfter    = 24 * time.Hour
)

// Backoff is the curve of the delays between automatic restarts. The zero
// Backoff stands for DefaultBackoff; in one that is not zero, durations that
// are zero take defaults that fit the others, and Jitter 0 means none.
type Backoff struct {
	Initial    time.Duration `json:"initial"`     // delay of the second restart in a row; the first is at once but for some ms of jitter
	Max        time.Duration `json:"max"`         // cap of the doubling, before jitter
	Jitter     float64       `json:"jitter"`      // a delay varies by plus or minus this share, 0 to 1
	ResetAfter time.Duration `json:"reset_after"` // uptime that forgets past failures
}

// DefaultBackoff is the curve of servers that name none.
func DefaultBackoff() Backoff {
	return Backoff{
		Initial: DefaultBackoffInitial, Max: DefaultBackoffMax,
		Jitter: DefaultJitter, ResetAfter: DefaultStableAfter,
	}
}

func (b Backoff) withDefaults() Backoff {
	if b == (Backoff{}) {
		return DefaultBackoff()
	}
	// Of first delay and cap, one that is given may force the other.
	if b.Initial == 0 {
		b.Initial = DefaultBackoffInitial
		if b.Max > 0 {
			b.Initial = min(b.Initial, b.Max)
		}
	}
	b.Max = orDefault(b.Max, max(DefaultBackoffMax, b.Initial))
	b.ResetAfter = orDefault(b.ResetAfter, DefaultStableAfter)
	return b
}

func (s ServerSpec) validateSupervision(fault func(string, ...any)) {
	switch s.Restart {
	case Permanent, Transient, Temporary:
	default:
		fault("restart %q is not one of permanent, transient, temporary", clip(string(s.Restart)))
	}
	switch s.Strategy {
	case OneForOne, RestForOne, AllForOne:
	default:
		fault("strategy %q is not one of one_for_one, rest_for_one, all_for_one", clip(string(s.Strategy)))
	}
	if s.MaxRestarts < 1 || s.MaxRestarts > MaxMaxRestarts {
		fault("max_restarts must be between 1 and %d; restart: temporary is for none", MaxMaxRestarts)
	}
	if s.RestartPeriod < time.Second || s.RestartPeriod > MaxRestartPeriod {
		fault("period_s must be between 1 and %d", int(MaxRestartPeriod.Seconds()))
	}
	s.Backoff.validate(fault)
	s.validateDependsOn(fault)
}

func (b Backoff) validate(fault func(string, ...any)) {
	if b.Initial < MinBackoff || b.Initial > MaxBackoff {
		fault("backoff.initial_s must be between %g and %g", MinBackoff.Seconds(), MaxBackoff.Seconds())
	}
	if b.Max < b.Initial || b.Max > MaxBackoff {
		fault("backoff.max_s must be at least initial_s and at most %g", MaxBackoff.Seconds())
	}
	if !(b.Jitter >= 0 && b.Jitter <= 1) { // so that NaN is a fault too
		fault("backoff.jitter must be between 0 and 1")
	}
	if b.ResetAfter < time.Second || b.ResetAfter > MaxResetAfter {
		fault("backoff.reset_after_s must be between 1 and %g", MaxResetAfter.Seconds())
	}
}

func (s ServerSpec) validateDependsOn(fault func(string, ...any)) {
	if len(s.DependsOn) > MaxDependsOn {
		fault("depends_on has %d entries, the limit is %d", len(s.DependsOn), MaxDependsOn)
		return
	}
	for i, id := range s.DependsOn {
		switch {
		case ValidateID(id) != nil:
			fault("depends_on entry %d, %q, is not the id of a server", i, clip(id))
		case id == s.ID:
			fault("depends_on names the server itself")
		case slices.Index(s.DependsOn, id) < i:
			fault("depends_on names %q twice", id)
		}
	}
}
