package actors

import (
	"fmt"

	"github.com/aabb9013/hangar/supervisor"
)

func (c *cell) onStartServer(m startServer) {
	c.startFor(starter{cause: supervisor.CauseOperator, answer: func(err error) { c.answerStored(m.reply, err) }})
}

// starter waits for the server to be ready. answer does not block.
type starter struct {
	cause  supervisor.Cause
	answer func(err error)
	urgent bool // a call waits for it
}

func (c *cell) startFor(s starter) {
	switch {
	case c.retired != "":
		s.answer(fmt.Errorf("%w: %q is being deleted", supervisor.ErrServerNotFound, c.id))
	case c.sys.closing.Load():
		s.answer(supervisor.ErrClosing)
	case c.ready():
		s.answer(nil)
	case len(c.starters) >= MaxWaiting:
		s.answer(fmt.Errorf("%w: %d starts of server %q wait", supervisor.ErrOverloaded, len(c.starters), c.id))
	default:
		c.starters = append(c.starters, s)
		if s.urgent {
			c.hurry()
		}
		c.step(supervisor.StartWanted{Cause: s.cause})
	}
}

func (c *cell) answerStarters(err error) {
	for _, s := range c.starters {
		s.answer(err)
	}
	c.starters = nil
}

func (c *cell) onStopServer(m stopServer) {
	closing := c.sys.closing.Load()
	if len(c.stoppers) >= MaxWaiting && !closing {
		answer(m.reply, fmt.Errorf("%w: %d stops of server %q wait", supervisor.ErrOverloaded, len(c.stoppers), c.id))
		return
	}
	err := fmt.Errorf("%w: server %q, reason %s", supervisor.ErrStopped, c.id, m.reason)
	if closing {
		err = supervisor.ErrClosing
	}
	c.failWaiting(err)
	c.stoppers = append(c.stoppers, stopper{func(err error) { c.answerStored(m.reply, err) }, c.machine.Epoch})
	c.withdraw()
	c.down = c.down || !closing
	c.step(supervisor.StopWanted{Reason: m.reason})
	c.publish() // also when nothing ran
}

func (c *cell) onReset(m resetServer) {
	c.step(supervisor.ResetWanted{})
	c.answerStored(m.reply, nil)
}

func (c *cell) onRetire(m retireServer) {
	c.retired = m.reason
	c.failWaiting(fmt.Errorf("%w: %q was deleted", supervisor.ErrServerNotFound, c.id))
	c.stop(m.reason, m.hasty)
}
