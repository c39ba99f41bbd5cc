package actors

import (
	"fmt"

	"github.com/aabb9013/hangar/persistence"
	"github.com/aabb9013/hangar/supervisor"
)

// handOver has a server replaced with both instances side by side. Other than
// with the plain changes, the record of the change comes after it: until the
// new instance serves, nothing has changed. The request is recorded first, so
// that a log that takes no records refuses it.
func (r *registry) handOver(m putServer, c *cell) {
	id := m.spec.ID
	r.busy[id] = true
	r.commit(r.handOverEvent(supervisor.ServerReplaceRequested, id), func(err error) {
		if err != nil {
			answer(m.reply, err)
			r.free(id)
			return
		}
		r.replacing[id] = c
		answered := false
		ended := func(err error) {
			if answered {
				return // a panic may have answered before
			}
			answered = true
			r.handedOver(m, c, err)
		}
		r.sys.tell(c.pid, changeSpec{m.spec, HandOver, func(err error) {
			r.sys.tell(r.sys.registry, changeCommitted{ended, err})
		}})
		if len(r.queued[id]) > 0 {
			r.withdrawReplacement(id)
		}
	})
}

func (r *registry) handedOver(m putServer, c *cell, err error) {
	id := m.spec.ID
	delete(r.replacing, id)
	if err != nil {
		answer(m.reply, err)
		r.free(id)
		return
	}
	old := c.durable
	c.durable = m.spec
	r.commit(r.handOverEvent(supervisor.ServerUpdated, id), func(err error) {
		if err != nil {
			err = fmt.Errorf("server %q runs with its new configuration, but that could not be recorded: %w", id, err)
		}
		answer(m.reply, err)
		r.keepRunningAfter(old, c)
		r.free(id)
	})
}

// withdrawReplacement ends a replacement under way, because another change waits.
func (r *registry) withdrawReplacement(id string) {
	if c := r.replacing[id]; c != nil {
		r.sys.tell(c.pid, withdrawReplacement{})
	}
}

func (r *registry) handOverEvent(kind supervisor.EventKind, id string) persistence.Batch {
	return persistence.Batch{Events: []persistence.Event{r.sys.record(supervisor.Event{
		Kind: kind, Server: id, Data: map[string]any{"source": supervisor.FromConfig},
	})}}
}
