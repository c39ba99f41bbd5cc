package actors

import (
	"fmt"

	"github.com/aabb9013/hangar/supervisor"
)

func (c *cell) onStartServer(m startServer) {
	switch {
	case c.retired != "":
		answer(m.reply, fmt.Errorf("%w: %q is being deleted", supervisor.ErrServerNotFound, c.id))
	case c.sys.closing.Load():
		answer(m.reply, supervisor.ErrClosing)
	case c.ready():
		answer(m.reply, nil)
	case len(c.starters) >= MaxWaiting:
		answer(m.reply, fmt.Errorf("%w: %d starts of server %q wait", supervisor.ErrOverloaded, len(c.starters), c.id))
	default:
		c.starters = append(c.starters, m.reply)
		c.step(supervisor.StartWanted{Cause: supervisor.CauseOperator})
	}
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
	c.stoppers = append(c.stoppers, stopper{m.reply, c.machine.Epoch})
	c.step(supervisor.StopWanted{Reason: m.reason})
}

func (c *cell) onRetire(m retireServer) {
	c.retired = m.reason
	c.failWaiting(fmt.Errorf("%w: %q was deleted", supervisor.ErrServerNotFound, c.id))
	c.stop(m.reason, m.hasty)
}
