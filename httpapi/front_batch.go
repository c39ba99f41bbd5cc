package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
)

// Bounds and defaults of hangar_call (reference section 9.1).
const (
	maxBatchCalls        = 100
	defaultBatchParallel = 10
	maxBatchParallel     = 50
	defaultBatchTimeout  = 60 * time.Second
	maxBatchTimeout      = 300 * time.Second
	maxBatchAttempts     = 10
	batchRetryFirst      = time.Second
	batchRetryMax        = 30 * time.Second
	batchRetryJitter     = 0.25
	// maxCallResult and maxBatchResults bound what a batch keeps of its
	// results: the answer holds them twice, as text and as structure.
	maxCallResult   = 10 << 20
	maxBatchResults = 32 << 20
)

const hangarCallSchema = `{"type":"object","properties":{` +
	`"calls":{"type":"array","minItems":1,"maxItems":100,"items":{"type":"object","properties":{` +
	`"mcp_server":{"type":"string"},"tool":{"type":"string"},"arguments":{"type":"object"},` +
	`"timeout":{"type":"number","minimum":1,"maximum":300}},"required":["mcp_server","tool","arguments"],"additionalProperties":false}},` +
	`"max_concurrency":{"type":"integer","minimum":1,"maximum":50,"default":10},` +
	`"timeout":{"type":"number","minimum":1,"maximum":300,"default":60},` +
	`"fail_fast":{"type":"boolean","default":false},` +
	`"max_attempts":{"type":"integer","minimum":1,"maximum":10,"default":1}},"required":["calls"],"additionalProperties":false}`

// batch is one hangar_call.
type batch struct {
	front    *Front
	session  *session
	calls    []batchCall
	parallel int
	timeout  time.Duration
	failFast bool
	attempts int
	kept     atomic.Int64 // bytes of results
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
	Truncated bool            `json:"truncated,omitempty"`
	Reason    string          `json:"truncated_reason,omitempty"`
	Size      int             `json:"original_size_bytes,omitempty"`
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
func (f *Front) hangarCall(ctx context.Context, s *session, args json.RawMessage) (any, error) {
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
	results := b.run(ctx)
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
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
	raw, _ := a.raw("calls")
	items, err := splitArray(raw, maxBatchCalls)
	if err != nil || len(items) == 0 {
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
		answer, _, _ := describeError(err)
		fault("", strings.Replace(answer.message, "arguments", "the call", 1))
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
	if target := f.runtime.Target([]byte(c.server)); target == nil {
		fault("mcp_server", "server not found: "+quoteClient(c.server))
	} else if knownWithout(target.View(), c.tool) {
		fault("tool", fmt.Sprintf("server %s has no tool %s", quoteClient(c.server), quoteClient(c.tool)))
	}
	return c, faults
}

// errBatchFailed ends the other calls of a batch that is to fail fast.
var errBatchFailed = errors.New("cancelled: another call of the batch failed")

// run makes the calls, at most parallel at once; its goroutines end before it
// returns.
func (b *batch) run(ctx context.Context) []batchResult {
	ctx, cancelTimeout := context.WithTimeout(ctx, b.timeout)
	defer cancelTimeout()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	results := make([]batchResult, len(b.calls))
	next := make(chan int)
	var workers sync.WaitGroup
	for range min(b.parallel, len(b.calls)) {
		workers.Go(func() {
			for i := range next {
				results[i] = b.one(ctx, i)
				if b.failFast && !results[i].Success {
					cancel(errBatchFailed)
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
