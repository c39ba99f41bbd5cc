package actors

import (
	"context"

	"github.com/aabb9013/hangar/supervisor"
)

// PutGroup makes a group be what the configuration file says: new, or changed
// in place. Its members are servers that exist. It is durable and acts on the
// next call when nil is returned.
func (s *System) PutGroup(ctx context.Context, spec supervisor.GroupSpec) error {
	if s.fleet.Load().groups[spec.ID] == nil {
		return s.CreateGroup(ctx, spec)
	}
	return s.changeGroup(ctx, spec.ID, func(old supervisor.GroupSpec) (supervisor.GroupSpec, []supervisor.Event, error) {
		updated := groupEvent(supervisor.GroupUpdated, spec.ID, map[string]any{"source": spec.Provenance})
		return spec, append([]supervisor.Event{updated}, membersChanged(old, spec)...), nil
	})
}

// RemoveGroup forgets a group of the file and leaves its members alone: those that the
// file defined inside of it are servers of the file.
func (s *System) RemoveGroup(ctx context.Context, id string) error {
	reply := make(chan error, 1)
	return s.ask(ctx, s.registry, deleteGroup{id, supervisor.FromConfig, reply}, reply, nil)
}
