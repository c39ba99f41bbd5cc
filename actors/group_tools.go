package actors

import (
	"bytes"
	"encoding/json"
	"slices"

	"github.com/aabb9013/hangar/backends"
	"github.com/aabb9013/hangar/supervisor"
)

// groupTools is what the members of a group offer together; it is immutable.
type groupTools struct {
	of    []listedBy
	now   *groupNow // that it was made of
	view  *supervisor.View
	lacks map[string][]string // tool → members whose own list lacks it; nil when all offer the same
}

// listedBy is one member's list and whether it is the list of an instance that
// runs.
type listedBy struct {
	catalogue *backends.Catalogue
	current   bool
}

func listOf(s *seat) listedBy {
	v := s.cell.view.Load()
	return listedBy{v.Catalogue, v.Catalogue != nil && !v.ToolsPredefined && !v.ToolsStale}
}

// catalogue returns the group's tools, made anew when a member's list changed.
// The usual call only compares a pointer for each member.
func (g *group) catalogue() *groupTools {
	now := g.now.Load()
	known := g.tools.Load()
	if known != nil && len(known.of) == len(now.seats) {
		same := true
		for i, s := range now.seats {
			same = same && known.of[i] == listOf(s)
		}
		if same && (known.now == now || listsAlike(known.now, now)) {
			return known
		}
	}
	fresh := now.unite(g.id)
	g.tools.Store(fresh)
	return fresh
}

// listsAlike: a snapshot changes with every failure, the list of tools only
// with the members, the description and the predefined tools.
func listsAlike(a, b *groupNow) bool {
	x, y := &a.machine.Spec, &b.machine.Spec
	return slices.Equal(a.seats, b.seats) && x.Description == y.Description &&
		slices.EqualFunc(x.Tools, y.Tools, func(x, y json.RawMessage) bool { return bytes.Equal(x, y) })
}

// unite makes one list of the members' lists: of tools with one name, which
// members of a group should have, the first is shown.
func (n *groupNow) unite(id string) *groupTools {
	t := &groupTools{now: n}
	union := &backends.Catalogue{}
	seen := map[string]bool{}
	stale, listed := false, false
	for _, s := range n.seats {
		by := listOf(s)
		t.of = append(t.of, by)
		stale = stale || !by.current
		listed = listed || by.catalogue != nil
		if by.catalogue == nil {
			continue
		}
		for _, tool := range by.catalogue.Tools {
			if !seen[tool.Name] {
				seen[tool.Name] = true
				union.Tools = append(union.Tools, tool)
			}
		}
	}
	spec := supervisor.ServerSpec{ID: id, Mode: supervisor.ModeGroup, Description: n.machine.Spec.Description}
	t.view = &supervisor.View{Spec: spec, Catalogue: union, ToolsStale: stale}
	switch {
	case !listed && len(n.machine.Spec.Tools) > 0:
		t.view.Catalogue = predefinedCatalogue(supervisor.ServerSpec{Tools: n.machine.Spec.Tools})
		t.view.ToolsPredefined = true
	case !listed:
		t.view.Catalogue = nil
	}
	t.lacks = lacking(n.seats, t.of, union.Tools)
	return t
}

func lacking(seats []*seat, of []listedBy, tools []backends.Tool) map[string][]string {
	var lacks map[string][]string
	for i, s := range seats {
		if !of[i].current || len(of[i].catalogue.Tools) >= len(tools) {
			continue
		}
		for _, tool := range tools {
			if of[i].catalogue.Tool([]byte(tool.Name)) == nil {
				if lacks == nil {
					lacks = map[string][]string{}
				}
				lacks[tool.Name] = append(lacks[tool.Name], s.cell.id)
			}
		}
	}
	return lacks
}
