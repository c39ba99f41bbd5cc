package actors

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/aabb9013/hangar/supervisor"
)

// spawnGroup: registry → groups; answered by groupSpawned.
type spawnGroup struct {
	group *group
	then  func(err error) // in the registry
}

// groupNursery is the parent of every group's actor.
type groupNursery struct{ sys *System }

func (n *groupNursery) receive(ctx actor.Context) {
	m, ok := ctx.Message().(spawnGroup)
	if !ok {
		return
	}
	pid, err := ctx.SpawnNamed(n.sys.engine.props(m.group.id, m.group), fmt.Sprintf("%d/%s", m.group.seq, m.group.id))
	if err != nil {
		err = fmt.Errorf("%w: no actor for group %q: %w", supervisor.ErrInternal, m.group.id, err)
	}
	m.group.pid = pid
	n.sys.tell(n.sys.registry, groupSpawned{m.then, err})
}

func (n *groupNursery) panicked(msg any, err error) {
	if m, ok := msg.(spawnGroup); ok {
		n.sys.tell(n.sys.registry, groupSpawned{m.then, err})
	}
}

// restoreGroups reads the groups made by API; those of the configuration win.
func (s *System) restoreGroups(servers []*cell) ([]*group, error) {
	docs, err := s.opts.Store.Docs(docGroup)
	if err != nil {
		return nil, fmt.Errorf("cannot read the groups from the store: %w", err)
	}
	taken := make(map[string]bool, len(servers))
	for _, c := range servers {
		taken[c.id] = true
	}
	var groups []*group
	seq := uint64(0)
	add := func(spec supervisor.GroupSpec, least uint64) {
		seq = max(seq+1, least)
		groups = append(groups, newGroup(s, seq, s.withoutMissing(spec, taken)))
	}
	configured := map[string]bool{}
	for _, spec := range s.opts.Groups {
		configured[spec.ID] = true
		add(spec, 0)
	}
	stored := make([]groupDoc, 0, len(docs))
	for _, d := range docs {
		var doc groupDoc
		if err := json.Unmarshal(d.Body, &doc); err != nil {
			return nil, fmt.Errorf("cannot read group %q from the store: %w", d.ID, err)
		}
		stored = append(stored, doc)
	}
	slices.SortFunc(stored, func(a, b groupDoc) int { return int(a.Seq) - int(b.Seq) })
	for _, doc := range stored {
		if configured[doc.Spec.ID] || taken[doc.Spec.ID] {
			s.logger.Warn("the configuration file replaces a group made by API", "group", doc.Spec.ID)
			continue
		}
		add(doc.Spec.WithDefaults(), doc.Seq)
	}
	return groups, nil
}

// withoutMissing drops members whose server is gone, as one that the
// configuration file does not name any more.
func (s *System) withoutMissing(spec supervisor.GroupSpec, servers map[string]bool) supervisor.GroupSpec {
	for _, m := range spec.Members {
		if !servers[m.ID] {
			s.logger.Warn("a member of a group has no server any more", "group", spec.ID, "server", m.ID)
			spec = spec.Without(m.ID)
		}
	}
	return spec
}

// GroupViews returns every group in order of registration.
func (s *System) GroupViews() []*supervisor.GroupView {
	order := s.fleet.Load().groupOrder
	views := make([]*supervisor.GroupView, len(order))
	for i, g := range order {
		views[i] = g.view()
	}
	return views
}

// GroupView returns one group.
func (s *System) GroupView(id string) (*supervisor.GroupView, bool) {
	g := s.fleet.Load().groups[id]
	if g == nil {
		return nil, false
	}
	return g.view(), true
}

// GroupRef finds a group without allocating.
func (s *System) GroupRef(id []byte) (GroupRef, bool) {
	g := s.fleet.Load().groups[string(id)]
	return GroupRef{g}, g != nil
}

// CreateGroup registers a group over servers that exist; it is durable and
// visible when nil is returned. Its members are started in the background.
func (s *System) CreateGroup(ctx context.Context, spec supervisor.GroupSpec) error {
	reply := make(chan error, 1)
	return s.ask(ctx, s.registry, createGroup{spec, reply}, reply, nil)
}

// UpdateGroup patches a group's spec; it is durable and acts on the next call
// when nil is returned.
func (s *System) UpdateGroup(ctx context.Context, id string, patch supervisor.GroupPatch) error {
	return s.changeGroup(ctx, id, func(spec supervisor.GroupSpec) (supervisor.GroupSpec, []supervisor.Event, error) {
		return patch.Apply(spec), []supervisor.Event{groupEvent(supervisor.GroupUpdated, id, nil)}, nil
	})
}

