package actors

import (
	"cmp"
	"context"
	"fmt"
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
	over   chan struct{}      // closed when the goroutine of a granted attempt ends
	early  *instanceEnded     // of the actor: the end that overtook the handing over
	exit   *backends.Exit     // of run: how the instance of a failed start ended

	mu        sync.Mutex
	handed    *instanceStarted // told to the actor
	broke     *startFailed     // told to the actor
	ended     bool             // the instance
	abandoned error            // the actor has stopped
}

var _ backends.Observer = (*attempt)(nil)

// run starts an instance and shakes hands; it ends in one message.
func (a *attempt) run(ctx context.Context, spec supervisor.ServerSpec) {
	c := a.cell
	began := time.Now()
	backend, ok := c.sys.opts.Backends[spec.Mode]
	if !ok {
		a.failed(&backends.StartError{Server: c.id, Stage: backends.StageSpawn, Err: fmt.Errorf("%w: mode %s: %w", backends.ErrPermanent, spec.Mode, supervisor.ErrNotBuilt)})
		return
	}
	in, err := backend.Start(ctx, backends.LaunchSpec{
		Server: c.id, Epoch: a.epoch, Command: spec.Command, Dir: spec.Dir, Env: spec.Env,
		RunTag: c.sys.opts.RunTag, Limits: spec.Limits, Log: &c.log, Streams: &c.streams, Observer: a,
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
	in.Kill(cmp.Or(err, backends.ErrClosed))
	<-in.Done()
	exit := in.Exit()
	a.exit = &exit
	if err == nil { // it ended between its last answer and the handing over
		err = &backends.StartError{Server: c.id, Stage: backends.StageTools, Err: fmt.Errorf("%w: %s", backends.ErrCrashed, exit)}
	}
	a.failed(err)
}

// hand gives the instance to the actor; false if the one or the other has
// already ended.
func (a *attempt) hand(m *instanceStarted) bool {
	a.mu.Lock()
	over := a.ended || a.abandoned != nil
	if !over {
		a.handed = m
	}
	a.mu.Unlock()
	if over {
		return false
	}
	a.cell.sys.tell(a.cell.pid, *m) // without the lock, which the actor may want
	return true
}

func (a *attempt) failed(err error) {
	m := startFailed{epoch: a.epoch, err: err, exit: a.exit}
	a.mu.Lock()
	a.broke = &m
	a.mu.Unlock()
	a.cell.sys.tell(a.cell.pid, m)
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
	a.abandoned = err
	handed := a.handed
	a.mu.Unlock()
	if a.cancel == nil {
		a.cell.sys.tell(a.cell.sys.starts, startOver{a.cell, a.epoch})
		return
	}
	a.cancel()
	if handed != nil {
		in := handed.instance
		in.Kill(err)
		a.cell.sys.run("end of an instance", func(error) {}, func() { <-in.Done() })
	}
}

// Ended implements backends.Observer.
func (a *attempt) Ended(epoch uint64, exit backends.Exit) {
	a.mu.Lock()
	a.ended = true
	handed := a.handed != nil
	a.mu.Unlock()
	if handed {
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
