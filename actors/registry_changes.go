package actors

import (
	"encoding/json"
	"fmt"

	"github.com/aabb9013/hangar/persistence"
	"github.com/aabb9013/hangar/supervisor"
)

// commit makes a batch durable and then runs apply in this actor.
func (r *registry) commit(batch persistence.Batch, apply func(error)) {
	sys := r.sys
	sys.tell(sys.eventlog, commit{batch: batch, done: func(err error) {
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
	case known.byID[id] != nil:
		answer(m.reply, fmt.Errorf("%w: %q; choose another id or delete it first", supervisor.ErrServerExists, id))
		return
	case known.groups[id] != nil:
		answer(m.reply, fmt.Errorf("%w: %q; servers and groups share their ids, choose another", supervisor.ErrGroupExists, id))
		return
	case len(known.order)+len(r.busy) >= MaxServers:
		answer(m.reply, fmt.Errorf("%w: the node hosts %d servers, its limit", supervisor.ErrOverloaded, MaxServers))
		return
	}
	if err := r.checkDependencies(m.spec); err != nil {
		answer(m.reply, err)
		return
	}
	r.lastSeq++
	c := newCell(r.sys, r.lastSeq, m.spec, nil)
	doc, err := json.Marshal(serverDoc{m.spec, c.made})
	if err != nil {
		answer(m.reply, err)
		return
	}
	batch := persistence.Batch{
		Docs: []persistence.Doc{ // what an earlier server of this name left is not this one's
			{Kind: docTools, ID: id}, {Kind: docState, ID: id}, {Kind: docCrashes, ID: id},
		},
		Events: []persistence.Event{r.sys.record(registered(m.spec))},
	}
	if m.spec.Provenance != supervisor.FromConfig { // the truth about those is the file
		batch.Docs = append(batch.Docs, persistence.Doc{Kind: docServer, ID: id, Body: doc})
	}
	r.busy[id] = true
	r.edges.making[id] = m.spec
	r.commit(batch, func(err error) {
		if err != nil {
			answer(m.reply, err)
			r.free(id)
			return
		}
		r.sys.tell(r.sys.servers, spawnServer{c, func(err error) {
			if err == nil {
				r.publish(append(r.others(c), c))
				r.keepRunning(c)
			}
			answer(m.reply, err)
			r.free(id)
		}})
	})
}

func (r *registry) update(m updateServer) {
	c := r.sys.fleet.Load().byID[m.id]
	if c == nil {
		answer(m.reply, notFound(m.id))
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
		doc, err := json.Marshal(serverDoc{spec, c.made})
		if err != nil {
			answer(m.reply, err)
			return
		}
		batch.Docs = []persistence.Doc{{Kind: docServer, ID: m.id, Body: doc}}
	}
	r.busy[m.id] = true
	r.commit(batch, func(err error) {
		if err == nil {
			c.durable = spec
			r.sys.tell(c.pid, changeSpec{spec: spec, answer: func(err error) { answer(m.reply, err) }})
		} else {
			answer(m.reply, err)
		}
		r.free(m.id)
	})
}

func (r *registry) delete(m deleteServer) {
	c := r.sys.fleet.Load().byID[m.id]
	if c == nil {
		answer(m.reply, notFound(m.id))
		return
	}
	if err := r.checkUnused(m); err != nil {
		answer(m.reply, err)
		return
	}
	batch := persistence.Batch{
		Docs: leftovers(m.id),
		Events: []persistence.Event{r.sys.record(supervisor.Event{
			Kind: supervisor.ServerDeregistered, Server: m.id, Data: map[string]any{"source": m.source},
		})},
	}
	if m.source != supervisor.FromConfig { // a reload does not touch what the API has stored
		batch.Docs = append(batch.Docs, persistence.Doc{Kind: docServer, ID: m.id})
	}
	r.busy[m.id] = true
	r.edges.deleting[m.id] = true
	r.commit(batch, func(err error) {
		if err != nil {
			answer(m.reply, err)
			r.free(m.id)
			return
		}
		r.publish(r.others(c))
		r.leaveGroups(c)
		r.leaving[c] = func() {
			answer(m.reply, nil)
			r.free(m.id)
		}
		c.leaving.Store(true)
		r.sys.tell(c.pid, retireServer{"deleted", m.hasty})
		select {
		case <-c.gone(): // its actor was given up before
			r.left(c)
		default:
		}
	})
}
