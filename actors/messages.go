package actors

import (
	"time"

	"github.com/aabb9013/hangar/backends"
	"github.com/aabb9013/hangar/persistence"
	"github.com/aabb9013/hangar/supervisor"
)

// Every message between actors, grouped by receiver. Values are immutable
// after sending. Commands are imperative, facts are in the past tense.

// failable messages know how to answer their asker when they cannot be handled.
type failable interface{ fail(err error) }

// failMessage answers the asker of a message that cannot be handled. Calls are
// not for it: only their holder may finish them.
func failMessage(msg any, err error) {
	if m, ok := msg.(failable); ok {
		m.fail(err)
	}
}

// answer never blocks: an asker that was answered because of a panic may be
// answered again by what the panic left behind, and may no longer listen.
func answer(reply chan<- error, err error) {
	select {
	case reply <- err:
	default:
	}
}

// To a server's actor. The call itself, *backends.Call, is the hot one: Ref →
// server, answered by Finish.
type (
	// startServer: Ref → server; answered once the server is ready or the
	// start failed.
	startServer struct{ reply chan error }
	// stopServer: Ref, system → server; answered once no instance runs.
	stopServer struct {
		reason string
		reply  chan error
	}
	// resetServer: system → server; failures, budget, backoff and give-up are
	// forgotten once it is answered.
	resetServer struct{ reply chan error }
	// retireServer: registry → server; stops the instance, then the actor.
	retireServer struct {
		reason string
		hasty  bool // calls in flight are not waited for
	}
	// changeSpec: registry → server; the spec is already durable, but for a
	// HandOver. Answered once readers see it, by a function that does not block
	// and may be called again.
	changeSpec struct {
		spec    supervisor.ServerSpec
		replace Replace
		answer  func(err error)
	}
	// withdrawReplacement: registry → server; a candidate is given up for
	// another change that waits.
	withdrawReplacement struct{}
	// cancelCall: Ref → server; the caller gave up. By id, since the call may
	// have ended and been reused before this arrives.
	cancelCall struct {
		id    uint64
		cause error
	}
	// callsExpired: the expiry timer → server; the earliest deadline has come.
	callsExpired struct{}
	// retireNow: a timer → server; calls may have left the retired server.
	retireNow struct{}
	// goOn: registry → server, once the fleet is known, when the last runtime left
	// it something to do.
	goOn struct{}
	// startGranted: starts → server; the attempt may begin.
	startGranted struct{ epoch uint64 }
	// instanceStarted, startFailed: start goroutine → server.
	instanceStarted struct {
		epoch     uint64
		instance  backends.Instance
		catalogue *backends.Catalogue
		took      time.Duration
	}
	startFailed struct {
		epoch uint64
		err   error
		exit  *backends.Exit // of the instance, if there was one
	}
	// instanceEnded: the instance's watcher → server.
	instanceEnded struct {
		epoch uint64
		exit  backends.Exit
	}
	// probeAnswered: probe goroutine → server; err nil means alive.
	probeAnswered struct {
		epoch uint64
		took  time.Duration
		err   error
	}
	// turnDue: a timer → server; the attempt has waited for its moment.
	turnDue struct{ epoch uint64 }
	// timerElapsed: a timer → server.
	timerElapsed struct {
		kind supervisor.TimerKind
		seq  uint64
	}
	// reclaimServer: memory → server; stop if idle since lastUsed.
	reclaimServer struct {
		epoch    uint64
		lastUsed time.Time
	}
	// slotFreed: the link's reader → server, only while calls wait for one.
	slotFreed struct{}
	// toolListChanged: the link's reader → server.
	toolListChanged struct{ epoch uint64 }
	// toolsListed: refresh goroutine → server.
	toolsListed struct {
		epoch uint64
		tools []backends.Tool
		err   error
	}
)

