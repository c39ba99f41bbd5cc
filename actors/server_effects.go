package actors

import (
	"time"

	"github.com/aabb9013/hangar/backends"
	"github.com/aabb9013/hangar/supervisor"
)

// drainGrace is how long calls in flight may finish before a stop.
const drainGrace = 5 * time.Second

// perform carries out one effect.
func (c *cell) perform(effect supervisor.Effect) {
	switch e := effect.(type) {
	case supervisor.StartInstance:
		if e.Candidate {
			c.beginCandidate(e.Epoch)
			return
		}
		c.relist = false
		if c.machine.Recovering {
			c.happened.Restarted.Add(1)
		}
		c.attempt = &attempt{cell: c, epoch: e.Epoch, over: make(chan struct{})}
		c.wantTurnAfter(e.Epoch, e.After)
	case supervisor.SwitchInstance:
		c.switchInstance(e.Old)
	case supervisor.PromoteCandidate:
		c.promoteCandidate()
	case supervisor.StopInstance:
		c.stopInstance(e)
	case supervisor.ProbeInstance:
		c.probe(e.Epoch)
	case supervisor.ProbeSpared:
		c.tellChecked(true)
	case supervisor.ArmTimer:
		c.arm(e)
	case supervisor.CancelTimer:
		c.disarm(e.Kind)
	case supervisor.ReleaseWaiting:
		c.publish() // before the first answer, so that its reader sees the state
		c.answerStarters(nil)
		c.dispatch()
	case supervisor.FailWaiting:
		c.publish()
		c.failWaiting(c.waitError(e))
	case supervisor.Emit:
		c.emit(e.Event)
		c.tellDependencies(e.Event)
	}
}

func (c *cell) waitError(e supervisor.FailWaiting) error {
	if e.GaveUp || e.RetryAfter > 0 {
		return &supervisor.CannotStartError{Server: c.id, Reason: e.Reason, RetryAfter: e.RetryAfter}
	}
	return &supervisor.StartFailedError{Server: c.id, Reason: e.Reason, Class: e.Class}
}

func (c *cell) arm(e supervisor.ArmTimer) {
	c.disarm(e.Kind)
	c.timers[e.Kind] = time.AfterFunc(e.After, func() {
		c.sys.tell(c.pid, timerElapsed{e.Kind, e.Seq})
	})
}

func (c *cell) disarm(kind supervisor.TimerKind) {
	if t := c.timers[kind]; t != nil {
		t.Stop()
		c.timers[kind] = nil
	}
}

// stopInstance ends the instance, or the attempt to make one.
func (c *cell) stopInstance(e supervisor.StopInstance) {
	if c.stopSecond(e) {
		return
	}
	if in := c.instance; in != nil {
		if e.Kill {
			in.Kill(backends.ErrUnresponsive)
			return
		}
		drain := time.Duration(0)
		if e.Drain && !c.hasty {
			drain = drainGrace
		}
		c.sys.run("stop of server "+c.id, in.Kill, func() { in.Stop(c.sys.killing, drain) })
		return
	}
	a := c.attempt
	switch {
	case a == nil: // not begun, or its end is on the way
	case a.cancel != nil:
		a.cancel()
	default:
		c.attempt = nil
		c.sys.tell(c.sys.starts, startOver{c, a.epoch})
		c.step(supervisor.StartFailed{Epoch: a.epoch, Class: supervisor.FailTransient, Reason: "stopped while waiting to start"})
	}
}
