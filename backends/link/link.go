package link

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aabb9013/hangar/backends"
	"github.com/aabb9013/hangar/internal/jsonrpc"
	"github.com/aabb9013/hangar/internal/rawio"
)

// Sink is the stream towards the instance.
type Sink interface {
	// TryWrite writes what fits without waiting: n < len(p) with a nil error
	// means that the stream is full.
	TryWrite(p []byte) (n int, err error)
	// Write waits until p is written, an error, or the deadline.
	Write(p []byte) (n int, err error)
	SetWriteDeadline(t time.Time) error
	// Widen lets the stream hold more, if it can: long lines come.
	Widen()
}

// Source is the stream from the instance.
type Source interface {
	// Start gives the receiver what comes, until it wants no more or nothing
	// more comes. It does not wait.
	Start(to rawio.Receiver)
	// Widen lets the stream hold more, if it can: long lines come. Called by
	// the receiver.
	Widen()
	// Apart keeps others from waiting for this receiver, if they do: lines come
	// that take long. Called by the receiver.
	Apart()
}

// Config describes a link. Fail is called, at most once and from a goroutine
// of the link or of a sender, when the link finds the instance to be broken; it
// must not block or call the link, and must lead to Close.
type Config struct {
	Server     string
	Epoch      uint64
	MaxMessage int
	Sink       Sink
	Source     Source
	Observer   backends.Observer
	Fail       func(reason error)
	// Ended is called when the source ended and every answer was delivered; it
	// must not block.
	Ended func()
	// StdinStall is how long a full stdin may stand still.
	StdinStall time.Duration
	// Log gets some of the lines that are no message; nil for none.
	Log *backends.LogRing
	// Streams counts what nobody could use; nil if nobody reads the counts.
	Streams *backends.StreamCounters
}

// Bounds of a burst that waits for its last line.
const (
	corkLine  = 4 << 10  // a longer line is worth a write of its own
	corkBytes = 64 << 10 // and so is a burst that fills a pipe
)

// Link is one open connection. Its methods are safe for concurrent use.
type Link struct {
	cfg Config

	out struct {
		sync.Mutex
		closed   bool          // by Close, or because a write failed: what was lost cannot be made up for
		flushing chan struct{} // closed by the goroutine that writes what waits; nil while there is none
		wide     bool          // the sink was widened
		buf      *[]byte       // waiting bytes, in order; nil when there are none
		queued   uint64        // stream position after everything accepted
		written  uint64        // stream position after everything written
	}
	taken atomic.Uint64 // stream position after every line that no sender reads any more
	calls struct {
		sync.Mutex
		table
		drained chan struct{} // closed when the table becomes empty; nil unless wanted
	}
	inFlight atomic.Int64
	opened   time.Time
	trace    trace  // out under its lock, the rest the reader's until readDone is closed
	reader   reader // the source's, as are the next two
	noise    noise
	garbled  bool // the stream was given up
	failed   atomic.Bool
	readDone chan struct{}
}

// Open starts the source.
func Open(cfg Config) *Link {
	if cfg.MaxMessage <= 0 {
		cfg.MaxMessage = backends.DefaultMaxMessage
	}
	if cfg.StdinStall <= 0 {
		cfg.StdinStall = backends.StdinStall
	}
	if cfg.Streams == nil {
		cfg.Streams = &backends.StreamCounters{}
	}
	l := &Link{cfg: cfg, opened: time.Now(), readDone: make(chan struct{})}
	l.reader.link = l
	cfg.Source.Start(&l.reader)
	return l
}

// Send writes a call; see backends.Instance.
func (l *Link) Send(c *backends.Call, more bool) error { return l.send(c, kindCall, more) }

// send writes a call, or a control request of another kind.
func (l *Link) send(c *backends.Call, kind frameKind, more bool) error {
	control := kind != kindCall
	l.out.Lock()
	defer l.out.Unlock()
	if err := l.acceptLocked(len(c.Line)); err != nil {
		return err
	}
	l.calls.Lock()
	l.calls.put(c.ID, entry{call: c, start: l.out.queued, control: control, deadline: c.Deadline})
	l.calls.Unlock()
	if !control {
		l.inFlight.Add(1)
	}
	l.noteSentLocked(kind, c.ID, len(c.Line), c.Began)
	l.writeLocked(c.Line, more)
	return nil
}

// Flush writes what waits for the rest of a burst.
func (l *Link) Flush() {
	l.out.Lock()
	defer l.out.Unlock()
	if l.out.buf != nil && l.out.flushing == nil && !l.out.closed {
		l.uncorkLocked()
	}
}

// InFlight counts calls written and not finished.
func (l *Link) InFlight() int { return int(l.inFlight.Load()) }

