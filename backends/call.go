package backends

import (
	"strconv"
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
	// Principal is who calls, for the pins of a group; empty where nobody says.
	Principal string
	// Began is when the caller handed the call over, for the report of a crash;
	// zero where nobody says.
	Began time.Time
	// Deadline is when the runtime ends the call with ErrDeadline, wherever
	// it is; zero means never.
	Deadline time.Time
	// Progress receives raw notifications/progress of this call; it must not
	// block or keep raw. Nil when the client asked for none.
	Progress func(raw []byte, env *jsonrpc.Envelope)

	// replyID, if not empty, is the raw id that the answer gets in place of ours.
	replyID []byte

	// Answer is the raw response and Env its envelope; valid when Err is nil.
	// With a reply id the spans of Env do not fit Answer; its other fields do.
	Answer []byte
	Env    jsonrpc.Envelope
	Err    error

	sent atomic.Bool
	done chan struct{}
}

var calls = sync.Pool{New: func() any { return &Call{done: make(chan struct{}, 1)} }}

// unpooled is set while calls cross the borders of testing/synctest bubbles.
var unpooled atomic.Bool

// DisablePooling gives every call a channel of its own. Tests inside
// testing/synctest need it: a channel must not leave the bubble that made it.
func DisablePooling() { unpooled.Store(true) }

var lastCall atomic.Uint64

// maxPooled bounds the buffers kept by pooled calls.
const maxPooled = 256 << 10

// NewCall returns an empty call with a fresh ID.
func NewCall() *Call {
	c := calls.Get().(*Call)
	c.ID = lastCall.Add(1)
	if unpooled.Load() {
		c.done = make(chan struct{}, 1)
	}
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
	c.Line, c.Answer, c.replyID = c.Line[:0], c.Answer[:0], c.replyID[:0]
	c.Tool, c.Session, c.Principal, c.Progress, c.Err = "", 0, "", nil, nil
	c.Began, c.Deadline = time.Time{}, time.Time{}
	c.Env = jsonrpc.Envelope{}
	c.sent.Store(false)
	calls.Put(c)
}

// Rewind makes a call that ended in an error ready to be handed over again.
// Only the caller may do so, and only after Done delivered.
func (c *Call) Rewind() {
	c.Answer, c.Env, c.Err = c.Answer[:0], jsonrpc.Envelope{}, nil
	c.sent.Store(false)
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

// SetToolCall makes the call a tools/call of the tool. arguments must be valid
// JSON and go through as they are, but for line breaks, which in JSON can only
// stand between tokens and would end the line.
func (c *Call) SetToolCall(tool string, arguments []byte) {
	line := append(c.Line[:0], `{"jsonrpc":"2.0","id":`...)
	line = strconv.AppendUint(line, c.ID, 10)
	line = append(line, `,"method":"tools/call","params":{"name":`...)
	line = jsonrpc.AppendString(line, []byte(tool))
	line = append(line, `,"arguments":`...)
	start := len(line)
	line = append(line, arguments...)
	for i := start; i < len(line); i++ {
		if line[i] == '\n' || line[i] == '\r' {
			line[i] = ' '
		}
	}
	c.Tool, c.Line = tool, append(line, "}}\n"...)
}

// SetReplyID makes the answer carry the raw id token of the caller's own
// client, so that it can be passed on as it is.
func (c *Call) SetReplyID(token []byte) { c.replyID = append(c.replyID[:0], token...) }

// SetAnswer takes a copy of the answer; for the instance that finishes the
// call.
func (c *Call) SetAnswer(line []byte, env *jsonrpc.Envelope) {
	c.Env = *env
	if len(c.replyID) > 0 {
		c.Answer = jsonrpc.AppendWithID(c.Answer[:0], line, env, c.replyID)
		return
	}
	c.Answer = append(c.Answer[:0], line...)
}

// TakeAnswer hands the answer's memory to the caller and keeps spare in its
// place for later answers.
func (c *Call) TakeAnswer(spare []byte) []byte {
	answer := c.Answer
	c.Answer = spare
	return answer
}

// MarkSent notes that bytes of the call may have reached an instance.
func (c *Call) MarkSent() { c.sent.Store(true) }

// Sent tells whether bytes of the call may have reached an instance.
func (c *Call) Sent() bool { return c.sent.Load() }
