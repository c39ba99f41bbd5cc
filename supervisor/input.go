package supervisor

import (
	"fmt"
	"time"
)

// Input is one fact or wish given to Step. The sum is closed: the types of
// this file.
type Input interface{ input() }

// Cause says why a start is wanted.
type Cause uint8

// A call may wait in front of the start; an operator's start resets the
// restart budget and burns no attempt.
const (
	CauseCall Cause = iota + 1
	CauseOperator
)

// FailureClass tells what a failed start means for the next one.
type FailureClass uint8

// Transient failures are retried by policy. Permanent ones (program missing,
// not executable, bad directory, unsupported protocol) are never retried in a
// loop: only a call or an operator tries again. Resource failures (no process
// slot, no descriptor) are retried and do not count towards the intensity.
// Dependency failures (a server it depends on is not up) do not count either
// and are not retried by the server: it starts again when the other serves.
const (
	FailTransient FailureClass = iota + 1
	FailPermanent
	FailResource
	FailDependency
)

// TimerKind names the timers of one server; at most one of each is armed.
type TimerKind uint8

// The timers: Retry ends a backoff, Probe is the next health check, Idle the
// idle TTL, Stable the uptime after which past failures are forgotten.
const (
	TimerRetry TimerKind = iota
	TimerProbe
	TimerIdle
	TimerStable
	TimerKinds // number of kinds, not a kind
)

// Inputs. A fact carries the epoch of the instance it is about; a fact of an
// old epoch changes nothing. Every epoch ends in exactly one StartFailed or
// Exited, given after the instance is gone.
type (
	// StartWanted asks for a running instance.
	StartWanted struct{ Cause Cause }
	// StopWanted asks for no instance; Reason stands in the event. Then, if
	// set, asks for a start once it is gone, for which calls go on waiting: a
	// stop for the sake of another server's restart, which means nothing to a
	// server without an instance.
	StopWanted struct {
		Reason string
		Then   Cause
	}
	// ResetWanted forgets failures, budget, backoff and giving up, as an
	// operator asks. A living instance stays. Without one the server becomes
	// cold; a permanent one that was not cold is started.
	ResetWanted struct{}
	// ReplaceWanted asks for a second instance that takes over once it is ready;
	// Policy is that of its spec. It means nothing unless CanReplace.
	ReplaceWanted struct{ Policy Policy }
	// ReplaceWithdrawn gives the candidate up; the old instance goes on.
	ReplaceWithdrawn struct{ Reason string }
	// Started says that the instance shook hands and listed its tools.
	Started struct {
		Epoch    uint64
		Tools    int
		Duration time.Duration
	}
	// StartFailed says that the start attempt failed and nothing of it lives.
	StartFailed struct {
		Epoch  uint64
		Class  FailureClass
		Reason string
	}
	// Exited says that the instance is gone. Normal: exit code 0, not killed.
	// Class is FailResource when it went down with something of the node; any
	// other value means a transient failure.
	Exited struct {
		Epoch  uint64
		Normal bool
		Class  FailureClass
		Reason string
	}
	// ProbePassed and ProbeFailed are answers to a Probe effect.
	ProbePassed struct {
		Epoch    uint64
		Duration time.Duration
	}
	ProbeFailed struct {
		Epoch  uint64
		Reason string
	}
	// TimerFired is a timer's end; a Seq that is not the armed one is stale.
	// InFlight and LastUsed describe the server when the timer fired: the
	// calls without an answer, and the last begin or end of a call. LastReply
	// is when the instance last answered anything. It is not LastUsed: calls
	// that a hung instance leaves unanswered are use, but no sign of life.
	TimerFired struct {
		Kind      TimerKind
		Seq       uint64
		InFlight  int
		LastUsed  time.Time
		LastReply time.Time
	}
	// PolicyChanged replaces the policy. A changed idle TTL or probe interval
	// of a ready server counts from now; a retry keeps the date it has.
	PolicyChanged struct{ Policy Policy }
)

var classNames = [...]string{"unset", "transient", "permanent", "resource", "dependency"}

// String is the class as events spell it.
func (c FailureClass) String() string {
	if int(c) < len(classNames) {
		return classNames[c]
	}
	return fmt.Sprintf("class(%d)", uint8(c))
}

var timerNames = [...]string{"retry", "probe", "idle", "stable"}

// String is the timer's name for logs and dumps.
func (k TimerKind) String() string {
	if int(k) < len(timerNames) {
		return timerNames[k]
	}
	return fmt.Sprintf("timer(%d)", uint8(k))
}

func (StartWanted) input()      {}
func (StopWanted) input()       {}
func (ResetWanted) input()      {}
func (ReplaceWanted) input()    {}
func (ReplaceWithdrawn) input() {}
func (Started) input()          {}
func (StartFailed) input()      {}
func (Exited) input()           {}
func (ProbePassed) input()      {}
func (ProbeFailed) input()      {}
func (TimerFired) input()       {}
func (PolicyChanged) input()    {}
