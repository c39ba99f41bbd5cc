package actors

import (
	"fmt"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/aabb9013/hangar/supervisor"
)

// nursery is the parent of every server's actor.
type nursery struct {
	sys     *System
	present map[string]bool        // ids of children that the library still counts
	waiting map[string]spawnServer // a new life, until the child of the last one is counted out
}

func newNursery(sys *System) *nursery {
	return &nursery{sys: sys, present: make(map[string]bool), waiting: make(map[string]spawnServer)}
}

func (n *nursery) receive(ctx actor.Context) {
	switch m := ctx.Message().(type) {
	case spawnServer:
		n.spawn(ctx, m)
	case *actor.Terminated:
		id := m.Who.Id
		delete(n.present, id)
		if next, ok := n.waiting[id]; ok {
			delete(n.waiting, id)
			n.spawn(ctx, next)
		}
	}
}

// spawn gives a cell its actor. A new life has the name of the last, so that
// the cell's PID stays true; the end of the last one must be through before, or
// the library would take it for the end of the new one.
func (n *nursery) spawn(ctx actor.Context, m spawnServer) {
	c := m.cell
	if c.pid != nil && n.present[c.pid.Id] {
		n.waiting[c.pid.Id] = m
		return
	}
	name := fmt.Sprintf("%d/%s", c.seq, c.id)
	pid, err := ctx.SpawnNamed(n.sys.engine.props(c.id, c, onSender(&c.mail)), name)
	switch {
	case err != nil:
		err = fmt.Errorf("%w: no actor for server %q: %w", supervisor.ErrInternal, c.id, err)
	case c.pid == nil:
		c.pid = pid
		n.present[pid.Id] = true
	default:
		// Only now, and before a failure of the new actor can be handled here:
		// who finds the new life finds the actor.
		c.life.Store(newLife())
		n.present[pid.Id] = true
	}
	n.sys.tell(n.sys.registry, serverSpawned{c, m.then, err})
}

func (n *nursery) panicked(msg any, err error) {
	if m, ok := msg.(spawnServer); ok {
		n.sys.tell(n.sys.registry, serverSpawned{m.cell, m.then, err})
	}
}
