package actors

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/aabb9013/hangar/persistence"
	"github.com/aabb9013/hangar/supervisor"
)

// docGroup is the kind of a group's document: a spec made by API.
const docGroup = "group"

// groupDoc is the stored form of a group.
type groupDoc struct {
	Spec supervisor.GroupSpec `json:"spec"`
	Seq  uint64               `json:"seq"`
}

// To the registry, about groups.
type (
	createGroup struct {
		spec  supervisor.GroupSpec
		reply chan error
	}
	// changeGroup: system, registry → registry. change makes the new spec and
	// the events of the change, or refuses.
	changeGroup struct {
		id     string
		change func(supervisor.GroupSpec) (supervisor.GroupSpec, []supervisor.Event, error)
		reply  chan error
	}
	deleteGroup struct {
		id     string
		source supervisor.Provenance // who deletes it
		reply  chan error
	}
	// loadGroups: system → registry, once, after loadServers. Without an error
	// applied then gets an answer of every group: from there on it takes calls.
	loadGroups struct {
		groups  []*group
		applied chan error // as large as groups
		reply   chan error
	}
	// groupSpawned: groups → registry; the group's pid is set, or its actor
	// could not be made.
	groupSpawned struct {
		then func(err error)
		err  error
	}
)

func (m createGroup) of() string { return m.spec.ID }
func (m changeGroup) of() string { return m.id }
func (m deleteGroup) of() string { return m.id }

func (m createGroup) fail(err error) { answer(m.reply, err) }
func (m changeGroup) fail(err error) { answer(m.reply, err) }
func (m deleteGroup) fail(err error) { answer(m.reply, err) }
func (m loadGroups) fail(err error)  { answer(m.reply, err) }

func groupEvent(kind supervisor.EventKind, id string, data map[string]any) supervisor.Event {
	return supervisor.Event{Kind: kind, Group: id, Data: data}
}

func groupCreated(s supervisor.GroupSpec) supervisor.Event {
	return groupEvent(supervisor.GroupCreated, s.ID, map[string]any{
		"strategy": s.Strategy, "min_healthy": s.MinHealthy, "source": s.Provenance,
	})
}

// groupMade are the events of a group that is new, or new to this runtime.
func groupMade(s supervisor.GroupSpec) []supervisor.Event {
	events := []supervisor.Event{groupCreated(s)}
	for _, m := range s.Members {
		events = append(events, memberAdded(s.ID, m))
	}
	return events
}

// membersChanged are the events of members that a new spec dropped and took in.
func membersChanged(old, next supervisor.GroupSpec) (events []supervisor.Event) {
	for _, m := range old.Members {
		if !next.Has(m.ID) {
			events = append(events, memberRemoved(next.ID, m.ID))
		}
	}
	for _, m := range next.Members {
		if !old.Has(m.ID) {
			events = append(events, memberAdded(next.ID, m))
		}
	}
	return events
}

func memberRemoved(id, member string) supervisor.Event {
	return groupEvent(supervisor.GroupMemberRemoved, id, map[string]any{"member_id": member})
}

func memberAdded(id string, m supervisor.GroupMember) supervisor.Event {
	return groupEvent(supervisor.GroupMemberAdded, id, map[string]any{
		"member_id": m.ID, "weight": m.Weight, "priority": m.Priority,
	})
}

// groupBatch makes a change of a group durable, if the store owns the group.
func (r *registry) groupBatch(spec supervisor.GroupSpec, seq uint64, events []supervisor.Event) (persistence.Batch, error) {
	batch := persistence.Batch{}
	for _, e := range events {
		batch.Events = append(batch.Events, r.sys.record(e))
	}
	if spec.Provenance != supervisor.FromAPI {
		return batch, nil
	}
	body, err := json.Marshal(groupDoc{spec, seq})
	batch.Docs = []persistence.Doc{{Kind: docGroup, ID: spec.ID, Body: body}}
	return batch, err
}

// members finds the servers of a spec.
func (f *fleet) members(spec supervisor.GroupSpec) ([]*cell, error) {
	cells := make([]*cell, len(spec.Members))
	for i, m := range spec.Members {
		switch c := f.byID[m.ID]; {
		case c != nil:
			cells[i] = c
		case f.groups[m.ID] != nil:
			return nil, fmt.Errorf("%w: member_id %q is a group; a member is a server", supervisor.ErrInvalidSpec, m.ID)
		default:
			return nil, notFound(m.ID)
		}
	}
	return cells, nil
}

