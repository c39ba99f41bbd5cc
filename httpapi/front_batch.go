package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/aabb9013/hangar/backends"
	"github.com/aabb9013/hangar/internal/jsonrpc"
	"github.com/aabb9013/hangar/supervisor"
)

// Bounds and defaults of hangar_call (reference section 9.1).
const (
	maxBatchCalls         = 100
	defaultBatchParallel  = 10
	maxBatchParallel      = 50
	defaultBatchTimeout   = 60 * time.Second
	maxBatchTimeout       = 300 * time.Second
	maxBatchAttempts      = 10
	defaultExecution      = 50
	defaultServerParallel = 10
	batchRetryFirst       = time.Second
	batchRetryMax         = 30 * time.Second
	batchRetryJitter      = 0.25
)

const hangarCallSchema = `{"type":"object","properties":{` +
	`"calls":{"type":"array","minItems":1,"maxItems":100,"items":{"type":"object","properties":{` +
	`"mcp_server":{"type":"string"},"tool":{"type":"string"},"arguments":{"type":"object"},` +
	`"timeout":{"type":"number","minimum":1,"maximum":300}},"required":["mcp_server","tool","arguments"],"additionalProperties":false}},` +
	`"max_concurrency":{"type":"integer","minimum":1,"maximum":50,"default":10},` +
	`"timeout":{"type":"number","minimum":1,"maximum":300,"default":60},` +
	`"fail_fast":{"type":"boolean","default":false},` +
	`"max_attempts":{"type":"integer","minimum":1,"maximum":10,"default":1}},"required":["calls"],"additionalProperties":false}`

// batchLimits are the slots of all batches together and of each server among
// them (execution.max_concurrency and default_mcp_server_concurrency).
type batchLimits struct {
	all       chan struct{}
	perServer int
	mu        *sync.Mutex
	servers   map[string]*serverSlots
}

// serverSlots live while a call holds or wants one.
type serverSlots struct {
	slots chan struct{}
	users int
}

func newBatchLimits(all, perServer int) batchLimits {
	if all <= 0 {
		all = defaultExecution
	}
	if perServer <= 0 {
		perServer = defaultServerParallel
	}
	return batchLimits{
		all: make(chan struct{}, all), perServer: perServer,
		mu: &sync.Mutex{}, servers: make(map[string]*serverSlots),
	}
}

// acquire takes the server's slot first, so that calls waiting for one busy
// server hold no slot that others could use.
func (l batchLimits) acquire(ctx context.Context, server string) (release func(), err error) {
	l.mu.Lock()
	s := l.servers[server]
	if s == nil {
		s = &serverSlots{slots: make(chan struct{}, l.perServer)}
		l.servers[server] = s
	}
	s.users++
	l.mu.Unlock()
	leave := func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if s.users--; s.users == 0 {
			delete(l.servers, server)
		}
	}
	select {
	case s.slots <- struct{}{}:
	case <-ctx.Done():
		leave()
		return nil, ctx.Err()
	}
	select {
	case l.all <- struct{}{}:
	case <-ctx.Done():
		<-s.slots
		leave()
		return nil, ctx.Err()
	}
	return func() {
		<-l.all
		<-s.slots
		leave()
	}, nil
}

// batch is one hangar_call.
type batch struct {
	front    *Front
	session  *session
	calls    []batchCall
	parallel int
	timeout  time.Duration
	failFast bool
	attempts int
}

type batchCall struct {
	server, tool string
	arguments    json.RawMessage
	timeout      time.Duration
}

type batchResult struct {
	Index     int             `json:"index"`
	CallID    string          `json:"call_id"`
	Success   bool            `json:"success"`
	Result    json.RawMessage `json:"result"`
	Error     *string         `json:"error"`
	ErrorType *string         `json:"error_type"`
	ElapsedMS float64         `json:"elapsed_ms"`
	Retry     *retryMetadata  `json:"retry_metadata,omitempty"`
}

