package actors

import (
	"context"
	"time"

	"github.com/aabb9013/hangar/backends"
	"github.com/aabb9013/hangar/supervisor"
)

// replacedDrain is how long the calls of an instance that handed over may take
// before it climbs the stop ladder: nobody waits for its end, and it costs no
// more than memory. Calls with a later deadline fail then.
const replacedDrain = 5 * time.Minute

// leaver is a second instance that is being ended: one that handed over, or a
// candidate that was given up.
type leaver struct {
	epoch    uint64
	attempt  *attempt           // of a candidate, whose instance may be on its way
	instance backends.Instance  // nil as long as it is
	cut      context.CancelFunc // ends the patience with its calls; nil before its stop
}

// cancel ends a call that is in flight there.
func (l *leaver) cancel(id uint64, cause error) bool {
	return l != nil && l.instance != nil && l.instance.Cancel(id, cause)
}

// expire ends the calls there that are due; see backends.Instance.
func (l *leaver) expire(now time.Time) (next time.Time) {
	if l == nil || l.instance == nil {
		return time.Time{}
	}
	return l.instance.Expire(now)
}

// end lets go of what its stop holds.
func (l *leaver) end() {
	if l.cut != nil {
		l.cut()
	}
}

// stopSecond carries out a stop that is not of the server's own instance.
func (c *cell) stopSecond(e supervisor.StopInstance) bool {
	if r := c.replacement; r.isFor(e.Epoch) {
		c.giveUpCandidate(r, e.Reason)
		return true
	}
	l := c.leaver
	switch {
	case l == nil || l.epoch != e.Epoch:
		return e.Epoch != c.machine.Epoch // it is gone
	case l.instance == nil: // its attempt was cancelled; the end is on its way
	case l.cut == nil:
		drain := drainGrace
		if e.Replaced {
			drain = replacedDrain
		}
		ctx, cut := context.WithCancel(c.sys.killing)
		l.cut = cut
		in := l.instance
		c.sys.run("stop of the replaced instance of server "+c.id, in.Kill, func() { in.Stop(ctx, drain) })
	case c.hasty:
		l.cut()
	default:
		time.AfterFunc(drainGrace, l.cut)
	}
	return true
}

func (c *cell) giveUpCandidate(r *replacement, reason string) {
	err := c.replaceError(reason)
	c.replacement = nil
	r.answer(err)
	c.keepSecrets()
	if a := r.attempt; a.cancel != nil {
		c.leaver = &leaver{epoch: r.epoch, attempt: a}
		a.cancel()
		return
	}
	c.sys.tell(c.sys.starts, startOver{c, r.epoch})
	c.step(supervisor.StartFailed{Epoch: r.epoch, Class: supervisor.FailTransient, Reason: reason})
}

// loseCandidate gives back the turn of a candidate whose grant was lost in a
// panic.
func (c *cell) loseCandidate(epoch uint64) {
	if r := c.replacement; r.isFor(epoch) && r.attempt.cancel == nil {
		c.sys.tell(c.sys.starts, startOver{c, epoch})
		c.sys.tell(c.pid, startFailed{epoch: epoch, err: supervisor.ErrInternal})
	}
}

// adoptSecond takes up what a panicked predecessor knew of the second instance:
// facts that were lost are told again, and machine and cell agree afterwards.
func (c *cell) adoptSecond() {
	switch r, epoch := c.replacement, c.machine.Candidate.Epoch; {
	case r != nil && r.epoch != epoch:
		c.dropReplacement("internal error")
	case r != nil && r.attempt != nil:
		if fact := r.attempt.fact(); fact != nil {
			c.sys.tell(c.pid, fact)
		}
	case r != nil:
		c.beginReplacement()
	}
	if c.replacement == nil && c.machine.Candidate.Epoch != 0 {
		c.step(supervisor.StartFailed{Epoch: c.machine.Candidate.Epoch, Class: supervisor.FailTransient, Reason: "internal error"})
	}
	l := c.leaver
	switch {
	case l == nil && c.machine.Leaver.Epoch != 0:
		c.step(supervisor.Exited{Epoch: c.machine.Leaver.Epoch, Reason: "internal error"})
	case l == nil:
	case l.instance != nil:
		select {
		case <-l.instance.Done():
			c.sys.tell(c.pid, instanceEnded{l.epoch, l.instance.Exit()})
		default:
			if l.cut == nil { // its stop was lost
				c.stopSecond(supervisor.StopInstance{Epoch: l.epoch, Drain: true})
			}
		}
	default:
		if fact := l.attempt.fact(); fact != nil {
			c.sys.tell(c.pid, fact)
		}
	}
}

// abandonSecond ends the second instance of an actor that has stopped.
func (c *cell) abandonSecond(err error) {
	if r := c.replacement; r != nil {
		if r.attempt != nil {
			r.attempt.abandon(err)
		}
		r.answer(err)
	}
	l := c.leaver
	if l == nil {
		return
	}
	l.end()
	if l.attempt != nil {
		l.attempt.abandon(err)
	}
	if in := l.instance; in != nil {
		in.Kill(err)
		c.sys.run("end of an instance", func(error) {}, func() { <-in.Done() })
	}
}
