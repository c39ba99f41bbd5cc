package httpapi

import (
	"context"
	"fmt"
	"slices"

	"github.com/aabb9013/hangar/backends"
	"github.com/aabb9013/hangar/supervisor"
)

// The groups of the fake runtime: change, if set, answers every change of one.

func (f *fakeRuntime) Groups() []*supervisor.GroupView { return f.groups }

func (f *fakeRuntime) Group(id string) (*supervisor.GroupView, bool) {
	for _, g := range f.groups {
		if g.Spec.ID == id {
			return g, true
		}
	}
	return nil, false
}

func (f *fakeRuntime) changeGroup(what, id string) error {
	f.changes.Add(1)
	if f.change != nil {
		return f.change(what)
	}
	if _, ok := f.Group(id); !ok {
		return fmt.Errorf("%w: %q", supervisor.ErrGroupNotFound, id)
	}
	return nil
}

func (f *fakeRuntime) CreateGroup(_ context.Context, spec supervisor.GroupSpec) error {
	f.created = spec
	if f.change == nil {
		return nil
	}
	return f.changeGroup("create", spec.ID)
}

func (f *fakeRuntime) UpdateGroup(_ context.Context, id string, patch supervisor.GroupPatch) error {
	f.patched = patch
	return f.changeGroup("update", id)
}

func (f *fakeRuntime) DeleteGroup(_ context.Context, id string) error {
	return f.changeGroup("delete", id)
}

func (f *fakeRuntime) AddMember(_ context.Context, id string, m supervisor.GroupMember) error {
	f.added = m
	return f.changeGroup("add", id)
}

func (f *fakeRuntime) RemoveMember(_ context.Context, id, member string) error {
	g, ok := f.Group(id)
	if ok && !g.Spec.Has(member) {
		return fmt.Errorf("%w: %q is no member", supervisor.ErrServerNotFound, member)
	}
	return f.changeGroup("remove", id)
}

func (f *fakeRuntime) Rebalance(_ context.Context, id string) error {
	return f.changeGroup("rebalance", id)
}

func (f *fakeRuntime) StartGroup(_ context.Context, id string) (int, error) {
	return 1, f.changeGroup("start", id)
}

func (f *fakeRuntime) StopGroup(_ context.Context, id, _ string) error {
	return f.changeGroup("stop", id)
}

// groupFleet is the fleet of the tests with one group over two of its servers.
func groupFleet() *fakeRuntime {
	rt := testFleet()
	spec := supervisor.GroupSpec{
		ID: "pool", Description: "Two of them", Strategy: supervisor.WeightedRoundRobin, AutoStart: true, Affinity: supervisor.AffinitySession,
		Canary:     &supervisor.Canary{Member: "flaky", Percent: 5},
		Members:    []supervisor.GroupMember{{ID: "math", Weight: 3}, {ID: "flaky", Priority: 2, Owned: true}},
		Provenance: supervisor.FromConfig,
	}.WithDefaults()
	rt.groups = []*supervisor.GroupView{{
		Spec: spec, State: supervisor.GroupHealthy, Circuit: supervisor.CircuitClosed, Healthy: 1, Available: true,
		Members: []supervisor.MemberView{
			{Member: supervisor.Member{GroupMember: spec.Members[0], InRotation: true}, State: supervisor.Ready},
			{Member: supervisor.Member{GroupMember: spec.Members[1], Failures: 3}, State: supervisor.Degraded, Phase: supervisor.PhaseBackoff},
		},
		Calls: 40, Retries: 2, Refused: 1,
	}}
	return rt
}

// groupTarget is the group as the call path sees it.
func (f *fakeRuntime) groupTarget(id string) Target {
	g, ok := f.Group(id)
	if !ok {
		return nil
	}
	v := &supervisor.View{Spec: supervisor.ServerSpec{ID: id, Mode: supervisor.ModeGroup}, Catalogue: &backends.Catalogue{}}
	for _, m := range g.Members {
		member, _ := f.View(m.ID)
		for _, tool := range member.Catalogue.Tools {
			if !slices.ContainsFunc(v.Catalogue.Tools, func(t backends.Tool) bool { return t.Name == tool.Name }) {
				v.Catalogue.Tools = append(v.Catalogue.Tools, tool)
			}
		}
	}
	return &fakeTarget{runtime: f, view: v}
}
