package actors

import (
	"time"

	"github.com/aabb9013/hangar/backends"
	"github.com/aabb9013/hangar/supervisor"
)

// life is one actor's life over a cell: from its spawn to its stop for good.
// A cell whose actor was given up is given another when an operator asks.
type life struct{ over chan struct{} }

func newLife() *life { return &life{make(chan struct{})} }

// gone is closed once the present life is over. Whoever sends a message and
// waits for its answer takes it before sending.
func (c *cell) gone() chan struct{} { return c.life.Load().over }

// isGone tells whether no actor stands behind the cell.
func (c *cell) isGone() bool {
	select {
	case <-c.gone():
		return true
	default:
		return false
	}
}

// reviveServer: system → registry; answered once an actor stands behind the
// cell again. Of a server whose actor was not given up it asks nothing.
type reviveServer struct {
	id    string
	reply chan error
}

func (m reviveServer) of() string     { return m.id }
func (m reviveServer) fail(err error) { answer(m.reply, err) }

func (r *registry) revive(m reviveServer) {
	c := r.sys.fleet.Load().byID[m.id]
	if c == nil || !c.isGone() {
		answer(m.reply, nil) // whoever asked goes on and sees for himself
		return
	}
	r.busy[m.id] = true
	next := func(err error) {
		r.sys.tell(r.sys.registry, changeCommitted{func(err error) { r.respawn(c, m, err) }, err})
	}
	r.sys.run("end of the last instance of server "+c.id, next, func() { next(c.awaitEnd()) })
}

func (r *registry) respawn(c *cell, m reviveServer, err error) {
	if err != nil {
		answer(m.reply, err)
		r.free(m.id)
		return
	}
	c.forgetLife()
	r.sys.tell(r.sys.servers, spawnServer{c, func(err error) {
		if err == nil {
			r.keepRunning(c)
		}
		answer(m.reply, err)
		r.free(m.id)
	}})
}

// awaitEnd returns once nothing of the last life runs: an instance that nobody
// knows of must never live. It may only be called when the actor is
// gone, which closed everything.
func (c *cell) awaitEnd() error {
	var ends []<-chan struct{}
	attempts, instances := []*attempt{c.attempt}, []backends.Instance{c.instance}
	if r := c.replacement; r != nil {
		attempts = append(attempts, r.attempt)
	}
	if l := c.leaver; l != nil {
		attempts, instances = append(attempts, l.attempt), append(instances, l.instance)
	}
	for _, a := range attempts {
		if a == nil {
			continue
		}
		if a.cancel != nil {
			ends = append(ends, a.over)
		}
		if handed := a.handed; handed != nil {
			ends = append(ends, handed.instance.Done())
		}
	}
	for _, in := range instances {
		if in != nil {
			ends = append(ends, in.Done())
		}
	}
	for _, end := range ends {
		select {
		case <-end:
		case <-c.sys.living.Done():
			return supervisor.ErrClosing
		}
	}
	return nil
}

// forgetLife leaves of the last life what a restart of the runtime would, and
// the counters. Nobody else owns the cell meanwhile.
func (c *cell) forgetLife() {
	c.machine = c.machine.Revived()
	c.awaitsSlot.Store(false)
	c.todo, c.working, c.holding, c.corked = nil, false, nil, false
	c.attempt, c.instance = nil, nil
	c.replacement, c.leaver = nil, nil
	c.expiry, c.expireAt = nil, time.Time{}
	c.timers = [supervisor.TimerKinds]*time.Timer{}
	c.listing, c.relist = false, false
	c.publish()
}