func (m startServer) fail(err error) { answer(m.reply, err) }
func (m stopServer) fail(err error)  { answer(m.reply, err) }
func (m resetServer) fail(err error) { answer(m.reply, err) }
func (m changeSpec) fail(err error)  { m.answer(err) }

// To the starts actor.
type (
	// wantStart: server → starts; answered by startGranted in its turn.
	wantStart struct {
		cell     *cell
		epoch    uint64
		urgent   bool  // calls wait for it
		lastUsed int64 // unix ns, 0 = never
	}
	// hurryStart: server → starts; the first call waits for an attempt that
	// nobody waited for.
	hurryStart struct {
		cell  *cell
		epoch uint64
	}
	// startOver: server → starts; the attempt ended, or was given up while
	// it waited.
	startOver struct {
		cell  *cell
		epoch uint64
	}
	// limitStarts: system → starts; attempts that run go on.
	limitStarts struct{ limit int }
)

// limitMemory: system → memory; the budget in bytes, 0 for none.
type limitMemory struct{ budget int64 }

// holdStarts: memory → starts, after every sample while it holds them: let one
// start through until the next, or all again.
type holdStarts struct{ on bool }

// To the memory actor.
type (
	// sampleMemory: its timer → memory.
	sampleMemory struct{}
	// memorySampled: sampling goroutine → memory; bytes nil if that failed.
	memorySampled struct {
		cells []*cell
		views []*supervisor.View // as they were before the sample
		bytes []int64
		at    time.Time
	}
)

// To the registry.
type (
	createServer struct {
		spec  supervisor.ServerSpec
		reply chan error
	}
	updateServer struct {
		id    string
		patch supervisor.Patch
		reply chan error
	}
	deleteServer struct {
		id     string
		source supervisor.Provenance // who wants it
		hasty  bool                  // calls in flight are not waited for
		reply  chan error
	}
	// putServer: system → registry; a server of the configuration file is to
	// be as spec says. Answered once no instance runs that the change ends.
	putServer struct {
		spec    supervisor.ServerSpec
		replace Replace
		reply   chan error
	}
	// serverSpawned: servers → registry; the cell's pid is set, or its actor
	// could not be made.
	serverSpawned struct {
		cell *cell
		then func(err error)
		err  error
	}
	// actorGone: server → registry; the actor stopped for good.
	actorGone struct{ cell *cell }
	// changeCommitted: eventlog, or a goroutine of the registry → registry.
	changeCommitted struct {
		apply func(err error)
		err   error
	}
)

func (m createServer) fail(err error) { answer(m.reply, err) }
func (m updateServer) fail(err error) { answer(m.reply, err) }
func (m deleteServer) fail(err error) { answer(m.reply, err) }
func (m putServer) fail(err error)    { answer(m.reply, err) }

// To the servers supervisor.
type (
	// spawnServer: registry → servers; answered by serverSpawned.
	spawnServer struct {
		cell *cell
		then func(err error) // in the registry
	}
)

// To the eventlog.
type (
	// commit: anyone → eventlog; done, if set, runs in the eventlog's actor
	// after the batch is durable and must only send a message.
	commit struct {
		batch persistence.Batch
		done  func(err error)
		// docs, if not nil, makes the batch's documents when the log writes them,
		// on the writer's goroutine: none is older than one that was sent before.
		docs func() []persistence.Doc
	}
	// resumeLog: eventlog → itself, after a panic.
	resumeLog struct{}
	// flushCalls: the call buffer's timer → eventlog.
	flushCalls struct{}
	// written: writer goroutine → eventlog.
	written struct {
		commits []commit
		errs    []error // of each commit
		callErr error
		dropped uint64 // events that the calls were to tell of as lost
	}
	// flushAll: system → eventlog; answered when everything sent before it
	// is written.
	flushAll struct{ reply chan error }
)

func (m commit) fail(err error) {
	if m.done != nil {
		m.done(err)
	}
}
func (m flushAll) fail(err error) { answer(m.reply, err) }
