package backends

import (
	"context"
	"time"
)

// Bounds of one instance. Each names what happens when it is reached.
const (
	// DefaultMaxMessage bounds one line from an instance; a longer one ends
	// the instance with ErrMessageTooLarge.
	DefaultMaxMessage = 16 << 20
	// MaxOutgoing bounds the bytes waiting for an instance that does not
	// read; Send then answers ErrBusy.
	MaxOutgoing = 64 << 20
	// StdinStall is how long waiting bytes may make no progress before the
	// instance is ended with ErrStdinStalled.
	StdinStall = 5 * time.Second
	// MaxNoise is how many lines in a row that are no JSON-RPC end the
	// instance with ErrProtocol.
	MaxNoise = 1000
	// NoiseLines is how many of them reach the server's log in a second.
	NoiseLines = 10
	// LogLines and LogBytes bound a server's stderr ring; the oldest go.
	LogLines     = 1000
	LogBytes     = 256 << 10
	LogLineBytes = 8192
)

// LaunchSpec is what a backend needs to start one instance.
type LaunchSpec struct {
	Server     string
	Epoch      uint64
	Command    []string
	Dir        string
	Env        map[string]string
	RunTag     string // tells processes of this runtime from others'
	Limits     Limits
	MaxMessage int // 0 = DefaultMaxMessage
	Log        *LogRing
	Streams    *StreamCounters // nil: nobody reads them
	Observer   Observer
}

// Observer is told what happens to an instance. Its methods are called from
// the instance's own goroutines and must not block; each carries the epoch.
type Observer interface {
	// CallsDone reports that n calls were answered since the last report;
	// it is called once per burst of answers.
	CallsDone(epoch uint64, n int)
	// Ended is called exactly once, after the instance is gone and its calls
	// in flight were failed.
	Ended(epoch uint64, exit Exit)
	// Notified passes on a notification of the instance that belongs to no
	// call, such as notifications/tools/list_changed. raw dies with the call.
	Notified(epoch uint64, method string, raw []byte)
}

// Backend starts instances. Start may block (it runs outside of any actor)
// until the transport is open; ctx bounds only the start. Its error is or
// wraps a *StartError. After an error nothing of the attempt lives and the
// observer is never called.
type Backend interface {
	Start(ctx context.Context, spec LaunchSpec) (Instance, error)
}

// Instance is one running copy of a server with its link. All methods are
// safe for concurrent use.
type Instance interface {
	// Send writes a call. It never blocks: what the instance does not take at
	// once waits in a bounded buffer. After nil the instance finishes the
	// call exactly once; after an error (ErrClosed, ErrBusy) it never will
	// and nothing of it was written. more promises another Send or a Flush
	// at once: a short line then waits for it, so that a burst is one write.
	Send(c *Call, more bool) error
	// Flush writes what waits for the rest of a burst.
	Flush()
	// Cancel forgets the call with this id and tells the server by notifications/cancelled.
	// It reports whether the call was still in flight; if so the call is
	// finished with cause.
	Cancel(id uint64, cause error) bool
	// Expire cancels every call whose deadline is not after now; they finish
	// with ErrDeadline. It returns the earliest deadline of the calls left,
	// zero if none has one.
	Expire(now time.Time) (next time.Time)
	// Request makes one control request (initialize, tools/list, ping) and
	// returns the raw result. It blocks; never use it from an actor. An error
	// answer is an *RPCError.
	Request(ctx context.Context, method string, params []byte) ([]byte, error)
	// Notify sends a notification; params may be nil.
	Notify(method string, params []byte) error
	// InFlight counts calls written and not finished.
	InFlight() int
	// Stop ends the instance and returns when it is gone: calls in flight may
	// finish for drain, then comes the ladder of the backend. A done ctx cuts
	// every wait short. Concurrent stops share one ladder.
	Stop(ctx context.Context, drain time.Duration)
	// Kill ends the instance at once, without asking; it does not wait.
	Kill(reason error)
	// Done is closed when the instance is gone; Exit is valid from then on.
	Done() <-chan struct{}
	Exit() Exit
	// PID is the process id, 0 where there is none.
	PID() int
}

// Exit says how an instance ended.
type Exit struct {
	Code   int    // exit code, -1 if ended by a signal or not a process
	Signal string // name of the signal, if one ended it
	Err    error  // why the runtime ended it (ErrStdinStalled, …); nil if it ended by itself or by Stop
	Asked  bool   // ended by Stop
	// OOM: the kernel killed it because its processes reached MemoryLimit.
	// MemoryPeak is the most they used, 0 if that is not known. In bytes.
	OOM                     bool
	MemoryLimit, MemoryPeak int64
	// Traffic is what passed before an end that nobody asked for; nil where it
	// is not known. The exit in a CrashError has none.
	Traffic *Traffic
}

// Normal tells whether the end was a clean exit.
func (e Exit) Normal() bool { return e.Code == 0 && e.Err == nil }
