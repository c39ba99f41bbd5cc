package actors

import (
	"context"
	"slices"

	"github.com/aabb9013/hangar/persistence"
	"github.com/aabb9013/hangar/supervisor"
)

// Put makes a server be what the configuration file says: new, or changed. A
// server of another owner with this id becomes the file's, as at a start; what
// the API has stored of it stays stored. It returns when that is durable and
// visible and no instance runs that the change ends; if ctx ends before, the
// change still happens. With HandOver it returns when the new instance serves,
// and with ErrReplaceFailed nothing was changed. The caller has validated the spec.
func (s *System) Put(ctx context.Context, spec supervisor.ServerSpec, how Replace) error {
	reply := make(chan error, 1)
	return s.ask(ctx, s.registry, putServer{spec, how, reply}, reply, s.fleet.Load().byID[spec.ID])
}

// Remove stops a server of the configuration file and forgets it; it returns
// when no instance runs. With KillInstance it does not wait for calls in
// flight. ErrServerNotFound.
func (s *System) Remove(ctx context.Context, id string, how Replace) error {
	reply := make(chan error, 1)
	return s.ask(ctx, s.registry, deleteServer{id, supervisor.FromConfig, how == KillInstance, reply}, reply, nil)
}

func (r *registry) put(m putServer) {
	id := m.spec.ID
	c := r.sys.fleet.Load().byID[id]
	if c == nil {
		r.create(createServer{m.spec, m.reply})
		return
	}
	if m.replace == HandOver {
		if slices.Equal(c.durable.DependsOn, m.spec.DependsOn) {
			r.handOver(m, c)
			return
		}
		m.replace = DrainInstance // the new instance must wait for what it needs
	}
	batch := persistence.Batch{Events: []persistence.Event{r.sys.record(supervisor.Event{
		Kind: supervisor.ServerUpdated, Server: id, Data: map[string]any{"source": supervisor.FromConfig},
	})}}
	r.busy[id] = true
	r.commit(batch, func(err error) {
		if err == nil {
			old := c.durable
			linked := !slices.Equal(old.DependsOn, m.spec.DependsOn)
			c.durable = m.spec
			if linked {
				r.publish(slices.Clone(r.sys.fleet.Load().order)) // with the new graph, before the server asks for it
			}
			r.sys.tell(c.pid, changeSpec{m.spec, m.replace, func(err error) { answer(m.reply, err) }})
			r.keepRunningAfter(old, c)
		} else {
			answer(m.reply, err)
		}
		r.free(id)
	})
}
