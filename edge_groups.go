package hangar

import (
	"context"

	"github.com/aabb9013/hangar/supervisor"
)

// The groups of the runtime as the HTTP edge sees them.

func (e edge) Groups() []*supervisor.GroupView { return e.rt.sys.GroupViews() }

func (e edge) Group(id string) (*supervisor.GroupView, bool) { return e.rt.sys.GroupView(id) }

func (e edge) CreateGroup(ctx context.Context, spec supervisor.GroupSpec) error {
	return e.rt.Groups().Create(ctx, spec)
}

func (e edge) UpdateGroup(ctx context.Context, id string, patch supervisor.GroupPatch) error {
	return e.rt.sys.UpdateGroup(ctx, id, patch)
}

func (e edge) DeleteGroup(ctx context.Context, id string) error {
	return e.rt.sys.DeleteGroup(ctx, id)
}

func (e edge) AddMember(ctx context.Context, id string, member supervisor.GroupMember) error {
	return e.rt.Groups().AddMember(ctx, id, member)
}

func (e edge) RemoveMember(ctx context.Context, id, member string) error {
	return e.rt.sys.RemoveMember(ctx, id, member)
}

func (e edge) Rebalance(ctx context.Context, id string) error { return e.rt.sys.Rebalance(ctx, id) }

func (e edge) StartGroup(ctx context.Context, id string) (int, error) {
	return e.rt.sys.StartGroup(ctx, id)
}

func (e edge) StopGroup(ctx context.Context, id, reason string) error {
	return e.rt.sys.StopGroup(ctx, id, reason)
}
