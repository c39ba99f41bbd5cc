package supervisor

import "time"

// Defaults of the supervision policy.
const (
	DefaultMaxRestarts    = 5 // with the start before them: 6 processes in a period
	DefaultRestartPeriod  = 60 * time.Second
	DefaultBackoffInitial = 100 * time.Millisecond
	DefaultBackoffMax     = 30 * time.Second
	DefaultJitter         = 0.2
	DefaultStableAfter    = 60 * time.Second
)

// Policy is what Step decides by. Zero fields are not defaulted here:
// PolicyOf does that.
type Policy struct {
	Restart        Restart       // any other value acts as Transient
	MaxRestarts    int           // automatic restarts allowed in Period; 0: the first crash gives up
	Period         time.Duration // the intensity's window
	BackoffInitial time.Duration // delay of the second restart in a row; the first is at once, up to maxSpread
	BackoffMax     time.Duration // cap of the delay before jitter
	Jitter         float64       // the delay varies by plus or minus this share, 0 to 1
	StableAfter    time.Duration // uptime that forgets past failures; 0: being ready is enough
	MaxFailures    int           // consecutive failures until degraded
	IdleTTL        time.Duration // 0: never stopped for being idle
	ProbeInterval  time.Duration // 0: never probed
}

// PolicyOf returns the policy for a spec: its own values where it has them,
// the defaults elsewhere. The spec need not have been through WithDefaults.
func PolicyOf(spec ServerSpec) Policy {
	spec = spec.WithDefaults()
	p := Policy{
		Restart:        spec.Restart,
		MaxRestarts:    spec.MaxRestarts,
		Period:         spec.RestartPeriod,
		BackoffInitial: spec.Backoff.Initial,
		BackoffMax:     spec.Backoff.Max,
		Jitter:         spec.Backoff.Jitter,
		StableAfter:    spec.Backoff.ResetAfter,
		MaxFailures:    spec.MaxFailures,
		IdleTTL:        spec.IdleTTL,
		ProbeInterval:  spec.HealthCheckInterval,
	}
	if p.Restart == Permanent {
		p.IdleTTL = 0 // as OTP: it is kept running, used or not
	}
	return p
}

// Machine is the whole state of one server's supervision: a value without
// clock, goroutine or I/O. Its fields are for reading; only Step makes a new
// one. The zero Machine is not usable, NewMachine makes the first.
type Machine struct {
	Policy      Policy
	State       State
	Phase       Phase
	Epoch       uint64 // of the last start attempt, candidates that did not take over aside
	Live        bool   // an instance or attempt of Epoch may exist
	Recovering  bool   // the attempt, planned retry or instance being killed belongs to an automatic recovery
	Lost        bool   // that recovery is of an instance lost to the node's fault: it costs no budget while nothing else fails
	Failures    int    // consecutive failures of starts, crashes, probe series
	ProbeMisses int    // consecutive failed probes of this instance
	Streak      int    // automatic restarts planned in a row: the exponent of the next delay
	Restarts    []time.Time
	RetryDelay  time.Duration // in backoff: the delay that NextRetryAt was made with
	NextRetryAt time.Time     // in backoff: when the restart is due; degraded without backoff: until when calls are refused
	ReadySince  time.Time     // of this instance; zero if it is not or was never ready
	StopReason  string        // of the stop that is under way
	StartAfter  Cause         // a start wanted while an instance was ending
	Timers      [TimerKinds]uint64
	TimerSeq    uint64
	Candidate   Candidate // the instance that is to replace this one
	Leaver      Leaver    // the instance that is being ended beside this one
	Spent       uint64    // highest epoch of a candidate; see LastEpoch
	Revision    uint64    // grows with every step that changes the Snapshot
}

// NewMachine returns the machine of a server that never ran: cold.
func NewMachine(p Policy) Machine {
	return Machine{Policy: p, State: Cold}
}

// Env is what a step may know of the world. Now never goes back: it carries a
// monotonic reading, or comes from a test's own clock.
type Env struct {
	Now    time.Time
	Jitter float64 // fresh random number in [0, 1)
}
