package backends

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/aabb9013/hangar/internal/jsonrpc"
)

// Call is one tools/call on its way to an instance and back. The caller fills
// the request fields, hands the call over, and waits on Done; from then on
// everything belongs to the runtime until Done delivers, and only then may
// the answer be read. Done always delivers: the runtime ends a call at its deadline.
type Call struct {
	// ID is unique in the process; it is the JSON-RPC id and the progress
	// token at the instance.
	ID uint64
	// Line is the whole request as it goes to the instance, with its newline.
	Line []byte
	// Tool is the tool's own name, for the log.
	Tool string
	// Session is the key of fair queueing: calls of one session keep order,
	// sessions take turns.
	Session uint64
	// Deadline is when the runtime ends the call with ErrDeadline, wherever
	// it is; zero means never.
	Deadline time.Time
	// Progress receives raw notifications/progress of this call; it must not
	// block or keep raw. Nil when the client asked for none.
	Progress func(raw []byte, env *jsonrpc.Envelope)

	// Answer is the raw response and Env its envelope; valid when Err is nil.
	Answer []byte
	Env    jsonrpc.Envelope
	Err    error

	sent atomic.Bool
	done chan struct{}
}

var calls = sync.Pool{New: func() any { return new(Call) }}

var lastCall atomic.Uint64

// maxPooled bounds the buffers kept by pooled calls.
const maxPooled = 256 << 10

// NewCall returns an empty call with a fresh ID.
func NewCall() *Call {
	c := calls.Get().(*Call)
	c.ID = lastCall.Add(1)
	// A channel of its own for every use: a pooled one would tie the bubble of
	// testing/synctest that made it to whoever gets the call next.
	c.done = make(chan struct{}, 1)
	return c
}

// Release gives the call back for reuse. Only the caller may do so, and only
// after Done delivered.
func (c *Call) Release() {
	if cap(c.Line) > maxPooled {
		c.Line = nil
	}
	if cap(c.Answer) > maxPooled {
		c.Answer = nil
	}
	c.Line, c.Answer = c.Line[:0], c.Answer[:0]
	c.Tool, c.Session, c.Deadline, c.Progress, c.Err = "", 0, time.Time{}, nil, nil
	c.Env, c.done = jsonrpc.Envelope{}, nil
	c.sent.Store(false)
	calls.Put(c)
}

// Done delivers once, when the call was finished.
func (c *Call) Done() <-chan struct{} { return c.done }

// Finish ends the call with err, or with the answer already in it. Exactly
// one party may finish a call: the one that took it out of a queue or of an
// instance's table of calls in flight.
func (c *Call) Finish(err error) {
	c.Err = err
	c.done <- struct{}{}
}

// MarkSent notes that bytes of the call may have reached an instance.
func (c *Call) MarkSent() { c.sent.Store(true) }

// Sent tells whether bytes of the call may have reached an instance.
func (c *Call) Sent() bool { return c.sent.Load() }
