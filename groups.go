package hangar

import (
	"context"
	"fmt"
	"slices"

	"github.com/aabb9013/hangar/supervisor"
)

// Groups manages the groups of a runtime: servers that serve the same tools,
// behind one id that can stand wherever a server's does in a call. Its methods
// are safe for concurrent use; changes are durable when they return nil.
type Groups struct{ rt *Runtime }

// Groups returns the manager of the runtime's groups.
func (rt *Runtime) Groups() *Groups { return &Groups{rt} }

// Create registers a group over servers that exist. Unset fields take their
// defaults; AutoStart is false unless it is set. With AutoStart the members are
// started in the background. ErrInvalidSpec, ErrGroupExists, ErrServerExists
// (servers and groups share their ids), ErrServerNotFound, ErrReadOnly.
func (g *Groups) Create(ctx context.Context, spec GroupSpec) error {
	sys, err := g.rt.system()
	if err != nil {
		return err
	}
	spec.Provenance = supervisor.FromAPI
	spec = spec.WithDefaults()
	// Only the file defines servers inside of a group.
	spec.Members = slices.Clone(spec.Members)
	for i := range spec.Members {
		spec.Members[i].Owned = false
	}
	if err := spec.Validate(); err != nil {
		return err
	}
	return sys.CreateGroup(ctx, spec)
}

// Get returns one group; ErrGroupNotFound.
func (g *Groups) Get(id string) (*GroupView, error) {
	sys, err := g.rt.system()
	if err != nil {
		return nil, err
	}
	if v, ok := sys.GroupView(id); ok {
		return v, nil
	}
	return nil, fmt.Errorf("%w: %q", ErrGroupNotFound, id)
}

// List returns every group in order of registration.
func (g *Groups) List() []*GroupView {
	sys, err := g.rt.system()
	if err != nil {
		return nil
	}
	return sys.GroupViews()
}

// Update patches a group's spec, which acts on the next call; ErrGroupNotFound,
// ErrInvalidSpec, ErrReadOnly.
func (g *Groups) Update(ctx context.Context, id string, patch GroupPatch) error {
	sys, err := g.rt.system()
	if err != nil {
		return err
	}
	return sys.UpdateGroup(ctx, id, patch)
}

// Delete forgets a group. Servers that the configuration file defines inside of
// it are stopped and forgotten too, unless another group has them or another
// server depends on them; others go on running. ErrGroupNotFound, ErrReadOnly.
func (g *Groups) Delete(ctx context.Context, id string) error {
	sys, err := g.rt.system()
	if err != nil {
		return err
	}
	return sys.DeleteGroup(ctx, id)
}

// AddMember makes a server a member; it does not wait for the server's start.
// ErrGroupNotFound, ErrServerNotFound, ErrInvalidSpec if it is one already,
// ErrReadOnly.
func (g *Groups) AddMember(ctx context.Context, id string, member GroupMember) error {
	sys, err := g.rt.system()
	if err != nil {
		return err
	}
	member.Owned = false
	return sys.AddMember(ctx, id, member)
}

// RemoveMember takes a server out of a group; the server goes on running.
// ErrGroupNotFound, ErrServerNotFound if it is no member, ErrReadOnly.
func (g *Groups) RemoveMember(ctx context.Context, id, member string) error {
	sys, err := g.rt.system()
	if err != nil {
		return err
	}
	return sys.RemoveMember(ctx, id, member)
}

// Rebalance looks at all members anew and closes the circuit breaker: members
// that run come into rotation with their failures forgotten, those that are
// idle stay, others leave it. ErrGroupNotFound.
func (g *Groups) Rebalance(ctx context.Context, id string) error {
	sys, err := g.rt.system()
	if err != nil {
		return err
	}
	return sys.Rebalance(ctx, id)
}
