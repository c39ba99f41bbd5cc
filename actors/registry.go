package actors

import (
	"encoding/json"
	"fmt"
	"slices"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/aabb9013/hangar/persistence"
	"github.com/aabb9013/hangar/supervisor"
)

// MaxServers bounds the fleet of one node.
const MaxServers = 10000

// registry owns id → actor. A change is made durable first, then applied,
// then answered; while it is under way its id is busy and other changes of it
// are refused.
type registry struct {
	sys     *System
	lastSeq uint64
	busy    map[string]bool
	leaving map[*cell]func()
}

// serverDoc is the stored form of a server.
type serverDoc struct {
	Spec supervisor.ServerSpec `json:"spec"`
	Seq  uint64                `json:"seq"`
}

// loadServers: system → registry, once, before anything else.
type loadServers struct {
	cells []*cell
	reply chan error
}

func (m loadServers) fail(err error) { answer(m.reply, err) }

func sortBySeq(docs []serverDoc) {
	slices.SortFunc(docs, func(a, b serverDoc) int { return int(a.Seq) - int(b.Seq) })
}

func (r *registry) receive(ctx actor.Context) {
	switch m := ctx.Message().(type) {
	case loadServers:
		r.load(m)
	case createServer:
		r.create(m)
	case updateServer:
		r.update(m)
	case deleteServer:
		r.delete(m)
	case changeCommitted:
		m.apply(m.err)
	case serverSpawned:
		if m.err == nil {
			r.publish(m.cell, true)
		}
		m.then(m.err)
	case actorGone:
		r.left(m.cell)
	}
}

// left ends the deletion of a server whose actor has stopped.
func (r *registry) left(c *cell) {
	if done := r.leaving[c]; done != nil {
		delete(r.leaving, c)
		done()
	}
}

// panicked ends the change at hand: its id must not stay busy, its asker must
// not wait.
func (r *registry) panicked(msg any, err error) {
	switch m := msg.(type) {
	case createServer:
		delete(r.busy, m.spec.ID)
	case updateServer:
		delete(r.busy, m.id)
	case deleteServer:
		delete(r.busy, m.id)
	case changeCommitted:
		m.apply(err)
	case serverSpawned:
		m.then(err)
	case actorGone:
		r.left(m.cell)
	}
	failMessage(msg, err)
}

// publish adds or removes a cell in the snapshot that readers see.
func (r *registry) publish(c *cell, add bool) {
	old := r.sys.fleet.Load()
	next := &fleet{byID: make(map[string]*cell, len(old.byID)+1), order: make([]*cell, 0, len(old.order)+1)}
	for _, other := range old.order {
		if other != c {
			next.byID[other.id] = other
			next.order = append(next.order, other)
		}
	}
	if add {
		next.byID[c.id] = c
		next.order = append(next.order, c)
	}
	r.sys.fleet.Store(next)
	r.sys.fleetChanged()
}

func (r *registry) load(m loadServers) {
	left := len(m.cells)
	if left == 0 {
		answer(m.reply, nil)
		return
	}
	batch := persistence.Batch{}
	for _, c := range m.cells {
		r.lastSeq = max(r.lastSeq, c.seq)
		if c.spec.Provenance == supervisor.FromConfig {
			batch.Events = append(batch.Events, r.sys.record(registered(c.spec)))
		}
	}
	r.commit(batch, func(err error) {
		if err != nil {
			answer(m.reply, err)
			return
		}
		for _, c := range m.cells {
			r.sys.tell(r.sys.servers, spawnServer{c, func(err error) {
				if left--; left == 0 || err != nil {
					answer(m.reply, err)
				}
			}})
		}
	})
}

// commit makes a batch durable and then runs apply in this actor.
func (r *registry) commit(batch persistence.Batch, apply func(error)) {
	sys := r.sys
	sys.tell(sys.eventlog, commit{batch, func(err error) {
		sys.tell(sys.registry, changeCommitted{apply, err})
	}})
}

func registered(spec supervisor.ServerSpec) supervisor.Event {
	return supervisor.Event{Kind: supervisor.ServerRegistered, Server: spec.ID, Data: map[string]any{
		"source": spec.Provenance, "mode": spec.Mode,
	}}
}

