package actors

import (
	"context"
	"slices"
	"strings"

	"github.com/aabb9013/hangar/supervisor"
)

// topActors are the actors at the top of the tree, in the order of their start.
var topActors = []string{"eventlog", "starts", "servers", "groups", "dependencies", "registry", "memory"}

// TopActor is one actor at the top of the tree. Failures counts its panics,
// after each of which it went on over its state.
type TopActor struct {
	Name     string
	Failures int64
	Children int
}

// TopActors returns the actors at the top of the tree.
func (s *System) TopActors() []TopActor {
	all := make([]TopActor, len(topActors))
	for i, name := range topActors {
		all[i] = TopActor{Name: name, Failures: s.tops[name].Load()}
		if name == "servers" {
			all[i].Children = len(s.fleet.Load().order)
		}
	}
	return all
}

func (s *System) countActorFailure(id string) {
	if top := s.tops[id]; top != nil {
		top.Add(1)
		return
	}
	// A server's actor is servers/<number>/<id>.
	if parts := strings.SplitN(id, "/", 3); len(parts) == 3 {
		if c := s.fleet.Load().byID[parts[2]]; c != nil {
			c.actorFailures.Add(1)
		}
	}
}

// Reset forgets a server's failures, restart budget, backoff and give-up; an
// actor that was given up is replaced. A running instance goes on.
func (s *System) Reset(ctx context.Context, id string) (*supervisor.View, error) {
	c, err := s.alive(ctx, id)
	if err != nil {
		return nil, err
	}
	reply := make(chan error, 1)
	if err := s.ask(ctx, c.pid, resetServer{reply}, reply, c); err != nil {
		return nil, err
	}
	return c.view.Load(), nil
}

// alive finds a server for an operator's wish, which replaces an actor that
// was given up.
func (s *System) alive(ctx context.Context, id string) (*cell, error) {
	c := s.fleet.Load().byID[id]
	if c == nil {
		return nil, notFound(id)
	}
	if !c.isGone() {
		return c, nil
	}
	reply := make(chan error, 1)
	return c, s.ask(ctx, s.registry, reviveServer{id, reply}, reply, nil)
}

// StopWithDependents stops every server that depends on this one, directly or
// not, in reverse start order, then the server itself. It returns the ids that
// it stopped, in that order, also when it fails half way.
func (s *System) StopWithDependents(ctx context.Context, id, reason string) ([]string, error) {
	var stopped []string
	order := append([]string{id}, s.fleet.Load().graph.Above(id)...)
	for _, id := range slices.Backward(order) {
		if err := s.Stop(ctx, id, reason); err != nil {
			return stopped, err
		}
		stopped = append(stopped, id)
	}
	return stopped, nil
}