type retryMetadata struct {
	Attempts    int      `json:"attempts"`
	Retries     []string `json:"retries"`
	TotalTimeMS float64  `json:"total_time_ms"`
}

type validationFault struct {
	Index   int    `json:"index"`
	Field   string `json:"field"`
	Message string `json:"message"`
}

// hangarCall runs a batch. Faults in its arguments are found before anything
// is called.
func (f *Front) hangarCall(_ context.Context, s *session, args json.RawMessage) (any, error) {
	began := time.Now()
	id := uuid.NewString()
	b, faults, err := f.parseBatch(s, args)
	if err != nil {
		return nil, err
	}
	if len(faults) > 0 {
		return map[string]any{
			"batch_id": id, "success": false, "total": len(b.calls), "succeeded": 0, "failed": 0,
			"elapsed_ms": milliseconds(time.Since(began)), "results": []any{}, "validation_errors": faults,
		}, nil
	}
	results := b.run()
	succeeded := 0
	for _, r := range results {
		if r.Success {
			succeeded++
		}
	}
	return map[string]any{
		"batch_id": id, "success": succeeded == len(results), "total": len(results),
		"succeeded": succeeded, "failed": len(results) - succeeded,
		"elapsed_ms": milliseconds(time.Since(began)), "results": results,
	}, nil
}

func (f *Front) parseBatch(s *session, args json.RawMessage) (*batch, []validationFault, error) {
	a, err := toolArgs(args, "calls", "max_concurrency", "timeout", "fail_fast", "max_attempts")
	if err != nil {
		return nil, nil, err
	}
	b := &batch{front: f, session: s, parallel: defaultBatchParallel, timeout: defaultBatchTimeout, attempts: 1}
	if n := a.integer("max_concurrency", 1, maxBatchParallel); n != nil {
		b.parallel = *n
	}
	if n := a.integer("max_attempts", 1, maxBatchAttempts); n != nil {
		b.attempts = *n
	}
	if d := a.duration("timeout", time.Second, maxBatchTimeout); d != nil {
		b.timeout = *d
	}
	if v := a.flag("fail_fast"); v != nil {
		b.failFast = *v
	}
	raw, ok := a.raw("calls")
	var items []json.RawMessage
	if !ok || json.Unmarshal(raw, &items) != nil || len(items) == 0 || len(items) > maxBatchCalls {
		a.fault("calls", "must be a list of 1 to %d calls", maxBatchCalls)
	}
	if err := a.err(); err != nil {
		return nil, nil, err
	}
	var faults []validationFault
	for i, item := range items {
		c, itemFaults := f.parseBatchCall(i, item)
		b.calls = append(b.calls, c)
		faults = append(faults, itemFaults...)
	}
	return b, faults, nil
}

func (f *Front) parseBatchCall(i int, item json.RawMessage) (c batchCall, faults []validationFault) {
	fault := func(field, message string) { faults = append(faults, validationFault{i, field, message}) }
	a, err := toolArgs(item, "mcp_server", "tool", "arguments", "timeout")
	if err != nil {
		fault("", "must be an object: "+messageOf(err))
		return c, faults
	}
	c.server, c.tool = a.required("mcp_server"), a.required("tool")
	if d := a.duration("timeout", time.Second, maxBatchTimeout); d != nil {
		c.timeout = *d
	}
	raw, ok := a.raw("arguments")
	if !ok || raw[0] != '{' {
		a.fault("arguments", "must be an object")
	}
	c.arguments = raw
	for j, name := range a.names {
		fault(name, a.faults[j])
	}
	if len(faults) > 0 {
		return c, faults
	}
	v, ok := f.runtime.View(c.server)
	switch {
	case !ok:
		fault("mcp_server", "server not found: "+quoteClient(c.server))
	case v.Catalogue != nil && !v.ToolsPredefined && !v.ToolsStale:
		if _, ok := v.Catalogue.Tool(c.tool); !ok {
			fault("tool", fmt.Sprintf("server %s has no tool %s", quoteClient(c.server), quoteClient(c.tool)))
		}
	}
	return c, faults
}

