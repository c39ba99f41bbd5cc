package actors

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/aabb9013/hangar/backends"
	"github.com/aabb9013/hangar/supervisor"
)

// attempt is one start attempt. It observes the instance it makes and turns
// the instance's end into exactly one fact: startFailed while the attempt
// runs, instanceEnded once the instance was handed over.
type attempt struct {
	cell   *cell
	epoch  uint64
	cancel context.CancelFunc // set by the actor once granted

	mu        sync.Mutex
	handed    *instanceStarted // told to the actor
	broke     *startFailed     // told to the actor
	ended     bool             // the instance
	abandoned error            // the actor has stopped
}

var _ backends.Observer = (*attempt)(nil)

// onGranted begins the attempt, unless it was given up meanwhile.
func (c *cell) onGranted(m startGranted) {
	a := c.attempt
	if a == nil || a.epoch != m.epoch || a.cancel != nil {
		c.sys.tell(c.sys.starts, startOver{c, m.epoch})
		return
	}
	ctx, cancel := context.WithTimeout(c.sys.living, c.spec.StartTimeout)
	a.cancel = cancel
	spec := c.spec
	c.sys.run("start of server "+c.id, a.failed, func() {
		defer cancel()
		// However it ends, and after what it ends in was told.
		defer c.sys.tell(c.sys.starts, startOver{c, a.epoch})
		a.run(ctx, spec)
	})
}

// run starts an instance and shakes hands; it ends in one message.
func (a *attempt) run(ctx context.Context, spec supervisor.ServerSpec) {
	c := a.cell
	began := time.Now()
	backend, ok := c.sys.opts.Backends[spec.Mode]
	if !ok {
		a.failed(&backends.StartError{Server: c.id, Stage: backends.StageSpawn, Err: errors.Join(backends.ErrPermanent, supervisor.ErrNotBuilt)})
		return
	}
	in, err := backend.Start(ctx, backends.LaunchSpec{
		Server: c.id, Epoch: a.epoch, Command: spec.Command, Dir: spec.Dir, Env: spec.Env,
		RunTag: c.sys.opts.RunTag, Log: &c.log, Observer: a,
	})
	if err != nil {
		a.failed(err)
		return
	}
	handed := false
	defer func() {
		if !handed { // also when the handshake panics
			in.Kill(backends.ErrClosed)
			<-in.Done()
		}
	}()
	cat, err := backends.Handshake(ctx, c.id, in, c.sys.opts.Client)
	if err == nil {
		handed = a.hand(&instanceStarted{a.epoch, in, cat, time.Since(began)})
	}
	if handed {
		return
	}
	if err == nil {
		err = &backends.StartError{Server: c.id, Stage: backends.StageTools, Err: backends.ErrCrashed}
	}
	in.Kill(err)
	<-in.Done()
	a.failed(err)
}

// hand gives the instance to the actor; false if the one or the other has
// already ended.
func (a *attempt) hand(m *instanceStarted) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.ended || a.abandoned != nil {
		return false
	}
	a.handed = m
	a.cell.sys.tell(a.cell.pid, *m)
	return true
}

func (a *attempt) failed(err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.broke = &startFailed{a.epoch, err}
	a.cell.sys.tell(a.cell.pid, *a.broke)
}

// fact is what the attempt told the actor when it ended, nil before: the actor
// may have panicked over it.
func (a *attempt) fact() any {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case a.broke != nil:
		return *a.broke
	case a.handed != nil:
		return *a.handed
	}
	return nil
}

// abandon ends the attempt of an actor that has stopped, with an instance that
// is on its way to it or will be.
func (a *attempt) abandon(err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.abandoned = err
	if a.cancel == nil {
		a.cell.sys.tell(a.cell.sys.starts, startOver{a.cell, a.epoch})
		return
	}
	a.cancel()
	if a.handed != nil {
		in := a.handed.instance
		in.Kill(err)
		a.cell.sys.run("end of an instance", func(error) {}, func() { <-in.Done() })
	}
}

// Ended implements backends.Observer.
func (a *attempt) Ended(epoch uint64, exit backends.Exit) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.ended = true
	if a.handed != nil {
		a.cell.sys.tell(a.cell.pid, instanceEnded{epoch, exit})
	}
}

// CallsDone implements backends.Observer: the actor hears of free slots only
// while calls wait for one.
func (a *attempt) CallsDone(uint64, int) {
	if a.cell.awaitsSlot.Load() && a.cell.awaitsSlot.CompareAndSwap(true, false) {
		a.cell.sys.tell(a.cell.pid, slotFreed{})
	}
}

// Notified implements backends.Observer.
func (a *attempt) Notified(epoch uint64, method string, _ []byte) {
	if method == "notifications/tools/list_changed" {
		a.cell.sys.tell(a.cell.pid, toolListChanged{epoch})
	}
}

func (c *cell) onStarted(m instanceStarted) {
	if c.attempt == nil || c.attempt.epoch != m.epoch {
		if m.instance != c.instance { // told twice, after a panic
			m.instance.Kill(backends.ErrClosed)
		}
		return
	}
	c.instance = m.instance
	if c.machine.Phase == supervisor.PhaseStopping {
		// The stop came while the last answer of the handshake was on its way.
		c.attempt = nil
		c.stopInstance(supervisor.StopInstance{Epoch: m.epoch})
		return
	}
	c.setCatalogue(m.catalogue)
	c.lastSuccess = time.Now()
	c.step(supervisor.Started{Epoch: m.epoch, Tools: len(m.catalogue.Tools), Duration: m.took})
	c.attempt = nil // only now: until here a panic makes the attempt tell again
	if c.relist {
		c.onToolListChanged(m.epoch)
	}
}

func (c *cell) onStartFailed(m startFailed) {
	if m.epoch != c.machine.Epoch || !c.machine.Live || c.instance != nil {
		return
	}
	c.attempt = nil
	class := supervisor.FailTransient
	switch {
	case errors.Is(m.err, backends.ErrPermanent):
		class = supervisor.FailPermanent
	case errors.Is(m.err, backends.ErrResource):
		class = supervisor.FailResource
	}
	if c.machine.Phase != supervisor.PhaseStopping {
		c.failedNow(m.err.Error())
	}
	c.step(supervisor.StartFailed{Epoch: m.epoch, Class: class, Reason: m.err.Error()})
}

func (c *cell) onEnded(m instanceEnded) {
	if m.epoch != c.machine.Epoch || !c.machine.Live {
		return
	}
	c.instance, c.attempt = nil, nil
	c.awaitsSlot.Store(false)
	c.stale = c.catalogue != nil && !c.predefined
	normal := m.exit.Normal()
	if c.machine.Phase != supervisor.PhaseStopping && !normal {
		c.failedNow("ended: " + m.exit.String())
	}
	c.step(supervisor.Exited{Epoch: m.epoch, Normal: normal, Reason: m.exit.String()})
}

// isAnswer tells whether a request's error is an answer of a living server.
func isAnswer(err error) bool {
	var rpc *backends.RPCError
	return errors.As(err, &rpc)
}
