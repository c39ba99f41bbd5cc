package httpapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/google/uuid"

	"github.com/aabb9013/hangar/backends"
	"github.com/aabb9013/hangar/internal/jsonrpc"
	"github.com/aabb9013/hangar/supervisor"
)

// one makes one call, again after failures that cannot have had an effect.
func (b *batch) one(ctx context.Context, i int) batchResult {
	call, began := b.calls[i], time.Now()
	res := batchResult{Index: i, CallID: uuid.NewString()}
	if call.timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, call.timeout)
		defer cancel()
	}
	var retries []string
	attempt, delay := 1, batchRetryFirst
	for ; ; attempt++ {
		result, isError, err := b.front.callOnce(ctx, b.session, call)
		if err == nil {
			b.keep(&res, result)
			res.Success = !isError
			if isError {
				res.setError("the tool reported an error", "ToolError")
			}
			break
		}
		if attempt >= b.attempts || !retryable(err) || !b.front.sleep(ctx, jittered(delay)) {
			message, name := b.front.batchError(err)
			res.setError(message, name)
			break
		}
		retries = append(retries, messageOf(err))
		delay = min(2*delay, batchRetryMax)
	}
	res.ElapsedMS = milliseconds(time.Since(began))
	if b.attempts > 1 {
		res.Retry = &retryMetadata{Attempts: attempt, Retries: append([]string{}, retries...), TotalTimeMS: res.ElapsedMS}
	}
	return res
}

func (r *batchResult) setError(message, name string) { r.Error, r.ErrorType = &message, &name }

// rpcAnswerError is a server's JSON-RPC error.
type rpcAnswerError struct {
	Code    int    `json:"code"`
	Message string `json:"message"`
}

func (e *rpcAnswerError) Error() string { return e.Message }

// keep puts a result into its place as long as the batch has room.
func (b *batch) keep(res *batchResult, result json.RawMessage) {
	switch {
	case len(result) > maxCallResult:
		res.Reason = "result_too_large"
	case b.kept.Add(int64(len(result))) > maxBatchResults:
		b.kept.Add(-int64(len(result)))
		res.Reason = "batch_too_large"
	default:
		res.Result = result
		return
	}
	res.Truncated, res.Size = true, len(result)
}

// callOnce makes one call within ctx and decodes only its envelope. A panic
// becomes an error: nobody recovers in a goroutine of a batch.
func (f *Front) callOnce(ctx context.Context, s *session, call batchCall) (result json.RawMessage, isError bool, err error) {
	release, err := f.batches.Load().acquire(ctx, call.server)
	if err != nil {
		return nil, false, err
	}
	defer release()
	defer func() {
		if cause := recover(); cause != nil {
			f.panicked(cause)
			result, err = nil, supervisor.ErrInternal
		}
	}()
	target := f.runtime.Target([]byte(call.server))
	if target == nil {
		return nil, false, fmt.Errorf("%w: %s", supervisor.ErrServerNotFound, quoteClient(call.server))
	}
	deadline, _ := ctx.Deadline()
	left := time.Until(deadline)
	if left <= 0 {
		return nil, false, context.DeadlineExceeded
	}
	c := backends.NewCall()
	c.SetToolCall(call.tool, call.arguments)
	c.Session = s.key
	id := c.ID
	defer context.AfterFunc(ctx, func() {
		// The call has the same deadline, and only its own end by that is the
		// server's failure.
		if !errors.Is(ctx.Err(), context.DeadlineExceeded) {
			target.Cancel(id, context.Cause(ctx))
		}
	})()
	err = target.Do(c, left)
	if err != nil {
		if releasable(err) {
			c.Release()
		}
		return nil, false, err
	}
	defer c.Release()
	if c.Env.Kind == jsonrpc.ErrorResponse {
		answer := &rpcAnswerError{}
		if json.Unmarshal(c.Env.Error.Of(c.Answer), answer) != nil || answer.Message == "" {
			answer.Message = "the server answered an error"
		}
		return nil, false, answer
	}
	return bytes.Clone(c.Env.Result.Of(c.Answer)), c.Env.IsError, nil
}

// retryable tells whether a failed call certainly had no effect. A tool's own
// error and a call that was sent to a server that crashed are not retried.
func retryable(err error) bool {
	if errors.Is(err, supervisor.ErrGroupUnavailable) {
		return true // the group repeats nothing that could have had an effect
	}
	var crash *backends.CrashError
	if errors.As(err, &crash) {
		return !crash.Sent
	}
	if errors.Is(err, backends.ErrPermanent) {
		return false // another try cannot mend it
	}
	return errors.Is(err, supervisor.ErrStartFailed) || errors.Is(err, supervisor.ErrCannotStart) ||
		errors.Is(err, supervisor.ErrOverloaded) || errors.Is(err, backends.ErrBusy)
}

// batchError is the text and the reference's error_type of a failed call.
func (f *Front) batchError(err error) (message, name string) {
	var rpc *rpcAnswerError
	switch {
	case errors.As(err, &rpc):
		return cleanText(rpc.Message, 1000), "ToolInvocationError"
	case errors.Is(err, errBatchFailed), errors.Is(err, errCancelled):
		return err.Error(), "CancellationError"
	case errors.Is(err, supervisor.ErrCallTimeout):
		return messageOf(err), "TimeoutError"
	case errors.Is(err, context.DeadlineExceeded):
		return "timed out", "TimeoutError"
	case errors.Is(err, supervisor.ErrCannotStart) && !errors.Is(err, supervisor.ErrGroupUnavailable):
		return messageOf(err), "CircuitBreakerOpen"
	}
	answer, _, known := describeError(err)
	if !known {
		f.log.Error("call of a batch failed for an unknown reason", "err", err)
	}
	return answer.message, answer.name
}

func jittered(d time.Duration) time.Duration {
	return time.Duration(float64(d) * (1 + batchRetryJitter*(2*rand.Float64()-1)))
}

// sleep waits for the next attempt; false when there will be none.
func (f *Front) sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
	case <-f.closing:
	}
	return false
}
