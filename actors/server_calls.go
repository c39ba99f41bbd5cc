package actors

import (
	"errors"
	"fmt"
	"time"

	"github.com/aabb9013/hangar/backends"
	"github.com/aabb9013/hangar/supervisor"
)

// onCall admits a call: at once if the server is ready and has a free slot,
// else to the queue, which may start the server.
func (c *cell) onCall(call *backends.Call) {
	c.holding = call
	if cause := c.early.take(call.ID); cause != nil {
		c.refuse(call, cause)
		return
	}
	c.expireBy(call.Deadline)
	if c.queue.size == 0 && c.hasSlot() && c.send(call) {
		return
	}
	switch {
	case c.retired != "":
		c.refuse(call, fmt.Errorf("%w: %q is being deleted", supervisor.ErrServerNotFound, c.id))
	case !c.ready() && c.sys.closing.Load():
		c.refuse(call, supervisor.ErrClosing) // a start would outlive the fleet's stop
	case c.ready() && c.shed(call):
	case !c.queue.push(call):
		c.refuse(call, fmt.Errorf("%w: %d calls wait for server %q", supervisor.ErrOverloaded, c.queue.size, c.id))
	default:
		c.holding = nil
		c.counters.Waiting.Store(int64(c.queue.size))
		if c.ready() {
			c.queued()
			c.dispatch()
			return
		}
		if c.queue.size == 1 {
			c.hurry()
		}
		c.step(supervisor.StartWanted{Cause: supervisor.CauseCall})
	}
}

func (c *cell) refuse(call *backends.Call, err error) {
	c.holding = nil
	call.Finish(err)
}

func (c *cell) hasSlot() bool { return c.ready() && c.instance.InFlight() < c.limit() }

// send hands a call to the instance; false means that the instance is gone
// and its end is on the way as a message: the call must wait.
func (c *cell) send(call *backends.Call) bool {
	c.holding = call
	more := c.mail.waiting.Load() > 0
	err := c.instance.Send(call, more)
	switch {
	case err == nil:
		c.corked = more
		c.holding = nil
		return true
	case errors.Is(err, backends.ErrClosed):
		return false
	}
	c.refuse(call, fmt.Errorf("%w: %w", supervisor.ErrOverloaded, err))
	return true
}

// uncork ends a burst: nothing more is on its way here.
func (c *cell) uncork() {
	if c.corked && c.mail.waiting.Load() == 0 {
		c.corked = false
		if c.instance != nil {
			c.instance.Flush()
		}
	}
}

// dispatch sends waiting calls while there are free slots.
func (c *cell) dispatch() {
	if c.queue.size == 0 || !c.ready() {
		return
	}
	turns := 0
	defer func() {
		c.counters.Waiting.Store(int64(c.queue.size))
		if turns > 0 {
			c.drain = c.drain.Drained(turns, time.Now())
		}
	}()
	for {
		for c.queue.size > 0 && c.hasSlot() {
			call := c.queue.pop()
			if !c.send(call) {
				c.queue.unpop(call)
				c.holding = nil
				return
			}
			turns++
		}
		c.awaitsSlot.Store(c.queue.size > 0)
		// A slot that was freed before the flag was up sent no message.
		if c.queue.size == 0 || !c.hasSlot() {
			return
		}
	}
}

func (c *cell) onCancel(m cancelCall) {
	if call := c.queue.remove(m.id); call != nil {
		c.counters.Waiting.Store(int64(c.queue.size))
		call.Finish(m.cause)
		return
	}
	if (c.instance == nil || !c.instance.Cancel(m.id, m.cause)) && !c.leaver.cancel(m.id, m.cause) {
		c.cancelledEarly(m.id, m.cause)
	}
}

// expireAgain arms the expiry after a panic, which may have lost its message.
func (c *cell) expireAgain() {
	if at := c.expireAt; !at.IsZero() {
		c.expireAt = time.Time{}
		c.expireBy(at)
	}
}

// expireBy makes sure that the deadlines are looked at when this one comes.
// Most calls end long before theirs, so this costs the usual call nothing.
func (c *cell) expireBy(deadline time.Time) {
	if deadline.IsZero() || !c.expireAt.IsZero() && !deadline.Before(c.expireAt) {
		return
	}
	c.expireAt = deadline
	if c.expiry != nil {
		c.expiry.Stop()
	}
	c.expiry = time.AfterFunc(time.Until(deadline), func() { c.sys.tell(c.pid, callsExpired{}) })
}

func (c *cell) onExpired() {
	now := time.Now()
	if c.expireAt.After(now) {
		return // the timer of an earlier deadline, replaced meanwhile
	}
	next := c.queue.expire(now, func(call *backends.Call) { call.Finish(backends.ErrDeadline) })
	c.counters.Waiting.Store(int64(c.queue.size))
	if c.instance != nil {
		if at := c.instance.Expire(now); next.IsZero() || !at.IsZero() && at.Before(next) {
			next = at
		}
	}
	if at := c.leaver.expire(now); next.IsZero() || !at.IsZero() && at.Before(next) {
		next = at
	}
	c.expireAt = time.Time{}
	c.expireBy(next)
}

// failWaiting answers everyone who waits for a running instance.
func (c *cell) failWaiting(err error) {
	for call := c.queue.pop(); call != nil; call = c.queue.pop() {
		call.Finish(err)
	}
	c.counters.Waiting.Store(0)
	c.answerStarters(err)
}
