package actors

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/aabb9013/hangar/supervisor"
)

// changingEdges are the changes under way that the published fleet does not
// show yet: without them two of them could make a dependency on nothing.
type changingEdges struct {
	making   map[string]supervisor.ServerSpec
	deleting map[string]bool
}

func newChangingEdges() changingEdges {
	return changingEdges{making: make(map[string]supervisor.ServerSpec), deleting: make(map[string]bool)}
}

func (e changingEdges) forget(id string) {
	delete(e.making, id)
	delete(e.deleting, id)
}

// checkDependencies refuses a new server that depends on one that is not
// there, or on itself in the end. Those of the file come and go one by one, and
// the file was checked as a whole.
func (r *registry) checkDependencies(spec supervisor.ServerSpec) error {
	if len(spec.DependsOn) == 0 || spec.Provenance == supervisor.FromConfig {
		return nil
	}
	known := r.sys.fleet.Load()
	for _, id := range spec.DependsOn {
		if known.byID[id] == nil || r.edges.deleting[id] {
			return fmt.Errorf("%w: depends_on names %q, which is no server; create it first", supervisor.ErrInvalidSpec, id)
		}
	}
	specs := append(specsOf(known.order), spec)
	for _, other := range r.edges.making {
		specs = append(specs, other)
	}
	_, err := supervisor.NewGraph(specs)
	var cycle *supervisor.CycleError
	if errors.As(err, &cycle) {
		return cycle
	}
	return nil
}

// checkUnused refuses to delete what others depend on. What the file does not
// have any more goes all the same, as it would at the next start: servers of
// the API that depend on it say so when they are to start.
func (r *registry) checkUnused(m deleteServer) error {
	if m.source == supervisor.FromConfig {
		return nil
	}
	id := m.id
	users := slices.Clone(r.sys.fleet.Load().graph.Dependents(id))
	for _, spec := range r.edges.making {
		if slices.Contains(spec.DependsOn, id) {
			users = append(users, spec.ID)
		}
	}
	users = slices.DeleteFunc(users, func(user string) bool { return r.edges.deleting[user] })
	if len(users) == 0 {
		return nil
	}
	return fmt.Errorf("%w: server %q is in depends_on of %s; delete those first", supervisor.ErrInUse, id, strings.Join(users, ", "))
}

// graphOf makes the graph of the fleet. What is wrong with it, for instance when
// the file lost a server that others depend on, the servers concerned say when
// they are to start; while a reload is under way it may pass.
func (r *registry) graphOf(order []*cell) *supervisor.Graph {
	if !slices.ContainsFunc(order, func(c *cell) bool { return len(c.durable.DependsOn) > 0 }) {
		return nil
	}
	graph, _ := supervisor.NewGraph(specsOf(order))
	return graph
}

// tellBroken says at the start what the graph leaves out.
func (r *registry) tellBroken(order []*cell) {
	if _, err := supervisor.NewGraph(specsOf(order)); err != nil {
		r.sys.logger.Error("dependencies are broken", "err", err)
	}
}

func specsOf(order []*cell) []supervisor.ServerSpec {
	specs := make([]supervisor.ServerSpec, len(order), len(order)+1)
	for i, c := range order {
		specs[i] = supervisor.ServerSpec{ID: c.id, DependsOn: c.durable.DependsOn}
	}
	return specs
}

// goOn lets servers take up what the last runtime left them with. It waits for
// the whole fleet to be known: a restart may need others.
func (r *registry) goOn(cells []*cell) {
	for _, c := range cells {
		if len(c.restored) > 0 {
			r.sys.tell(c.pid, goOn{})
		}
	}
}

// stoppedForGood: an operator has stopped the server, in this runtime or the one
// before, and nobody has wanted it since.
func stoppedForGood(c *cell) bool {
	k := c.kept.Load()
	return k != nil && k.down
}

// keepRunning starts those servers that are to run whether called or not.
func (r *registry) keepRunning(cells ...*cell) {
	for _, c := range cells {
		if c.durable.Restart == supervisor.Permanent {
			r.sys.tell(c.pid, serveWanted{answer: func(error) {}}) // it says itself why it does not start
		}
	}
}

// keepRunningAfter is keepRunning for a server whose spec was old until now: only a
// change that makes it permanent undoes an operator's stop.
func (r *registry) keepRunningAfter(old supervisor.ServerSpec, c *cell) {
	if old.Restart != supervisor.Permanent || !stoppedForGood(c) {
		r.keepRunning(c)
	}
}