// Cancel forgets a call, tells the instance, and finishes the call with
// cause; false if it was not in flight.
func (l *Link) Cancel(id uint64, cause error) bool {
	e, ok := l.take(id)
	if !ok {
		return false
	}
	l.giveUp(e, cause)
	l.cfg.Observer.CallsDone(l.cfg.Epoch, 1)
	return true
}

// giveUp tells the instance that nobody waits for the call any more.
func (l *Link) giveUp(e entry, cause error) {
	line := append([]byte(`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":`), itoa(e.call.ID)...)
	line = append(line, `,"reason":`...)
	line = jsonrpc.AppendString(line, []byte(cause.Error()))
	line = append(line, "}}\n"...)
	l.enqueue(kindCancelled, e.call.ID, line)
	// What still waits to be written is written later: the call may yet reach
	// the instance, just before its cancellation.
	e.call.MarkSent()
	e.call.Finish(cause)
}

// Expire cancels the calls whose deadline has come; see backends.Instance. It
// looks at every call in flight, so it is for the moments when one is due.
func (l *Link) Expire(now time.Time) (next time.Time) {
	l.calls.Lock()
	due, next := l.calls.takeDue(now)
	l.signalDrainedLocked()
	l.calls.Unlock()
	for _, e := range due {
		l.inFlight.Add(-1)
		l.giveUp(e, backends.ErrDeadline)
	}
	if len(due) > 0 {
		l.cfg.Observer.CallsDone(l.cfg.Epoch, len(due))
	}
	return next
}

// Request makes one control request and returns the raw result.
func (l *Link) Request(ctx context.Context, method string, params []byte) ([]byte, error) {
	c := backends.NewCall()
	c.Line = appendMessage(c.Line[:0], itoa(c.ID), method, params)
	if err := l.send(c, kindOf(method), false); err != nil {
		return nil, err
	}
	select {
	case <-c.Done():
	case <-ctx.Done():
		if e, ok := l.take(c.ID); ok {
			e.call.Finish(ctx.Err())
		}
		<-c.Done()
	}
	defer c.Release()
	if c.Err != nil {
		return nil, c.Err
	}
	if c.Env.Kind == jsonrpc.ErrorResponse {
		return nil, backends.ParseRPCError(c.Env.Error.Of(c.Answer))
	}
	return append([]byte(nil), c.Env.Result.Of(c.Answer)...), nil
}

// Notify sends a notification; params may be nil.
func (l *Link) Notify(method string, params []byte) error {
	return l.enqueue(kindOf(method), 0, appendMessage(nil, nil, method, params))
}

// take removes a call from the table; whoever gets it must finish it.
func (l *Link) take(id uint64) (entry, bool) {
	l.calls.Lock()
	e, ok := l.calls.take(id)
	if ok {
		l.signalDrainedLocked()
	}
	l.calls.Unlock()
	if ok && !e.control {
		l.inFlight.Add(-1)
	}
	return e, ok
}

func (l *Link) signalDrainedLocked() {
	if l.calls.drained != nil && l.calls.len() == 0 {
		close(l.calls.drained)
		l.calls.drained = nil
	}
}

// Drain waits until no call is in flight, or ctx is done.
func (l *Link) Drain(ctx context.Context) {
	l.calls.Lock()
	if l.calls.len() == 0 {
		l.calls.Unlock()
		return
	}
	if l.calls.drained == nil {
		l.calls.drained = make(chan struct{})
	}
	drained := l.calls.drained
	l.calls.Unlock()
	select {
	case <-drained:
	case <-ctx.Done():
	}
}

// ReadDone is closed when the source ended and every answer was delivered.
func (l *Link) ReadDone() <-chan struct{} { return l.readDone }

// Close fails every call in flight with a *backends.CrashError about exit and
// refuses new ones. It interrupts a write that is under way and waits until its
// bytes are counted. It returns what passed, nil after an end that was asked
// for; messages of the instance are told once ReadDone is closed. The streams
// are the owner's to close.
func (l *Link) Close(exit backends.Exit) *backends.Traffic {
	written := l.endWrites()
	l.calls.Lock()
	pending := l.calls.table
	l.calls.table = table{} // nobody adds to it: send looks at out.closed first
	l.signalDrainedLocked()
	l.calls.Unlock()
	var traffic *backends.Traffic
	if !exit.Asked {
		traffic = l.traffic(pending, written)
	}
	done := 0
	for _, e := range pending.entries {
		if !e.control {
			l.inFlight.Add(-1)
			done++
		}
		sent := e.start < written
		if sent {
			e.call.MarkSent()
		}
		e.call.Finish(&backends.CrashError{Server: l.cfg.Server, Exit: exit, Sent: sent})
	}
	if done > 0 {
		l.cfg.Observer.CallsDone(l.cfg.Epoch, done)
	}
	return traffic
}

// fail reports the instance as broken, once.
func (l *Link) fail(reason error) {
	if l.failed.CompareAndSwap(false, true) {
		l.cfg.Fail(reason)
	}
}
