package actors

import (
	"fmt"
	"time"

	"github.com/aabb9013/hangar/backends"
	"github.com/aabb9013/hangar/supervisor"
)

// panicked runs before the actor is suspended. A call that was queued or sent
// stays where it is; one in between is finished. An attempt that was granted
// and did not begin gives its slot back.
func (c *cell) panicked(msg any, err error) {
	if call := c.holding; call != nil {
		c.holding = nil
		c.finishHeld(call, err)
	}
	switch m := msg.(type) {
	case startGranted:
		c.loseCandidate(m.epoch)
		if a := c.attempt; a != nil && a.epoch == m.epoch && a.cancel == nil {
			c.attempt = nil
			c.sys.tell(c.sys.starts, startOver{c, m.epoch})
		}
	case turnDue:
		c.loseTurn(m.epoch)
	case mayStart:
		c.loseTurn(m.epoch)
	case toolsListed:
		c.listing = false
	case retireServer:
		c.sys.tell(c.pid, m) // a deletion is durable: it must happen
	}
	failMessage(msg, err)
}

// loseTurn lets an attempt go that nobody will ask a turn for any more: the next
// actor tells that it failed.
func (c *cell) loseTurn(epoch uint64) {
	if a := c.attempt; a != nil && a.epoch == epoch && a.cancel == nil {
		c.attempt = nil
	}
}

// finishHeld ends a call over which Send may have panicked half way.
func (c *cell) finishHeld(call *backends.Call, err error) {
	if c.instance != nil && c.instance.Cancel(call.ID, err) {
		return
	}
	call.Finish(err)
}

// onActorStarted takes up what a panicked predecessor left half done. Facts
// that were lost with its last message are told again: the attempt and the
// instance remember them.
func (c *cell) onActorStarted() {
	c.working = false
	switch {
	case !c.machine.Live:
	case c.attempt != nil:
		if fact := c.attempt.fact(); fact != nil {
			c.sys.tell(c.pid, fact)
		}
	case c.instance == nil:
		c.step(supervisor.StartFailed{Epoch: c.machine.Epoch, Class: supervisor.FailTransient, Reason: "internal error"})
	default:
		select {
		case <-c.instance.Done():
			c.sys.tell(c.pid, instanceEnded{c.machine.Epoch, c.instance.Exit()})
		default:
		}
	}
	c.work()
	c.adoptSecond()
	c.dispatch()
	c.expireAgain()
}

// onActorStopped runs when the server was deleted, the runtime closes, or the
// actor was given up: nothing may be left behind.
func (c *cell) onActorStopped() {
	defer func() {
		close(c.gone())
		c.mail.close()
		c.sys.tell(c.sys.registry, actorGone{c})
		if c.isLinked() {
			c.sys.tell(c.sys.dependencies, actorGone{c})
		}
	}()
	for kind := range c.timers {
		c.disarm(supervisor.TimerKind(kind))
	}
	if c.expiry != nil {
		c.expiry.Stop()
	}
	err := c.goneError()
	if c.attempt != nil {
		c.attempt.abandon(err)
	}
	if in := c.instance; in != nil {
		in.Kill(err)
		c.sys.run("end of an instance", func(error) {}, func() { <-in.Done() })
	}
	c.abandonSecond(err)
	if c.retired == "" && !c.sys.closing.Load() {
		c.onGivenUp(err)
	}
	c.failWaiting(err)
	for _, s := range c.stoppers {
		s.answer(nil)
	}
	c.stoppers = nil
}

// onGivenUp leaves the server dead in all lists. Only an operator starts it
// again: its actor failed too often to be trusted with an instance.
func (c *cell) onGivenUp(err error) {
	c.failedNow(err.Error())
	c.emit(supervisor.Event{Kind: supervisor.ServerGaveUp, Data: map[string]any{
		"restarts": maxActorFailures, "period_s": actorPeriod.Seconds(), "reason": err.Error(),
	}})
	c.tellDependencies(supervisor.Event{Kind: supervisor.ServerGaveUp, Data: map[string]any{"reason": err.Error()}})
	c.stale = c.catalogue != nil && !c.predefined
	c.publish()
	v := *c.view.Load()
	v.State, v.Phase = supervisor.Dead, supervisor.PhaseGaveUp
	v.PID = 0
	v.ReadySince, v.NextRetryAt = time.Time{}, time.Time{}
	v.Condition = supervisor.ConditionFailed
	c.view.Store(&v)
	c.tellGroups(&v)
}

// goneError says why nobody answers for the server any more.
func (c *cell) goneError() error {
	switch {
	case c.leaving.Load():
		return fmt.Errorf("%w: %q was deleted", supervisor.ErrServerNotFound, c.id)
	case c.sys.closing.Load():
		return supervisor.ErrClosing
	}
	return fmt.Errorf("%w: the actor of server %q failed too often and was given up", supervisor.ErrInternal, c.id)
}