// run makes the calls, at most parallel at once; its goroutines end before it
// returns.
func (b *batch) run() []batchResult {
	ctx, cancel := context.WithTimeout(context.Background(), b.timeout)
	defer cancel()
	results := make([]batchResult, len(b.calls))
	next := make(chan int)
	var workers sync.WaitGroup
	for range min(b.parallel, len(b.calls)) {
		workers.Go(func() {
			for i := range next {
				results[i] = b.one(ctx, i)
				if b.failFast && !results[i].Success {
					cancel()
				}
			}
		})
	}
	for i := range b.calls {
		next <- i
	}
	close(next)
	workers.Wait()
	return results
}

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
			res.Result, res.Success = result, !isError
			if isError {
				res.setError("the tool reported an error", "ToolError")
			}
			break
		}
		if attempt >= b.attempts || !retryable(err) || !sleep(ctx, jittered(delay)) {
			message, name := batchError(err)
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

// callOnce makes one call within ctx and decodes only its envelope.
func (f *Front) callOnce(ctx context.Context, s *session, call batchCall) (result json.RawMessage, isError bool, err error) {
	release, err := f.batches.acquire(ctx, call.server)
	if err != nil {
		return nil, false, err
	}
	defer release()
	target := f.runtime.Target([]byte(call.server))
	if target == nil {
		return nil, false, supervisor.ErrServerNotFound
	}
	deadline, _ := ctx.Deadline()
	left := time.Until(deadline)
	if left <= 0 {
		return nil, false, context.DeadlineExceeded
	}
	c := backends.NewCall()
	c.Line = appendCallLine(c.Line[:0], c.ID, call.tool, call.arguments)
	c.Tool, c.Session = call.tool, s.key
	id := c.ID
	stop := context.AfterFunc(ctx, func() { target.Cancel(id, context.Cause(ctx)) })
	err = target.Do(c, left)
	stop()
	if err != nil {
		if releasable(err) {
			c.Release()
		}
		return nil, false, err
	}
	defer c.Release()
	if c.Env.Kind == jsonrpc.ErrorResponse {
		answer := &rpcAnswerError{}
		if json.Unmarshal(c.Env.Error.Of(c.Answer), answer) != nil {
			answer.Message = "the server answered an error"
		}
		return nil, false, answer
	}
	return append(json.RawMessage(nil), c.Env.Result.Of(c.Answer)...), c.Env.IsError, nil
}

// retryable tells whether a failed call certainly had no effect. A tool's own
// error and a call that was sent to a server that crashed are not retried.
func retryable(err error) bool {
	var crash *backends.CrashError
	if errors.As(err, &crash) {
		return !crash.Sent
	}
	return errors.Is(err, supervisor.ErrStartFailed) || errors.Is(err, supervisor.ErrCannotStart) ||
		errors.Is(err, supervisor.ErrOverloaded)
}

// batchError is the text and the reference's error_type of a failed call.
func batchError(err error) (message, name string) {
	var rpc *rpcAnswerError
	switch {
	case errors.As(err, &rpc):
		return cleanText(rpc.Message, 1000), "ToolInvocationError"
	case errors.Is(err, context.Canceled):
		return "cancelled: another call of the batch failed", "CancellationError"
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, supervisor.ErrCallTimeout):
		return "timed out", "TimeoutError"
	case errors.Is(err, supervisor.ErrCannotStart):
		return messageOf(err), "CircuitBreakerOpen"
	}
	answer, _, _ := describeError(err)
	return answer.message, answer.name
}

func jittered(d time.Duration) time.Duration {
	return time.Duration(float64(d) * (1 + batchRetryJitter*(2*rand.Float64()-1)))
}

func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
