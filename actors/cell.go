package actors

import (
	"maps"
	"sync/atomic"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/aabb9013/hangar/backends"
	"github.com/aabb9013/hangar/supervisor"
)

// cell is everything of one server that outlives its actor: a restarted actor
// finds the machine, the waiting calls and the healthy instance here. The
// upper part is shared, the lower belongs to the actor's goroutine alone.
type cell struct {
	sys  *System
	id   string
	seq  uint64 // order of registration in this run
	made uint64 // identity of the registration: seq in the run that made it
	pid  *actor.PID
	life atomic.Pointer[life]

	active atomic.Int64 // calls between Do's begin and their record
	mail   mailbox
	// actorFailures counts the panics of the server's actors.
	actorFailures atomic.Int64
	leaving       atomic.Bool // no new calls: the server is being deleted
	view          atomic.Pointer[supervisor.View]
	groups        atomic.Pointer[[]*group] // that have the server as a member; nil: none
	counters      supervisor.Counters
	happened      supervisor.EventCounters
	log           backends.LogRing
	streams       backends.StreamCounters
	awaitsSlot    atomic.Bool // calls wait for one in flight to end
	// usedAt and repliedAt are the last use, as counters.LastUsed, and the last
	// answer of an instance, for decisions: no change of the clock moves them.
	usedAt, repliedAt moment
	curve             memoryCurve
	launchSecrets     launchSecrets

	kept       atomic.Pointer[kept] // the state to be stored; the actor's to set
	unsaved    atomic.Bool          // kept is not stored yet
	savedCalls int64                // counters.Calls as stored; the keeper's own

	durable supervisor.ServerSpec // the spec as stored; the registry's own

	fingerprint string              // of spec
	restored    []supervisor.Effect // what goes on from the last runtime

	spec     supervisor.ServerSpec
	machine  supervisor.Machine
	todo     []supervisor.Effect
	working  bool
	queue    fairQueue
	early    *cancelled     // before they came here; nil until there was one
	holding  *backends.Call // at hand: neither queued nor sent nor finished
	starters []starter
	stoppers []stopper
	drain    supervisor.DrainRate
	expiry   *time.Timer // of the earliest deadline
	expireAt time.Time
	retired  string // reason; not empty once the server is being deleted
	hasty    bool   // a stop now does not wait for the calls in flight
	down     bool   // an operator has stopped the server, and nobody has wanted it since

	corked   bool // the instance holds lines back for the rest of a burst
	attempt  *attempt
	instance backends.Instance
	timers   [supervisor.TimerKinds]*time.Timer

	replacement *replacement // a second instance that is to take over; else nil
	leaver      *leaver      // a second instance that is being ended; else nil

	catalogue  *backends.Catalogue
	predefined bool // the catalogue is the spec's, not the server's
	stale      bool // the catalogue is of an instance that ended
	listing    bool // a tools/list refresh runs
	relist     bool // and another is wanted
	listedAt   time.Time

	watched               watched
	rest                  supervisor.Condition // see supervisor.RestAfter
	lastError             string
	totalFailures         uint64
	lastSuccess, lastFail time.Time
	checks                []supervisor.Check

	changes *changes // nil while there were none
	ending  *ending  // of the instance whose end is at hand, else nil
	crashes uint64   // dossiers that the server ever had
	short   bool     // its last start failed for want of a resource of the node
}

func newCell(sys *System, seq uint64, spec supervisor.ServerSpec, cat *backends.Catalogue) *cell {
	c := &cell{
		sys: sys, id: spec.ID, seq: seq, made: seq,
		durable: spec, spec: spec, machine: supervisor.NewMachine(supervisor.PolicyOf(spec)),
		catalogue: cat, stale: cat != nil, fingerprint: fingerprintOf(spec),
	}
	c.life.Store(newLife())
	if cat == nil && len(spec.Tools) > 0 {
		c.catalogue, c.predefined = predefinedCatalogue(spec), true
	}
	c.mail.cell = c
	c.publish()
	return c
}

// publish makes the present state visible to readers.
func (c *cell) publish() {
	m := &c.machine
	v := &supervisor.View{
		Spec: c.spec, State: m.State, Phase: m.Phase, Epoch: m.Epoch,
		Condition: supervisor.ConditionOf(*m, c.watched.condition, c.rest, c.down),
		Failures:  m.Failures, TotalFailures: c.totalFailures, ProbeMisses: m.ProbeMisses,
		NextRetryAt: m.NextRetryAt, ReadySince: m.ReadySince,
		Restarts: m.BudgetUsed(time.Now()), LastError: c.lastError,
		RestartTimes: m.Restarts, Streak: m.Streak, RetryDelay: m.RetryDelay, ActorRestarts: c.actorFailures.Load(),
		LastSuccessAt: c.lastSuccess, LastFailureAt: c.lastFail,
		Checks: c.checks, Catalogue: c.catalogue,
		ToolsPredefined: c.predefined, ToolsStale: c.stale,
		Counters: &c.counters, Events: &c.happened, Streams: &c.streams, Log: &c.log,
	}
	if m.State != supervisor.Ready {
		v.ReadySince = time.Time{}
	}
	if c.instance != nil {
		v.PID = c.instance.PID()
	}
	old := c.view.Swap(v)
	c.tellGroups(v)
	// After the view: who has heard of the version must find the tools. A start
	// that found the same tools is no change: clients would list them all again.
	if old != nil && old.Catalogue != v.Catalogue && !sameTools(old.Catalogue, v.Catalogue) {
		c.sys.fleetChanged()
	}
	c.sys.changes.Add(1)
	c.keep()
}

// emit sends an event about this server to the log.
func (c *cell) emit(e supervisor.Event) {
	e.Server = c.id
	if e.Epoch == 0 {
		e.Epoch = c.machine.Epoch
	}
	c.happened.Count(e, time.Now())
	c.rest = supervisor.RestAfter(e, c.rest)
	if e.Kind == supervisor.ServerStarted {
		data := map[string]any{"mode": c.spec.Mode}
		for k, v := range e.Data {
			data[k] = v
		}
		e.Data = data
	}
	switch e.Kind {
	case supervisor.ServerCrashed, supervisor.ServerStartFailed:
		c.emitEnd(e)
		return
	case supervisor.ServerReplaceFailed:
		if e.Data["class"] != nil { // it failed by itself
			c.emitEnd(e)
			return
		}
	case supervisor.ServerStarted:
		c.short = false
	case supervisor.ServerStopped:
		if c.ending != nil && !c.ending.ready.IsZero() {
			c.changes.good()
		}
	}
	c.sys.emit(c.withoutSecrets(e))
}

// limit is the number of calls the instance may have in flight.
func (c *cell) limit() int { return limitOf(&c.spec) }

func limitOf(spec *supervisor.ServerSpec) int {
	if spec.MaxConcurrency > 0 {
		return spec.MaxConcurrency
	}
	return supervisor.DefaultMaxInFlight
}

func (c *cell) failedNow(reason string) {
	c.totalFailures++
	c.lastError, c.lastFail = c.secrets().Excerpt(reason, maxReason, false), time.Now()
}

// withoutSecrets hides what a server may have said of its secrets in a reason.
func (c *cell) withoutSecrets(e supervisor.Event) supervisor.Event {
	for _, field := range [...]string{"reason", "error_message"} {
		if text, ok := e.Data[field].(string); ok {
			e.Data = maps.Clone(e.Data)
			e.Data[field] = c.secrets().Excerpt(text, maxReason, false)
		}
	}
	return e
}
