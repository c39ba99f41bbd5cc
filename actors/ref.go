package actors

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/aabb9013/hangar/backends"
	"github.com/aabb9013/hangar/persistence"
	"github.com/aabb9013/hangar/supervisor"
)

// maxResends bounds how often one call is handed over again because the
// instance it was given to ended before the call was written to it.
const maxResends = 8

// Ref is one server seen from outside of the tree. It stays valid after the
// server was deleted; its calls then fail with supervisor.ErrServerNotFound.
type Ref struct{ cell *cell }

// ID is the server's id.
func (r Ref) ID() string { return r.cell.id }

// View is what can be seen of the server now.
func (r Ref) View() *supervisor.View { return r.cell.view.Load() }

// Do sends the call to the server, starting it if need be, and waits for the
// answer at most timeout. It records the call in the log. The call may be
// released afterwards, except after supervisor.ErrInternal: then it may still
// belong to the runtime and must be forgotten.
func (r Ref) Do(c *backends.Call, timeout time.Duration) error {
	r.cell.active.Add(1) // before deliver looks whether the server takes calls
	defer r.cell.active.Add(-1)
	return r.cell.do(c, time.Now(), timeout, maxResends)
}

// do makes a call that is counted as active and began just now.
func (cl *cell) do(c *backends.Call, began time.Time, timeout time.Duration, resends int) error {
	since := began.Sub(cl.sys.began)
	cl.counters.LastUsed.Store(began.UnixNano())
	cl.usedAt.set(since)
	cl.counters.Calls.Add(1)
	requestBytes := len(c.Line)
	c.Began, c.Deadline = began, began.Add(timeout)
	err := cl.deliver(c, resends)
	if errors.Is(err, backends.ErrDeadline) {
		err = fmt.Errorf("%w: server %q did not answer within %s", supervisor.ErrCallTimeout, cl.id, timeout)
	}
	took := time.Since(began)
	cl.counters.LastUsed.Store(began.Add(took).UnixNano())
	cl.usedAt.set(since + took)
	if err == nil {
		cl.repliedAt.set(since + took)
	}
	cl.record(c, err, began, took, requestBytes)
	return err
}

// Cancel ends the call with this id, wherever it is: its Do returns cause, also
// a Do that comes a moment later. It does nothing when the call has ended.
func (r Ref) Cancel(id uint64, cause error) {
	r.cell.sys.tell(r.cell.pid, cancelCall{id, cause})
}

// deliver hands the call over until it was answered or written to an
// instance that failed it, at most resends times after the first.
func (c *cell) deliver(call *backends.Call, resends int) error {
	if limit := c.sys.maxCalls.Load(); limit > 0 {
		defer c.sys.inFlight.Add(-1)
		if c.sys.inFlight.Add(1) > limit {
			return nodeFullError{limit}
		}
	}
	for sends := 0; ; sends++ {
		switch {
		case c.sys.closing.Load():
			return supervisor.ErrClosing
		case c.leaving.Load():
			return notFound(c.id)
		case c.isFull():
			return fmt.Errorf("%w: %d calls or more wait for server %q", supervisor.ErrOverloaded, MaxWaiting, c.id)
		}
		c.mail.PostUserMessage(call)
		<-call.Done()
		if call.Err == nil || sends >= resends {
			return call.Err
		}
		if crash, ok := errors.AsType[*backends.CrashError](call.Err); !ok || crash.Sent {
			return call.Err
		}
	}
}

// nodeFullError refuses a call whatever server it is for. It is
// supervisor.ErrOverloaded.
type nodeFullError struct{ limit int64 }

func (e nodeFullError) Error() string {
	return fmt.Sprintf("%v: %d calls are in flight on this node (limits.max_calls)", supervisor.ErrOverloaded, e.limit)
}

func (nodeFullError) Unwrap() error { return supervisor.ErrOverloaded }

// isFull tells a call that would be refused, without waiting for its turn to
// hear that: of ten thousand at once the last would wait for all the others.
// Those on their way to the actor may still find free slots, so only as many
// as fill these and the queue keep one more out. The actor's own look at its
// queue decides about those that pass.
func (c *cell) isFull() bool {
	if c.counters.Waiting.Load() >= MaxWaiting {
		return true
	}
	coming := int(c.mail.waiting.Load())
	return coming >= MaxWaiting && coming >= MaxWaiting+limitOf(&c.view.Load().Spec)
}

// record counts the call and puts it into the log's buffer.
func (c *cell) record(call *backends.Call, err error, began time.Time, took time.Duration, requestBytes int) {
	rec := persistence.CallRecord{
		Server: c.id, Start: began.UnixNano(), Duration: took, RequestBytes: requestBytes,
	}
	rec.CallID, rec.Tool = call.ID, call.Tool
	switch {
	case err != nil:
		rec.Outcome, rec.ErrorType, rec.Error = persistence.Failed, errorType(err), err.Error()
		c.counters.Failed.Add(1)
	case call.Env.Error.Present():
		rec.Outcome, rec.ErrorType, rec.ResultBytes = persistence.Failed, "ToolInvocationError", len(call.Answer)
		rec.Error = "the server answered a JSON-RPC error"
		c.counters.Failed.Add(1)
	case call.Env.IsError:
		rec.Outcome, rec.ErrorType, rec.ResultBytes = persistence.ToolError, "ToolError", len(call.Answer)
		c.counters.Failed.Add(1)
	default:
		rec.Outcome, rec.ResultBytes = persistence.Completed, len(call.Answer)
	}
	if c.sys.callBuffer.Record(&rec) {
		c.sys.flushTimer.Reset(FlushInterval)
	}
}

// namedFailures are the errors whose own name the log tells of a failed call.
var namedFailures = []error{
	supervisor.ErrCallTimeout, supervisor.ErrServerNotFound, backends.ErrCrashed, supervisor.ErrStartFailed,
	supervisor.ErrCannotStart, supervisor.ErrStopped, supervisor.ErrOverloaded, supervisor.ErrClosing,
}

// errorType is the contract's name of a call's error.
func errorType(err error) string {
	for _, target := range namedFailures {
		if errors.Is(err, target) {
			return supervisor.ErrorName(target)
		}
	}
	if errors.Is(err, context.Canceled) {
		return "CancellationError"
	}
	return "ToolInvocationError"
}