// AddMember makes a server a member of a group; it does not wait for its start.
func (s *System) AddMember(ctx context.Context, id string, m supervisor.GroupMember) error {
	m = m.WithDefaults()
	return s.changeGroup(ctx, id, func(spec supervisor.GroupSpec) (supervisor.GroupSpec, []supervisor.Event, error) {
		return spec.With(m), []supervisor.Event{memberAdded(id, m)}, nil
	})
}

// RemoveMember takes a server out of a group; the server goes on running.
// supervisor.ErrServerNotFound when it is no member.
func (s *System) RemoveMember(ctx context.Context, id, member string) error {
	return s.changeGroup(ctx, id, removed(member))
}

func (s *System) changeGroup(ctx context.Context, id string, change func(supervisor.GroupSpec) (supervisor.GroupSpec, []supervisor.Event, error)) error {
	reply := make(chan error, 1)
	return s.ask(ctx, s.registry, changeGroup{id, change, reply}, reply, nil)
}

// DeleteGroup forgets a group, and stops and forgets the servers that were
// defined inside of it and that nobody else needs; others go on running.
func (s *System) DeleteGroup(ctx context.Context, id string) error {
	g := s.fleet.Load().groups[id]
	if g == nil {
		return groupNotFound(id)
	}
	members := g.now.Load().machine.Spec.Members
	reply := make(chan error, 1)
	if err := s.ask(ctx, s.registry, deleteGroup{id, supervisor.FromAPI, reply}, reply, nil); err != nil {
		return err
	}
	members = slices.DeleteFunc(slices.Clone(members), func(m supervisor.GroupMember) bool { return !m.Owned || s.isMember(m.ID) })
	// One on which others of the group depend can go only after these.
	for before := len(members) + 1; len(members) < before; {
		before = len(members)
		var mu sync.Mutex
		var needed []supervisor.GroupMember
		err := s.ofMembers(members, func(m supervisor.GroupMember) error {
			err := s.Delete(ctx, m.ID)
			switch {
			case errors.Is(err, supervisor.ErrServerNotFound):
				return nil // somebody was quicker
			case errors.Is(err, supervisor.ErrInUse):
				mu.Lock()
				needed = append(needed, m)
				mu.Unlock()
				return nil
			}
			return err
		})
		if err != nil {
			return err
		}
		members = needed
	}
	return nil
}

// isMember tells whether a server is a member of any group.
func (s *System) isMember(id string) bool {
	return slices.ContainsFunc(s.fleet.Load().groupOrder, func(g *group) bool { return g.now.Load().machine.Spec.Has(id) })
}

// Rebalance looks at all members of a group anew and closes its breaker.
func (s *System) Rebalance(ctx context.Context, id string) error {
	g := s.fleet.Load().groups[id]
	if g == nil {
		return groupNotFound(id)
	}
	reply := make(chan error, 1)
	return s.askGroup(ctx, g, rebalanceGroup{reply}, reply)
}

// askGroup is ask for a group's actor, which may stop before it answers.
func (s *System) askGroup(ctx context.Context, g *group, msg any, reply chan error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		select {
		case <-g.gone:
			cancel(groupNotFound(g.id))
		case <-ctx.Done():
		}
	}()
	err := s.ask(ctx, g.pid, msg, reply, nil)
	if errors.Is(err, context.Canceled) {
		return context.Cause(ctx)
	}
	return err
}

// StartGroup starts every member and returns how many are ready. It fails only
// when none is.
func (s *System) StartGroup(ctx context.Context, id string) (started int, err error) {
	g := s.fleet.Load().groups[id]
	if g == nil {
		return 0, groupNotFound(id)
	}
	var mu sync.Mutex
	err = s.ofMembers(g.now.Load().machine.Spec.Members, func(m supervisor.GroupMember) error {
		_, err := s.Start(ctx, m.ID)
		if err == nil {
			mu.Lock()
			started++
			mu.Unlock()
		}
		return err
	})
	if started > 0 {
		err = nil
	}
	return started, err
}

// StopGroup stops every member.
func (s *System) StopGroup(ctx context.Context, id, reason string) error {
	g := s.fleet.Load().groups[id]
	if g == nil {
		return groupNotFound(id)
	}
	return s.ofMembers(g.now.Load().machine.Spec.Members, func(m supervisor.GroupMember) error { return s.Stop(ctx, m.ID, reason) })
}

// ofMembers does something with all members at once and waits for all.
func (s *System) ofMembers(members []supervisor.GroupMember, do func(supervisor.GroupMember) error) error {
	faults := make([]error, len(members))
	var all sync.WaitGroup
	for i, m := range members {
		all.Go(func() { faults[i] = do(m) })
	}
	all.Wait()
	return errors.Join(faults...)
}