func (r *registry) createGroup(m createGroup) {
	id := m.spec.ID
	known := r.sys.fleet.Load()
	cells, err := known.members(m.spec)
	switch {
	case known.groups[id] != nil:
		err = fmt.Errorf("%w: %q; choose another id or delete it first", supervisor.ErrGroupExists, id)
	case known.byID[id] != nil:
		err = fmt.Errorf("%w: %q; servers and groups share their ids, choose another", supervisor.ErrServerExists, id)
	case len(known.groups)+len(r.making) >= MaxGroups:
		err = fmt.Errorf("%w: the node has %d groups, its limit", supervisor.ErrOverloaded, MaxGroups)
	}
	if err != nil {
		answer(m.reply, err)
		return
	}
	r.lastSeq++
	g := newGroup(r.sys, r.lastSeq, m.spec)
	batch, err := r.groupBatch(m.spec, g.seq, groupMade(m.spec))
	if err != nil {
		answer(m.reply, err)
		return
	}
	r.busy[id], r.making[id] = true, true
	r.commit(batch, func(err error) {
		if err != nil {
			answer(m.reply, err)
			r.free(id)
			return
		}
		r.sys.tell(r.sys.groups, spawnGroup{g, func(err error) {
			if err == nil {
				r.publishGroups(append(slices.Clone(r.sys.fleet.Load().groupOrder), g))
				r.applyGroup(g, m.spec, cells, m.reply)
			} else {
				answer(m.reply, err)
			}
			for _, c := range cells { // a server may have been deleted meanwhile
				if err == nil && r.sys.fleet.Load().byID[c.id] != c {
					r.leave(id, c)
				}
			}
			r.free(id)
		}})
	})
}

// applyGroup gives a group its spec and lets its members tell it how they are.
func (r *registry) applyGroup(g *group, spec supervisor.GroupSpec, cells []*cell, reply chan error) {
	// A member may have been deleted meanwhile; its removal is the next change.
	present := spec
	cells = slices.DeleteFunc(slices.Clone(cells), func(c *cell) bool {
		gone := r.sys.fleet.Load().byID[c.id] != c
		if gone {
			present = present.Without(c.id)
		}
		return gone
	})
	for _, m := range g.durable.Members {
		if c := r.sys.fleet.Load().byID[m.ID]; c != nil && !slices.Contains(cells, c) {
			unwatch(c, g)
		}
	}
	for _, c := range cells {
		unwatch(c, g)
		watch(c, g)
	}
	g.durable = spec
	r.sys.tell(g.pid, applyGroup{present, cells, reply})
}

// watch and unwatch change the list of a server's groups; only the registry
// does.
func watch(c *cell, g *group) {
	groups := []*group{g}
	if known := c.groups.Load(); known != nil {
		groups = append(slices.Clone(*known), g)
	}
	c.groups.Store(&groups)
}

func unwatch(c *cell, g *group) {
	known := c.groups.Load()
	if known == nil {
		return
	}
	groups := slices.DeleteFunc(slices.Clone(*known), func(other *group) bool { return other == g })
	if len(groups) == 0 {
		c.groups.Store(nil)
		return
	}
	c.groups.Store(&groups)
}

func (r *registry) changeGroup(m changeGroup) {
	g := r.sys.fleet.Load().groups[m.id]
	if g == nil {
		answer(m.reply, groupNotFound(m.id))
		return
	}
	spec, events, err := m.change(g.durable)
	if err == nil {
		err = spec.Validate()
	}
	var cells []*cell
	if err == nil {
		cells, err = r.sys.fleet.Load().members(spec)
	}
	var batch persistence.Batch
	if err == nil {
		batch, err = r.groupBatch(spec, g.seq, events)
	}
	if err != nil {
		answer(m.reply, err)
		return
	}
	r.busy[m.id] = true
	r.commit(batch, func(err error) {
		if err == nil {
			r.applyGroup(g, spec, cells, m.reply)
		} else {
			answer(m.reply, err)
		}
		r.free(m.id)
	})
}

// removed is the change of a group that loses a member.
func removed(member string) func(supervisor.GroupSpec) (supervisor.GroupSpec, []supervisor.Event, error) {
	return func(s supervisor.GroupSpec) (supervisor.GroupSpec, []supervisor.Event, error) {
		if !s.Has(member) {
			return s, nil, fmt.Errorf("%w: %q is no member of group %q", supervisor.ErrServerNotFound, member, s.ID)
		}
		return s.Without(member), []supervisor.Event{memberRemoved(s.ID, member)}, nil
	}
}

