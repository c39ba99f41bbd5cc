package supervisor

import (
	"sync/atomic"
	"time"

	"github.com/aabb9013/hangar/backends"
)

// View is what can be seen of a server at one moment. Views are immutable and
// shared: readers need no lock and must not change anything in them, except
// that Counters, Events, Streams and Log are live.
type View struct {
	Spec          ServerSpec
	State         State
	Phase         Phase
	Condition     Condition // as groups see it
	Epoch         uint64
	Failures      int // consecutive
	ProbeMisses   int // health checks in a row without an answer
	TotalFailures uint64
	NextRetryAt   time.Time     // zero: none planned
	ReadySince    time.Time     // zero: not ready
	PID           int           // of the running instance, 0 if none
	Restarts      int           // automatic restarts in the policy's window when the view was made; BudgetUsed is of now
	RestartTimes  []time.Time   // when automatic restarts were made, oldest first
	Streak        int           // automatic restarts planned in a row
	RetryDelay    time.Duration // the delay that NextRetryAt was made with
	ActorRestarts int64         // panics of the server's actor
	LastError     string        // of the last failed start, crash or probe
	LastSuccessAt time.Time
	LastFailureAt time.Time
	Checks        []Check // last health checks, oldest first
	Catalogue     *backends.Catalogue
	// ToolsPredefined: the tools are those of the spec, the server has not
	// yet said its own. ToolsStale: they are of an instance that has ended.
	ToolsPredefined, ToolsStale bool
	Counters                    *Counters
	Events                      *EventCounters
	Streams                     *backends.StreamCounters
	Log                         *backends.LogRing
}

// MaxChecks bounds the health checks a view keeps; the oldest go.
const MaxChecks = 20

// Check is one health check.
type Check struct {
	At       time.Time
	OK       bool
	Duration time.Duration
	Error    string
}

// Counters count a server's calls since it was made, as far as they are stored:
// a runtime that was killed forgets some seconds of them. Tool calls only, no
// starts and no health checks. They may be read at any time.
type Counters struct {
	Calls, Failed, Waiting atomic.Int64
	LastUsed               atomic.Int64 // unix ns of the last call's begin or end, 0 = never
	Memory                 atomic.Int64 // bytes of the instance's processes when last measured, 0 = not yet
}

// BudgetUsed is how many automatic restarts count at now.
func (v *View) BudgetUsed(now time.Time) int {
	return Machine{Policy: PolicyOf(v.Spec), Restarts: v.RestartTimes}.BudgetUsed(now)
}

// Alive tells whether the server's instance is up and answers.
func (v *View) Alive() bool { return v.State == Ready && v.Phase == PhaseNone }

// MemoryBytes is what the instance's processes used when they were last
// measured; 0 if none runs or it is too young.
func (v *View) MemoryBytes() int64 {
	if v.PID == 0 || v.Counters == nil {
		return 0
	}
	return v.Counters.Memory.Load()
}

// Health is the contract's health_status (reference section 1.1.2).
func (v *View) Health() string {
	switch {
	case v.State == Ready && v.Failures == 0:
		return "healthy"
	case v.State == Ready, v.State == Degraded:
		return "degraded"
	case v.State == Dead:
		return "unhealthy"
	}
	return "unknown"
}

// Patch is a change of a server's spec; nil fields stay as they are. Env and
// Description apply from the next start, the intervals at once.
type Patch struct {
	Description         *string
	Env                 *map[string]string
	IdleTTL             *time.Duration
	HealthCheckInterval *time.Duration
}

// Apply returns the patched spec; the caller validates it.
func (p Patch) Apply(s ServerSpec) ServerSpec {
	if p.Description != nil {
		s.Description = *p.Description
	}
	if p.Env != nil {
		s.Env = *p.Env
	}
	if p.IdleTTL != nil {
		s.IdleTTL = *p.IdleTTL
	}
	if p.HealthCheckInterval != nil {
		s.HealthCheckInterval = *p.HealthCheckInterval
	}
	return s
}
