package supervisor

import (
	"errors"
	"fmt"
	"time"

	"github.com/aabb9013/hangar/backends"
)

// Conditions callers branch on with errors.Is.
var (
	ErrServerNotFound = errors.New("server not found")
	ErrServerExists   = errors.New("server exists")
	ErrToolNotFound   = errors.New("tool not found")
	ErrStartFailed    = errors.New("start failed")
	ErrCannotStart    = errors.New("cannot start now")
	// ErrReplaceFailed: the second instance that was to bring a changed spec into
	// force did not take over; the server goes on as before. The change can be
	// made again.
	ErrReplaceFailed = errors.New("the new instance did not take over")
	ErrStopped       = errors.New("server was stopped")
	ErrOverloaded    = errors.New("too many calls waiting")
	ErrCallTimeout   = errors.New("call timed out")
	ErrClosing       = errors.New("runtime is closing")
	ErrReadOnly      = errors.New("state cannot be written")
	ErrInMemory      = errors.New("state is kept in memory")
	ErrNotBuilt      = errors.New("not built in this version")
	ErrInternal      = errors.New("internal error")
	ErrInUse         = errors.New("other servers depend on it")
	ErrGroupNotFound = errors.New("group not found")
	ErrGroupExists   = errors.New("group exists")
	// ErrGroupUnavailable: no member of a group could take the call.
	ErrGroupUnavailable = errors.New("group_unavailable")
)

// StartFailedError answers calls and starts that waited for a start that
// failed. It is ErrStartFailed, and by its class backends.ErrPermanent or
// backends.ErrResource.
type StartFailedError struct {
	Server, Reason string
	Class          FailureClass // 0: it was not tried
}

func (e *StartFailedError) Error() string {
	return fmt.Sprintf("server %q did not start: %s", e.Server, e.Reason)
}

// Is makes it ErrStartFailed, and what its class says.
func (e *StartFailedError) Is(target error) bool {
	switch target {
	case backends.ErrPermanent:
		return e.Class == FailPermanent
	case backends.ErrResource:
		return e.Class == FailResource
	}
	return target == ErrStartFailed
}

// DependencyError says that a server cannot start because one it depends on is
// not up. Its chain has the other's own error.
type DependencyError struct {
	Server, Dependency string
	Err                error
}

func (e *DependencyError) Error() string {
	var failed *StartFailedError
	var cannot *CannotStartError
	if errors.As(e.Err, &failed) && failed.Server == e.Dependency || errors.As(e.Err, &cannot) && cannot.Server == e.Dependency {
		return fmt.Sprintf("its dependency is not up: %v", e.Err) // which names it
	}
	return fmt.Sprintf("its dependency %q is not up: %v", e.Dependency, e.Err)
}

func (e *DependencyError) Unwrap() error { return e.Err }

// CannotStartError refuses a start that its server's backoff or used-up
// restart budget forbids now. It is ErrCannotStart.
type CannotStartError struct {
	Server, Reason string
	RetryAfter     time.Duration // 0: only an operator's start helps
}

func (e *CannotStartError) Error() string {
	if e.RetryAfter > 0 {
		return fmt.Sprintf("server %q cannot start now: %s; retry in %.1f s", e.Server, e.Reason, e.RetryAfter.Seconds())
	}
	return fmt.Sprintf("server %q cannot start: %s; start it by hand when the cause is mended", e.Server, e.Reason)
}

// Is makes it ErrCannotStart.
func (e *CannotStartError) Is(target error) bool { return target == ErrCannotStart }

// GroupUnavailableError answers a call for which no member of its group can be
// picked. It is ErrGroupUnavailable, and whatever the last member that was
// tried answered.
type GroupUnavailableError struct {
	Group   string
	Members int
	Circuit CircuitState
	Last    error // nil: none was tried
}

func (e *GroupUnavailableError) Error() string {
	text := fmt.Sprintf("%v: none of the %d members of group %q can take the call", ErrGroupUnavailable, e.Members, e.Group)
	if e.Circuit != CircuitClosed {
		text += fmt.Sprintf(" (circuit breaker %s)", e.Circuit)
	}
	if e.Last != nil {
		text += "; the last one tried: " + e.Last.Error()
	}
	return text + "; retry when a member is back, or start one"
}

// Is makes it ErrGroupUnavailable.
func (e *GroupUnavailableError) Is(target error) bool { return target == ErrGroupUnavailable }

func (e *GroupUnavailableError) Unwrap() error { return e.Last }
