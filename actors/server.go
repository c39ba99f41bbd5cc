package actors

import (
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/aabb9013/hangar/supervisor"
)

// receive is the server's actor: it turns messages into inputs of the machine
// and moves calls. The machine's state is the truth; there is no other.
func (c *cell) receive(ctx actor.Context) {
	c.handle(ctx)
	c.uncork()
}

func (c *cell) handle(ctx actor.Context) {
	switch m := ctx.Message().(type) {
	case slotFreed:
		c.dispatch()
	case callsExpired:
		c.onExpired()
	case retireNow:
		c.settle()
	case cancelCall:
		c.onCancel(m)
	case startServer:
		c.onStartServer(m)
	case stopServer:
		c.onStopServer(m)
	case wakeServer:
		c.onWake()
	case retireServer:
		c.onRetire(m)
	case resetServer:
		c.onReset(m)
	case serveWanted:
		c.startFor(starter{supervisor.CauseCall, m.answer, m.urgent})
	case hurryUp:
		c.onHurryUp()
	case stopFor:
		c.onStopFor(m)
	case turnDue:
		c.onTurnDue(m)
	case mayStart:
		c.onMayStart(m)
	case changeSpec:
		c.onChangeSpec(m)
	case withdrawReplacement:
		c.onWithdrawReplacement()
	case goOn:
		c.onGoOn()
	case startGranted:
		c.onGranted(m)
	case instanceStarted:
		c.onStarted(m)
	case startFailed:
		c.onStartFailed(m)
	case instanceEnded:
		c.onEnded(m)
	case probeAnswered:
		c.onProbe(m)
	case timerElapsed:
		c.onTimer(m)
	case reclaimServer:
		c.onReclaim(m)
	case toolListChanged:
		c.onToolListChanged(m.epoch)
	case toolsListed:
		c.onToolsListed(m)
	case *actor.Started:
		c.onActorStarted()
	case *actor.Stopped:
		c.onActorStopped()
	case *actor.Stopping, *actor.Restarting:
	default:
		c.sys.logger.Error("unknown message", "actor", c.id, "message", fmt.Sprintf("%T", m))
	}
}

// step feeds the machine and carries its effects out.
func (c *cell) step(in supervisor.Input) {
	m, effects := c.machine.Step(in, supervisor.Env{Now: time.Now(), Jitter: c.sys.jitter()})
	c.machine = m
	c.keep() // before the log has the events: see keeper.save
	c.todo = append(c.todo, effects...)
	c.work()
}

// work performs effects in order. An effect that steps again only adds to the
// list. What is not yet done survives a panic in todo.
func (c *cell) work() {
	if c.working {
		return
	}
	c.working = true
	for len(c.todo) > 0 {
		e := c.todo[0]
		c.todo = c.todo[1:]
		c.perform(e)
	}
	c.working = false
	c.publish()
	c.settle()
}

// stopper waits for the end of one instance: a call may start the next in the
// moment that ends.
type stopper struct {
	answer func(err error) // does not block
	epoch  uint64
}

// settle looks for promises that the new state keeps.
func (c *cell) settle() {
	c.stoppers = slices.DeleteFunc(c.stoppers, func(s stopper) bool {
		ended := c.leaver == nil && (!c.machine.Live || c.machine.Epoch != s.epoch)
		if ended {
			s.answer(nil)
		}
		return ended
	})
	if c.machine.Live {
		return
	}
	if c.retired != "" {
		if c.leaver == nil {
			c.leave()
		}
		return
	}
	if c.machine.AtRest() && c.queue.size+len(c.starters) > 0 {
		cause := supervisor.CauseCall
		for _, s := range c.starters {
			cause = max(cause, s.cause)
		}
		c.step(supervisor.StartWanted{Cause: cause})
	}
}

// retirePause is how often a retired server looks whether its last callers
// have been answered.
const retirePause = 20 * time.Millisecond

// leave stops the actor once no call is on its way to it: a call in the
// mailbox of a stopped actor would be lost.
func (c *cell) leave() {
	if c.active.Load() > 0 {
		time.AfterFunc(retirePause, func() { c.sys.tell(c.pid, retireNow{}) })
		return
	}
	c.sys.engine.root.Stop(c.pid)
}

// onTimer counts as in flight every call whose Do has not returned: one that
// was answered a moment ago has not yet said when it was. What needs this server
// uses it, too.
func (c *cell) onTimer(m timerElapsed) {
	inFlight := int(c.active.Load())
	if m.kind == supervisor.TimerIdle && c.isNeeded() {
		inFlight++
	}
	c.step(supervisor.TimerFired{
		Kind: m.kind, Seq: m.seq, InFlight: inFlight,
		LastUsed: c.sys.at(&c.usedAt), LastReply: c.sys.at(&c.repliedAt),
	})
}

// ready tells whether calls may go to the instance.
func (c *cell) ready() bool {
	return c.instance != nil && c.machine.State == supervisor.Ready && c.machine.Phase == supervisor.PhaseNone
}

// moment is a time by the monotonic clock, which can be set while others read
// it: nanoseconds since System.began and one more; 0 = never.
type moment struct{ ns atomic.Int64 }

func (m *moment) set(sinceBegan time.Duration) { m.ns.Store(int64(sinceBegan) + 1) }

// at is the time of a moment, zero if there was none. It has a monotonic reading.
func (s *System) at(m *moment) time.Time {
	if ns := m.ns.Load(); ns > 0 {
		return s.began.Add(time.Duration(ns - 1))
	}
	return time.Time{}
}