func (r *registry) create(m createServer) {
	id := m.spec.ID
	known := r.sys.fleet.Load()
	switch {
	case r.sys.closing.Load():
		answer(m.reply, supervisor.ErrClosing)
		return
	case known.byID[id] != nil || r.busy[id]:
		answer(m.reply, fmt.Errorf("%w: %q; choose another id or delete it first", supervisor.ErrServerExists, id))
		return
	case len(known.order)+len(r.busy) >= MaxServers:
		answer(m.reply, fmt.Errorf("%w: the node hosts %d servers, its limit", supervisor.ErrOverloaded, MaxServers))
		return
	}
	r.busy[id] = true
	r.lastSeq++
	c := newCell(r.sys, r.lastSeq, m.spec, nil)
	doc, err := json.Marshal(serverDoc{m.spec, c.seq})
	if err != nil {
		delete(r.busy, id)
		answer(m.reply, err)
		return
	}
	batch := persistence.Batch{
		Docs: []persistence.Doc{
			{Kind: docServer, ID: id, Body: doc},
			{Kind: docTools, ID: id}, // a list of an earlier server of this name is not this one's
		},
		Events: []persistence.Event{r.sys.record(registered(m.spec))},
	}
	r.commit(batch, func(err error) {
		if err != nil {
			delete(r.busy, id)
			answer(m.reply, err)
			return
		}
		r.sys.tell(r.sys.servers, spawnServer{c, func(err error) {
			delete(r.busy, id)
			answer(m.reply, err)
		}})
	})
}

// find answers for ids that cannot be changed now.
func (r *registry) find(id string) (*cell, error) {
	c := r.sys.fleet.Load().byID[id]
	if c == nil {
		return nil, notFound(id)
	}
	if r.busy[id] {
		return nil, fmt.Errorf("%w: another change of server %q is under way", supervisor.ErrOverloaded, id)
	}
	return c, nil
}

func (r *registry) update(m updateServer) {
	c, err := r.find(m.id)
	if err != nil {
		answer(m.reply, err)
		return
	}
	spec := m.patch.Apply(c.durable)
	if err := spec.Validate(); err != nil {
		answer(m.reply, err)
		return
	}
	batch := persistence.Batch{Events: []persistence.Event{r.sys.record(supervisor.Event{
		Kind: supervisor.ServerUpdated, Server: m.id, Data: map[string]any{"source": "api"},
	})}}
	if spec.Provenance == supervisor.FromAPI {
		doc, err := json.Marshal(serverDoc{spec, c.seq})
		if err != nil {
			answer(m.reply, err)
			return
		}
		batch.Docs = []persistence.Doc{{Kind: docServer, ID: m.id, Body: doc}}
	}
	r.busy[m.id] = true
	r.commit(batch, func(err error) {
		delete(r.busy, m.id)
		if err == nil {
			c.durable = spec
			r.sys.tell(c.pid, changeSpec{spec, m.reply})
			return
		}
		answer(m.reply, err)
	})
}

func (r *registry) delete(m deleteServer) {
	c, err := r.find(m.id)
	if err != nil {
		answer(m.reply, err)
		return
	}
	r.busy[m.id] = true
	batch := persistence.Batch{
		Docs: []persistence.Doc{{Kind: docServer, ID: m.id}, {Kind: docTools, ID: m.id}},
		Events: []persistence.Event{r.sys.record(supervisor.Event{
			Kind: supervisor.ServerDeregistered, Server: m.id, Data: map[string]any{"source": "api"},
		})},
	}
	r.commit(batch, func(err error) {
		if err != nil {
			delete(r.busy, m.id)
			answer(m.reply, err)
			return
		}
		r.publish(c, false)
		if r.leaving == nil {
			r.leaving = make(map[*cell]func())
		}
		r.leaving[c] = func() {
			delete(r.busy, m.id)
			answer(m.reply, nil)
		}
		c.leaving.Store(true)
		r.sys.tell(c.pid, retireServer{"deleted"})
		select {
		case <-c.gone: // its actor was given up before
			r.left(c)
		default:
		}
	})
}

func notFound(id string) error {
	return fmt.Errorf("%w: %q", supervisor.ErrServerNotFound, id)
}
