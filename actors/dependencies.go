package actors

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/aabb9013/hangar/supervisor"
)

// Reasons of stops for the sake of another server, as events tell them.
const (
	reasonRestart = supervisor.ReasonDependencyRestart
	reasonGaveUp  = supervisor.ReasonDependencyGaveUp
	reasonStopped = supervisor.ReasonDependencyStopped
)

// dependencies is the actor between servers that depend on each other: it
// holds a start until what it needs is ready, and carries out the group
// restarts and escalations that package supervisor decides. Servers tell it
// facts and wishes and never wait for each other; servers without dependencies
// never write to it. All it keeps is bounded by the number of servers.
type dependencies struct {
	sys         *System
	waits       map[*cell]*dependencyWait // starts that are held
	resting     map[*cell]bool            // to be started when what they need serves again
	restarts    []*supervisor.GroupRestart
	escalations map[*escalation]bool
}

// dependencyWait is a start that waits: for its turn in a group restart, then
// for its dependencies.
type dependencyWait struct {
	wantUp
	held    bool // by a group restart
	missing map[string]bool
	timer   *time.Timer
}

func newDependencies(sys *System) *dependencies {
	return &dependencies{
		sys: sys, waits: make(map[*cell]*dependencyWait), resting: make(map[*cell]bool), escalations: make(map[*escalation]bool),
	}
}

func (d *dependencies) receive(ctx actor.Context) {
	switch m := ctx.Message().(type) {
	case wantUp:
		d.onWantUp(m)
	case hurryWait:
		d.onHurry(m.cell)
	case dependencyAnswered:
		d.onAnswered(m)
	case waitElapsed:
		if d.waits[m.wait.cell] == m.wait {
			d.fail(m.wait, m.wait.anyMissing(), fmt.Errorf("it was not ready within %s", m.wait.timeout))
		}
	case memberFact:
		d.onFact(m)
	case startWithdrawn:
		delete(d.resting, m.cell)
	case stoppedFor:
		d.onStopped(m)
	case actorGone:
		d.onGone(m.cell)
	case *actor.Stopping:
		for _, w := range d.waits {
			w.stopTimer()
		}
	}
}

// panicked lets everything go that waits for a turn: after a bug here servers
// must start rather than hang.
func (d *dependencies) panicked(msg any, err error) {
	if m, ok := msg.(wantUp); ok {
		delete(d.waits, m.cell)
		d.sys.tell(m.cell.pid, startFailed{epoch: m.epoch, err: err})
	}
	d.restarts = nil
	for c, w := range d.waits {
		w.stopTimer()
		delete(d.waits, c)
		d.sys.tell(c.pid, mayStart{w.epoch})
	}
}

func (d *dependencies) graph() *supervisor.Graph { return d.sys.fleet.Load().graph }
func (d *dependencies) cell(id string) *cell     { return d.sys.fleet.Load().byID[id] }

func (d *dependencies) onWantUp(m wantUp) {
	d.drop(m.cell)
	delete(d.resting, m.cell)
	w := &dependencyWait{wantUp: m}
	d.waits[m.cell] = w
	if d.sys.closing.Load() {
		d.drop(m.cell)
		d.sys.tell(m.cell.pid, startFailed{epoch: m.epoch, err: supervisor.ErrClosing})
		return
	}
	if r := d.restartOf(m.cell.id); r != nil {
		held, orders := r.WantsStart(m.cell.id)
		w.held = held
		d.carryOut(r, orders)
		if held {
			return
		}
	}
	d.gate(w)
}

// gate asks for every dependency that is not ready, and lets the start go when
// all are.
func (d *dependencies) gate(w *dependencyWait) {
	w.held, w.missing = false, make(map[string]bool)
	for _, need := range w.needs {
		dep := d.cell(need)
		switch {
		case dep == nil:
			d.fail(w, need, errors.New("there is no such server"))
			return
		case dep.isGone():
			d.fail(w, need, dep.goneError())
			return
		case !dep.view.Load().Alive():
			w.missing[need] = true
			d.sys.tell(dep.pid, serveWanted{urgent: w.urgent, answer: func(err error) {
				d.sys.tell(d.sys.dependencies, dependencyAnswered{w, need, err})
			}})
		}
	}
	if len(w.missing) == 0 {
		d.drop(w.cell)
		d.sys.tell(w.cell.pid, mayStart{w.epoch})
		return
	}
	if w.timer == nil {
		w.timer = time.AfterFunc(w.timeout, func() { d.sys.tell(d.sys.dependencies, waitElapsed{w}) })
	}
}

// onHurry hands on that a call waits, to what its server waits for.
func (d *dependencies) onHurry(c *cell) {
	w := d.waits[c]
	if w == nil || w.urgent {
		return
	}
	w.urgent = true
	for need := range w.missing {
		if dep := d.cell(need); dep != nil {
			d.sys.tell(dep.pid, hurryUp{})
		}
	}
}

func (d *dependencies) onAnswered(m dependencyAnswered) {
	w := m.wait
	switch {
	case d.waits[w.cell] != w || w.held:
	case m.err != nil:
		d.fail(w, m.need, m.err)
	default:
		delete(w.missing, m.need)
		if len(w.missing) == 0 {
			d.gate(w) // again: one that was ready may have crashed meanwhile
		}
	}
}

// fail ends a start that cannot be: a server that is to run all the same comes
// back when the dependency serves.
func (d *dependencies) fail(w *dependencyWait, need string, err error) {
	d.drop(w.cell)
	if w.keep {
		d.resting[w.cell] = true
	}
	d.sys.tell(w.cell.pid, startFailed{epoch: w.epoch, err: &supervisor.DependencyError{Server: w.cell.id, Dependency: need, Err: err}})
}

func (d *dependencies) drop(c *cell) {
	if w := d.waits[c]; w != nil {
		w.stopTimer()
		delete(d.waits, c)
	}
}

func (w *dependencyWait) stopTimer() {
	if w.timer != nil {
		w.timer.Stop()
	}
}

// anyMissing names the first dependency in the spec's order that is not ready.
func (w *dependencyWait) anyMissing() string {
	return w.needs[max(0, slices.IndexFunc(w.needs, func(need string) bool { return w.missing[need] }))]
}

// startResting starts those that rested because of this server, which serves
// or may be started again.
func (d *dependencies) startResting(c *cell) {
	delete(d.resting, c)
	if len(d.resting) == 0 {
		return
	}
	for _, id := range d.graph().Above(c.id) {
		if other := d.cell(id); d.resting[other] {
			delete(d.resting, other)
			d.sys.tell(other.pid, serveWanted{answer: func(error) {}}) // it tells itself if it fails
		}
	}
}

// onGone answers for a server whose actor has stopped for good: what was in its
// mailbox is lost.
func (d *dependencies) onGone(c *cell) {
	d.drop(c)
	delete(d.resting, c)
	for _, w := range d.waits {
		if w.missing[c.id] {
			d.fail(w, c.id, c.goneError())
		}
	}
	for e := range d.escalations {
		if e.stopping == c {
			d.escalateOn(e)
		}
	}
	if r := d.restartOf(c.id); r != nil {
		d.carryOut(r, r.Leave(c.id))
	}
}
