package httpapi

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/aabb9013/hangar/supervisor"
)

const groupArgSchema = `{"type":"object","properties":{"group":{"type":"string","description":"id of the group"}},"required":["group"],"additionalProperties":false}`

func (f *Front) groupSummaries() []any {
	groups := []any{}
	for _, g := range f.runtime.Groups() {
		groups = append(groups, map[string]any{
			"group_id": g.Spec.ID, "state": g.State, "strategy": g.Spec.Strategy,
			"healthy_count": g.Healthy, "total_members": len(g.Members),
		})
	}
	return groups
}

// groupStatus is hangar_status of the groups; it adds a line for each.
func (f *Front) groupStatus(lines *strings.Builder) []any {
	groups := []any{}
	for _, g := range f.runtime.Groups() {
		indicator := "[" + strings.ToUpper(string(g.State)) + "]"
		groups = append(groups, map[string]any{
			"id": g.Spec.ID, "indicator": indicator, "state": g.State,
			"healthy_members": g.Healthy, "total_members": len(g.Members),
		})
		fmt.Fprintf(lines, "%-12s %s (%d of %d members)\n", indicator, g.Spec.ID, g.Healthy, len(g.Members))
	}
	return groups
}

func (f *Front) startGroup(ctx context.Context, g *supervisor.GroupView) (any, error) {
	ctx, cancel := context.WithTimeout(ctx, hangarTimeout)
	defer cancel()
	started, err := f.runtime.StartGroup(ctx, g.Spec.ID)
	if err != nil {
		return nil, err
	}
	g = f.again(g)
	return map[string]any{
		"group": g.Spec.ID, "state": g.State, "members_started": started,
		"healthy_count": g.Healthy, "total_members": len(g.Members),
	}, nil
}

func (f *Front) stopGroup(ctx context.Context, g *supervisor.GroupView) (any, error) {
	ctx, cancel := context.WithTimeout(ctx, hangarTimeout)
	defer cancel()
	if err := f.runtime.StopGroup(ctx, g.Spec.ID, "manual_stop"); err != nil {
		return nil, err
	}
	g = f.again(g)
	return map[string]any{"group": g.Spec.ID, "state": g.State, "stopped": true}, nil
}

// groupTools lists the tools of all members; if none is known the members are
// started.
func (f *Front) groupTools(ctx context.Context, g *supervisor.GroupView) (any, error) {
	target := f.runtime.Target([]byte(g.Spec.ID))
	if target == nil {
		return nil, fmt.Errorf("%w: %s", supervisor.ErrGroupNotFound, quoteClient(g.Spec.ID))
	}
	if target.View().Catalogue == nil {
		ctx, cancel := context.WithTimeout(ctx, hangarTimeout)
		defer cancel()
		if _, err := f.runtime.StartGroup(ctx, g.Spec.ID); err != nil {
			return nil, err
		}
		g = f.again(g)
	}
	v := target.View()
	return map[string]any{
		"mcp_server": g.Spec.ID, "group": true, "state": g.State, "predefined": v.ToolsPredefined, "stale": v.ToolsStale, "tools": toolItems(v.Catalogue),
	}, nil
}

// again is the group as it is now.
func (f *Front) again(g *supervisor.GroupView) *supervisor.GroupView {
	if now, ok := f.runtime.Group(g.Spec.ID); ok {
		return now
	}
	return g
}

func (f *Front) hangarGroupList(_ context.Context, _ *session, args json.RawMessage) (any, error) {
	a, err := toolArgs(args)
	if err == nil {
		err = a.err()
	}
	if err != nil {
		return nil, err
	}
	return map[string]any{"groups": groupsOf(f.runtime.Groups())}, nil
}

func (f *Front) hangarGroupRebalance(ctx context.Context, _ *session, args json.RawMessage) (any, error) {
	a, err := toolArgs(args, "group")
	if err != nil {
		return nil, err
	}
	id := a.required("group")
	if err := a.err(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, hangarTimeout)
	defer cancel()
	if err := f.runtime.Rebalance(ctx, id); err != nil {
		return nil, err
	}
	g, ok := f.runtime.Group(id)
	if !ok {
		return nil, fmt.Errorf("%w: %s", supervisor.ErrGroupNotFound, quoteClient(id))
	}
	rotation := []string{}
	for _, m := range g.Members {
		if m.InRotation {
			rotation = append(rotation, m.ID)
		}
	}
	return map[string]any{
		"group_id": id, "state": g.State, "healthy_count": g.Healthy, "total_members": len(g.Members), "members_in_rotation": rotation,
	}, nil
}
