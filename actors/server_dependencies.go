package actors

import (
	"slices"
	"time"

	"github.com/aabb9013/hangar/supervisor"
)

// isLinked tells whether the dependencies actor must hear of this server. In a
// fleet without dependencies that is one look at a nil pointer.
func (c *cell) isLinked() bool {
	return c.sys.fleet.Load().graph.Linked(c.id) || len(c.spec.DependsOn) > 0
}

// wantTurnAfter asks for the start of an attempt when its time has come.
func (c *cell) wantTurnAfter(epoch uint64, after time.Duration) {
	if after <= 0 {
		c.wantTurn(epoch)
		return
	}
	time.AfterFunc(after, func() { c.sys.tell(c.pid, turnDue{epoch}) })
}

func (c *cell) onTurnDue(m turnDue) {
	if a := c.attempt; a != nil && a.epoch == m.epoch && a.cancel == nil {
		c.wantTurn(m.epoch)
	}
}

// wantTurn asks for the start of an attempt: the dependencies come first, then
// start admission.
func (c *cell) wantTurn(epoch uint64) {
	if !c.isLinked() {
		c.sys.tell(c.sys.starts, wantStart{c, epoch, c.isUrgent(), c.counters.LastUsed.Load()})
		return
	}
	c.publish() // the dependencies actor looks at the views
	c.sys.tell(c.sys.dependencies, wantUp{
		cell: c, epoch: epoch, needs: c.spec.DependsOn, timeout: c.spec.StartTimeout,
		keep: c.machine.Recovering || c.spec.Restart == supervisor.Permanent, urgent: c.isUrgent(),
	})
}

// isUrgent tells whether a call waits for the start, here or at a server that
// needs this one.
func (c *cell) isUrgent() bool {
	return c.queue.size > 0 || slices.ContainsFunc(c.starters, func(s starter) bool { return s.urgent })
}

// hurry moves an attempt that waits for its turn before those without calls.
func (c *cell) hurry() {
	if a := c.attempt; a == nil || a.cancel != nil {
		return
	}
	c.sys.tell(c.sys.starts, hurryStart{c, c.attempt.epoch})
	if c.isLinked() {
		c.sys.tell(c.sys.dependencies, hurryWait{c})
	}
}

// onHurryUp: whoever waits here for a dependency has a call that waits.
func (c *cell) onHurryUp() {
	for i := range c.starters {
		c.starters[i].urgent = true
	}
	c.hurry()
}

func (c *cell) onMayStart(m mayStart) {
	if a := c.attempt; a != nil && a.epoch == m.epoch && a.cancel == nil {
		c.sys.tell(c.sys.starts, wantStart{c, m.epoch, c.isUrgent(), c.counters.LastUsed.Load()})
	}
}

// tellDependencies reports what may concern other servers. The machine is
// already where the event leads to.
func (c *cell) tellDependencies(e supervisor.Event) {
	switch e.Kind {
	case supervisor.ServerCrashed, supervisor.ServerStarted, supervisor.ServerStartFailed,
		supervisor.ServerStopped, supervisor.ServerGaveUp, supervisor.ServerReset:
	default:
		return
	}
	if !c.isLinked() {
		return
	}
	reason, _ := e.Data["reason"].(string)
	if e.Kind == supervisor.ServerStopped && reason == supervisor.ReasonReplaced {
		return // the server goes on
	}
	fact := memberFact{cell: c, epoch: e.Epoch, reason: reason}
	switch m := &c.machine; {
	case e.Kind == supervisor.ServerGaveUp:
		fact.kind = memberGaveUp
	case e.Kind == supervisor.ServerCrashed && m.Recovering:
		fact.kind = memberCrashed
	case e.Kind == supervisor.ServerStarted:
		fact.kind = memberServes
	case e.Kind == supervisor.ServerStopped:
		fact.kind = memberStopped
	case e.Kind == supervisor.ServerReset && !m.Live:
		fact.kind = memberReset
	case e.Kind == supervisor.ServerStartFailed && m.AtRest() && m.Phase != supervisor.PhaseGaveUp:
		fact.kind = memberFailed
	case e.Kind == supervisor.ServerStartFailed && !m.AtRest():
		fact.kind = memberRetries
	default:
		return // a reset of a running server, a temporary server's crash; or the give-up that follows tells
	}
	c.sys.tell(c.sys.dependencies, fact)
}

// isNeeded tells whether a server that depends on this one is up: then this one
// is in use, whether called or not.
func (c *cell) isNeeded() bool {
	fleet := c.sys.fleet.Load()
	for _, id := range fleet.graph.Dependents(c.id) {
		if other := fleet.byID[id]; other != nil {
			if state := other.view.Load().State; state == supervisor.Ready || state == supervisor.Initializing {
				return true
			}
		}
	}
	return false
}

// staysUp tells whether the server is in use though nobody calls it: it is to
// run always, or one that runs needs it.
func (c *cell) staysUp(spec *supervisor.ServerSpec) bool {
	return spec.Restart == supervisor.Permanent || c.isNeeded()
}

// withdraw tells that an operator does not want the server up: nothing else
// may start it again by itself.
func (c *cell) withdraw() {
	if c.isLinked() {
		c.sys.tell(c.sys.dependencies, startWithdrawn{c})
	}
}

// onStopFor stops the server for the sake of another. With a cause whoever
// waits is told; without one they go on waiting for the start that follows.
func (c *cell) onStopFor(m stopFor) {
	if m.cause != nil {
		c.failWaiting(m.cause)
	}
	// Not bounded by MaxWaiting: the dependencies actor asks once at a time.
	c.stoppers = append(c.stoppers, stopper{m.answer, c.machine.Epoch})
	c.step(supervisor.StopWanted{Reason: m.reason, Then: m.then})
}
