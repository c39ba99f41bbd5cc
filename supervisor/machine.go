package supervisor

import "time"

// Policy is what Step decides by. Zero fields are not defaulted here:
// PolicyOf does that.
type Policy struct {
	Restart        Restart
	MaxRestarts    int           // automatic restarts allowed in Period
	Period         time.Duration // the intensity's window
	BackoffInitial time.Duration // delay of the second restart in a row; the first is at once
	BackoffMax     time.Duration
	Jitter         float64       // share of the delay that is random, 0 to 1
	StableAfter    time.Duration // uptime that forgets past failures
	MaxFailures    int           // consecutive failures until degraded
	IdleTTL        time.Duration
	ProbeInterval  time.Duration
}

// Machine is the whole state of one server's supervision: a value without
// clock, goroutine or I/O.
type Machine struct {
	Policy      Policy
	State       State
	Phase       Phase
	Epoch       uint64 // of the last start attempt
	Live        bool   // an instance or attempt of Epoch may exist
	Failures    int    // consecutive failures of starts, crashes, probe series
	ProbeMisses int    // consecutive failed probes of this instance
	Restarts    []time.Time
	NextRetryAt time.Time
	ReadySince  time.Time
	StopReason  string
	StartAfter  Cause // a start wanted while an instance was ending
	Timers      [TimerKinds]uint64
	TimerSeq    uint64
}

// Env is what a step may know of the world.
type Env struct {
	Now    time.Time
	Jitter float64 // fresh random number in [0, 1)
}
