package supervisor

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Graph knows which server depends on which. It is immutable and safe for
// concurrent use. A nil Graph is that of servers without any dependency.
type Graph struct {
	order      []string            // every server, dependencies first
	rank       map[string]int      // its place in order
	needs      map[string][]string // direct dependencies, as the specs name them
	dependents map[string][]string // direct ones, in start order
}

// NewGraph makes the graph of a fleet in order of registration, which decides
// wherever dependencies do not. It returns nil when no server depends on
// another. Every dependency that names no server, and the first cycle found,
// is an ErrInvalidSpec; the graph that comes with an error leaves those
// dependencies out, so that a runtime with a damaged store can still start.
func NewGraph(specs []ServerSpec) (*Graph, error) {
	if !slices.ContainsFunc(specs, func(s ServerSpec) bool { return len(s.DependsOn) > 0 }) {
		return nil, nil
	}
	b := graphBuilder{
		specs: make(map[string][]string, len(specs)), marks: make(map[string]mark, len(specs)),
		graph: &Graph{
			rank: make(map[string]int, len(specs)), needs: make(map[string][]string), dependents: make(map[string][]string),
		},
	}
	for _, s := range specs {
		b.specs[s.ID] = s.DependsOn
	}
	for _, s := range specs {
		b.visit(s.ID, nil)
	}
	g := b.graph
	for _, id := range g.order { // so that dependents stand in start order
		for _, need := range g.needs[id] {
			g.dependents[need] = append(g.dependents[need], id)
		}
	}
	return g, b.fault()
}

type mark uint8

const (
	isOpen mark = iota + 1 // on the way from the server visited first
	isDone
)

type graphBuilder struct {
	specs   map[string][]string
	marks   map[string]mark
	graph   *Graph
	unknown []string
	cycle   []string
}

// visit puts the dependencies of a server before it. way is how it was
// reached; a dependency on something on the way closes a cycle.
func (b *graphBuilder) visit(id string, way []string) {
	if b.marks[id] == isDone {
		return
	}
	b.marks[id] = isOpen
	way = append(way, id)
	var needs []string
	for _, need := range b.specs[id] {
		switch _, known := b.specs[need]; {
		case !known:
			b.unknown = append(b.unknown, fmt.Sprintf("%q depends on %q, which is no server", id, need))
			continue
		case b.marks[need] == isOpen:
			if b.cycle == nil {
				b.cycle = append(slices.Clone(way[slices.Index(way, need):]), need)
			}
			continue
		}
		b.visit(need, way)
		needs = append(needs, need)
	}
	g := b.graph
	g.needs[id] = needs
	g.rank[id] = len(g.order)
	g.order = append(g.order, id)
	b.marks[id] = isDone
}

func (b *graphBuilder) fault() error {
	var faults []error
	for _, text := range b.unknown {
		faults = append(faults, fmt.Errorf("%w: %s", ErrInvalidSpec, text))
	}
	if b.cycle != nil {
		faults = append(faults, &CycleError{Path: b.cycle})
	}
	return errors.Join(faults...)
}

// CycleError is a circle of dependencies. Path begins and ends with the same
// server. It is ErrInvalidSpec.
type CycleError struct{ Path []string }

// maxCycleShown bounds the path in the text of a CycleError.
const maxCycleShown = 20

func (e *CycleError) Error() string {
	path := e.Path
	if left := len(path) - maxCycleShown; left > 0 {
		path = slices.Concat(path[:maxCycleShown-1], []string{fmt.Sprintf("(%d more)", left)}, path[len(path)-1:])
	}
	return "depends_on goes in a circle: " + strings.Join(path, " -> ") + "; take one of these dependencies out"
}

// Is makes it ErrInvalidSpec.
func (e *CycleError) Is(target error) bool { return target == ErrInvalidSpec }

// Linked tells whether the server depends on another or another on it.
func (g *Graph) Linked(id string) bool {
	return g != nil && len(g.needs[id])+len(g.dependents[id]) > 0
}

// Dependents are the servers that name id in depends_on, in start order.
func (g *Graph) Dependents(id string) []string {
	if g == nil {
		return nil
	}
	return g.dependents[id]
}

// Above are all servers that depend on id, directly or not, in start order.
func (g *Graph) Above(id string) []string {
	return g.reach(id, func(at string) []string { return g.dependents[at] })
}

// Group are all servers connected with id by dependencies in either
// direction, itself left out, in start order.
func (g *Graph) Group(id string) []string {
	return g.reach(id, func(at string) []string { return slices.Concat(g.needs[at], g.dependents[at]) })
}

// Reach are the servers that a restart or give-up of id concerns besides
// itself, in start order; the order of their stop is the reverse.
func (g *Graph) Reach(id string, strategy RestartStrategy) []string {
	switch strategy {
	case RestForOne:
		return g.Above(id)
	case AllForOne:
		return g.Group(id)
	}
	return nil
}

// InStartOrder sorts ids so that each stands behind what it depends on.
// Unknown ids go first.
func (g *Graph) InStartOrder(ids []string) []string {
	sorted := slices.Clone(ids)
	slices.SortStableFunc(sorted, func(a, b string) int { return g.place(a) - g.place(b) })
	return sorted
}

func (g *Graph) place(id string) int {
	if g == nil {
		return -1
	}
	if rank, ok := g.rank[id]; ok {
		return rank
	}
	return -1
}

func (g *Graph) reach(id string, next func(at string) []string) []string {
	if !g.Linked(id) {
		return nil
	}
	seen := map[string]bool{id: true}
	var found []string
	for open := []string{id}; len(open) > 0; open = open[1:] {
		for _, other := range next(open[0]) {
			if !seen[other] {
				seen[other] = true
				open, found = append(open, other), append(found, other)
			}
		}
	}
	return g.InStartOrder(found)
}