// leaveGroups takes a deleted server out of every group, each a change of its
// own: a group must not name a server that is gone.
func (r *registry) leaveGroups(c *cell) {
	for _, g := range r.sys.fleet.Load().groupOrder {
		if g.durable.Has(c.id) || r.busy[g.id] {
			r.leave(g.id, c)
		}
	}
}

// leave takes a deleted server out of a group. It goes before the changes that
// wait, which must not meet a member that is gone, and no bound refuses it.
func (r *registry) leave(id string, c *cell) {
	m := changeGroup{id, r.withoutGone(c), make(chan error, 1)}
	if r.busy[id] {
		r.queued[id] = slices.Insert(r.queued[id], 0, change(m))
		return
	}
	r.begin(m)
}

// withoutGone is the change of a group that loses a server, and with it others
// that are gone and whose turn comes next: a spec must not name them either.
func (r *registry) withoutGone(c *cell) func(supervisor.GroupSpec) (supervisor.GroupSpec, []supervisor.Event, error) {
	return func(s supervisor.GroupSpec) (next supervisor.GroupSpec, events []supervisor.Event, err error) {
		next = s
		for _, m := range s.Members {
			if m.ID == c.id || r.sys.fleet.Load().byID[m.ID] == nil {
				next = next.Without(m.ID)
				events = append(events, memberRemoved(s.ID, m.ID))
			}
		}
		if len(events) == 0 {
			err = notFound(c.id) // it went with another, or never was one
		}
		return next, events, err
	}
}

func (r *registry) deleteGroup(m deleteGroup) {
	g := r.sys.fleet.Load().groups[m.id]
	if g == nil {
		answer(m.reply, groupNotFound(m.id))
		return
	}
	batch := persistence.Batch{Events: []persistence.Event{r.sys.record(groupEvent(supervisor.GroupDeleted, m.id, nil))}}
	if m.source != supervisor.FromConfig { // a reload does not touch what the API has stored
		batch.Docs = []persistence.Doc{{Kind: docGroup, ID: m.id}}
	}
	r.busy[m.id] = true
	r.commit(batch, func(err error) {
		if err == nil {
			fleet := r.sys.fleet.Load()
			for _, member := range g.durable.Members {
				if c := fleet.byID[member.ID]; c != nil {
					unwatch(c, g)
				}
			}
			r.publishGroups(slices.DeleteFunc(slices.Clone(fleet.groupOrder), func(other *group) bool { return other == g }))
			r.sys.tell(g.pid, retireGroup{})
		}
		answer(m.reply, err)
		r.free(m.id)
	})
}

// publishGroups makes a new snapshot for readers.
func (r *registry) publishGroups(order []*group) {
	next := *r.sys.fleet.Load()
	next.groupOrder, next.groups = order, make(map[string]*group, len(order))
	for _, g := range order {
		next.groups[g.id] = g
	}
	r.sys.fleet.Store(&next)
	r.sys.fleetChanged()
}

// loadGroups brings up the groups of the configuration and of the store. Each
// is a commit of its own: all their events might not fit into one.
func (r *registry) loadGroups(m loadGroups) {
	left := len(m.groups)
	if left == 0 {
		answer(m.reply, nil)
		return
	}
	var faults []error
	done := func(err error) {
		faults = append(faults, err)
		if left--; left == 0 {
			answer(m.reply, errors.Join(faults...))
		}
	}
	for _, g := range m.groups {
		r.lastSeq = max(r.lastSeq, g.seq)
		batch := persistence.Batch{}
		if g.durable.Provenance == supervisor.FromConfig {
			for _, e := range groupMade(g.durable) {
				batch.Events = append(batch.Events, r.sys.record(e))
			}
		}
		r.commit(batch, func(err error) {
			if err != nil {
				done(err)
				return
			}
			r.sys.tell(r.sys.groups, spawnGroup{g, func(err error) { done(r.loaded(g, m.applied, err)) }})
		})
	}
}

// loaded makes a restored group known, unless its actor could not be made.
func (r *registry) loaded(g *group, applied chan error, err error) error {
	var cells []*cell
	if err == nil {
		cells, err = r.sys.fleet.Load().members(g.durable)
	}
	if err == nil {
		r.publishGroups(append(slices.Clone(r.sys.fleet.Load().groupOrder), g))
		r.applyGroup(g, g.durable, cells, applied)
	}
	return err
}
