package actors

import (
	"context"
	"errors"
	"time"

	"github.com/aabb9013/hangar/backends"
	"github.com/aabb9013/hangar/supervisor"
)

// onGranted begins the attempt, unless it was given up meanwhile.
func (c *cell) onGranted(m startGranted) {
	a, spec := c.attempt, c.spec
	if r := c.replacement; r.isFor(m.epoch) {
		a, spec = r.attempt, r.spec
	}
	if a == nil || a.epoch != m.epoch || a.cancel != nil {
		c.sys.tell(c.sys.starts, startOver{c, m.epoch})
		return
	}
	ctx, cancel := context.WithTimeout(c.sys.living, spec.StartTimeout)
	a.cancel = cancel
	if a == c.attempt {
		c.changes.begin()
	}
	c.launching(&spec, a.epoch) // before it can write a line
	c.sys.run("start of server "+c.id, a.failed, func() {
		defer close(a.over)
		defer cancel()
		// However it ends, and after what it ends in was told.
		defer c.sys.tell(c.sys.starts, startOver{c, a.epoch})
		a.run(ctx, spec)
	})
}

func (c *cell) onStarted(m instanceStarted) {
	if c.secondStarted(m) {
		return
	}
	if c.attempt == nil || c.attempt.epoch != m.epoch {
		if m.instance != c.instance { // told twice, after a panic
			m.instance.Kill(backends.ErrClosed)
		}
		return
	}
	c.instance = m.instance
	if early := c.attempt.early; early != nil {
		defer c.onEnded(*early)
	}
	if c.machine.Phase == supervisor.PhaseStopping {
		// The stop came while the last answer of the handshake was on its way.
		c.attempt = nil
		c.stopInstance(supervisor.StopInstance{Epoch: m.epoch})
		return
	}
	c.drain = supervisor.DrainRate{} // another instance, another speed
	c.setCatalogue(m.catalogue)
	c.lastSuccess = time.Now()
	c.step(supervisor.Started{Epoch: m.epoch, Tools: len(m.catalogue.Tools), Duration: m.took})
	c.attempt = nil // only now: until here a panic makes the attempt tell again
	if c.relist {
		c.onToolListChanged(m.epoch)
	}
}

func (c *cell) onStartFailed(m startFailed) {
	if c.secondEnded(m.epoch, m.err, m.exit) {
		return
	}
	if m.epoch != c.machine.Epoch || !c.machine.Live || c.instance != nil {
		return
	}
	c.attempt = nil
	class := classOf(m.err)
	reason := c.secrets().Excerpt(c.startReason(m.err), maxReason, false) // callers are told, too
	var dependency *supervisor.DependencyError
	switch stopping := c.machine.Phase == supervisor.PhaseStopping; {
	case errors.As(m.err, &dependency):
		class = supervisor.FailDependency
		c.lastError = reason // no failure of this server
	case !stopping:
		c.failedNow("start failed: " + reason)
	}
	c.ending = &ending{epoch: m.epoch, exit: m.exit}
	c.step(supervisor.StartFailed{Epoch: m.epoch, Class: class, Reason: reason})
	c.ending = nil
}

// startReason is why a start of this server failed, without saying again that
// and whose start it was.
func (c *cell) startReason(err error) string {
	var start *backends.StartError
	if errors.As(err, &start) && start.Server == c.id {
		return start.Reason()
	}
	return err.Error()
}

func (c *cell) onEnded(m instanceEnded) {
	if c.secondEnded(m.epoch, nil, &m.exit) {
		return
	}
	if m.epoch != c.machine.Epoch || !c.machine.Live {
		return
	}
	if a := c.attempt; a != nil && c.instance == nil {
		a.early = &m // it overtook instanceStarted
		return
	}
	c.ending = &ending{epoch: m.epoch, exit: &m.exit, ready: c.machine.ReadySince}
	if c.instance != nil {
		c.ending.pid = c.instance.PID()
	}
	c.instance, c.attempt = nil, nil
	c.awaitsSlot.Store(false)
	c.stale = c.catalogue != nil && !c.predefined
	normal := m.exit.Normal()
	if c.machine.Phase != supervisor.PhaseStopping && (!normal || c.machine.Policy.Restart == supervisor.Permanent) {
		c.failedNow("ended: " + m.exit.String())
	}
	c.step(supervisor.Exited{Epoch: m.epoch, Normal: normal, Class: classOf(m.exit.Err), Reason: m.exit.String()})
	c.ending = nil
}

// classOf is what the end of a start or of an instance means for the next one.
func classOf(err error) supervisor.FailureClass {
	switch {
	case errors.Is(err, backends.ErrPermanent):
		return supervisor.FailPermanent
	case errors.Is(err, backends.ErrResource):
		return supervisor.FailResource
	}
	return supervisor.FailTransient
}

// isAnswer tells whether a request's error is an answer of a living server.
func isAnswer(err error) bool {
	var rpc *backends.RPCError
	return errors.As(err, &rpc)
}
