package httpapi

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/aabb9013/hangar/supervisor"
)

type memberShape struct {
	ID         string           `json:"id"`
	ServerID   string           `json:"mcp_server_id"`
	State      supervisor.State `json:"state"`
	Phase      string           `json:"phase"`
	InRotation bool             `json:"in_rotation"`
	Weight     int              `json:"weight"`
	Priority   int              `json:"priority"`
	Failures   int              `json:"consecutive_failures"`
	Owned      bool             `json:"owned"`
}

// groupShape is the union of what the contract and the reference program give.
type groupShape struct {
	ID           string                  `json:"group_id"`
	Description  string                  `json:"description"`
	State        supervisor.GroupState   `json:"state"`
	Strategy     supervisor.Strategy     `json:"strategy"`
	MinHealthy   int                     `json:"min_healthy"`
	HealthyCount int                     `json:"healthy_count"`
	TotalMembers int                     `json:"total_members"`
	Available    bool                    `json:"is_available"`
	CircuitOpen  bool                    `json:"circuit_open"`
	Circuit      supervisor.CircuitState `json:"circuit_breaker_state"`
	AutoStart    bool                    `json:"auto_start"`
	Affinity     *supervisor.Affinity    `json:"affinity"`
	Canary       *supervisor.Canary      `json:"canary"`
	SlowStart    float64                 `json:"slow_start_s"`
	Source       supervisor.Provenance   `json:"source"`
	Calls        uint64                  `json:"total_calls"`
	Retries      uint64                  `json:"total_retries"`
	Refused      uint64                  `json:"total_refused"`
	Members      []memberShape           `json:"members"`
}

func groupOf(v *supervisor.GroupView) groupShape {
	g := groupShape{
		ID: v.Spec.ID, Description: v.Spec.Description, State: v.State, Strategy: v.Spec.Strategy,
		MinHealthy: v.Spec.MinHealthy, HealthyCount: v.Healthy, TotalMembers: len(v.Members), Available: v.Available,
		CircuitOpen: v.Circuit == supervisor.CircuitOpen, Circuit: v.Circuit, AutoStart: v.Spec.AutoStart,
		Canary: v.Spec.Canary, SlowStart: max(0, v.Spec.SlowStart.Seconds()), Source: v.Spec.Provenance,
		Calls: v.Calls, Retries: v.Retries, Refused: v.Refused, Members: make([]memberShape, 0, len(v.Members)),
	}
	if v.Spec.Affinity != "" {
		g.Affinity = &v.Spec.Affinity
	}
	for _, m := range v.Members {
		g.Members = append(g.Members, memberShape{
			ID: m.ID, ServerID: m.ID, State: m.State, Phase: m.Phase.String(), InRotation: m.InRotation,
			Weight: m.Weight, Priority: m.Priority, Failures: m.Failures, Owned: m.Owned,
		})
	}
	return g
}

func groupsOf(views []*supervisor.GroupView) []groupShape {
	list := make([]groupShape, 0, len(views))
	for _, v := range views {
		list = append(list, groupOf(v))
	}
	return list
}

// groupNotFound has the name that the contract gives to unknown groups too.
func groupNotFound(id string) error {
	return &apiError{status: 404, name: "McpServerNotFoundError", message: "group " + quoteClient(id) + " not found"}
}

// groupView finds the group that the path names.
func (a *API) groupView(ctx *fasthttp.RequestCtx) (*supervisor.GroupView, error) {
	id := pathParam(ctx, "id")
	if v, ok := a.runtime.Group(id); ok {
		return v, nil
	}
	return nil, groupNotFound(id)
}

// groupAndBody finds the group that the path names, and reads the body.
func (a *API) groupAndBody(ctx *fasthttp.RequestCtx) (*supervisor.GroupView, *fields, error) {
	v, err := a.groupView(ctx)
	if err != nil {
		return nil, nil, err
	}
	o, err := decodeObject(ctx.PostBody())
	return v, &fields{object: o}, err
}

// changeGroup runs a change of a group with a bound on its wait.
func changeGroup(id string, most time.Duration, change func(ctx context.Context) error) error {
	wait, cancel := context.WithTimeout(context.Background(), most)
	defer cancel()
	err := change(wait)
	if errors.Is(err, supervisor.ErrGroupNotFound) {
		return groupNotFound(id)
	}
	return err
}

func (a *API) listGroups(ctx *fasthttp.RequestCtx) error {
	return respond(ctx, 200, map[string]any{"groups": groupsOf(a.runtime.Groups())})
}

func (a *API) getGroup(ctx *fasthttp.RequestCtx) error {
	v, err := a.groupView(ctx)
	if err != nil {
		return err
	}
	return respond(ctx, 200, groupOf(v))
}

func (a *API) createGroup(ctx *fasthttp.RequestCtx) error {
	o, err := decodeObject(ctx.PostBody())
	if err != nil {
		return err
	}
	f := &fields{object: o}
	f.onlyKnown("group_id", "strategy", "min_healthy", "description", "auto_start", "affinity", "slow_start_s")
	spec := supervisor.GroupSpec{ID: f.required("group_id"), AutoStart: true, Provenance: supervisor.FromAPI}
	spec = f.groupPatch().Apply(spec)
	if err := f.err(); err != nil {
		return err
	}
	if err := spec.Validate(); err != nil {
		return err
	}
	err = changeGroup(spec.ID, changeTimeout, func(ctx context.Context) error { return a.runtime.CreateGroup(ctx, spec) })
	if err != nil {
		return err
	}
	return respond(ctx, 201, struct {
		ID      string `json:"group_id"`
		Created bool   `json:"created"`
	}{spec.ID, true})
}

func (a *API) updateGroup(ctx *fasthttp.RequestCtx) error {
	v, f, err := a.groupAndBody(ctx)
	if err != nil {
		return err
	}
	patch := f.groupPatch()
	patch.Canary = f.canary()
	if err := f.err(); err != nil {
		return err
	}
	if patch != (supervisor.GroupPatch{}) {
		err := changeGroup(v.Spec.ID, changeTimeout, func(ctx context.Context) error { return a.runtime.UpdateGroup(ctx, v.Spec.ID, patch) })
		if err != nil {
			return err
		}
	}
	return respond(ctx, 200, struct {
		ID      string `json:"group_id"`
		Updated bool   `json:"updated"`
	}{v.Spec.ID, true})
}

// groupPatch reads the fields that create and update share.
func (f *fields) groupPatch() supervisor.GroupPatch {
	p := supervisor.GroupPatch{Description: f.text("description"), AutoStart: f.flag("auto_start")}
	strategies := []supervisor.Strategy{
		supervisor.RoundRobin, supervisor.WeightedRoundRobin, supervisor.LeastConnections, supervisor.RandomPick, supervisor.ByPriority,
	}
	if s := f.text("strategy"); s != nil {
		strategy := supervisor.Strategy(*s)
		if p.Strategy = &strategy; !slices.Contains(strategies, strategy) {
			f.fault("strategy", "must be one of round_robin, weighted_round_robin, least_connections, random, priority, not %s", quoteClient(*s))
		}
	}
	// What is below 1 counts as 1, as in the reference.
	if p.MinHealthy = f.integer("min_healthy", -10000, 10000); p.MinHealthy != nil {
		*p.MinHealthy = max(1, *p.MinHealthy)
	}
	if s := f.text("affinity"); s != nil {
		affinity := supervisor.Affinity(*s)
		if p.Affinity = &affinity; affinity == "none" {
			affinity = ""
		} else if affinity != supervisor.AffinitySession {
			f.fault("affinity", "must be session or none")
		}
	}
	if p.SlowStart = f.seconds("slow_start_s", 0, 24*time.Hour); p.SlowStart != nil && *p.SlowStart == 0 {
		*p.SlowStart = -1 // the zero of the spec stands for the default
	}
	return p
}

// canary reads the canary's share; a null, unlike that of other fields, is a
// wish: no canary.
func (f *fields) canary() **supervisor.Canary {
	raw, ok := f.values["canary"]
	switch {
	case !ok:
		return nil
	case string(raw) == "null":
		return new(*supervisor.Canary)
	}
	o, err := decodeObject(raw)
	if err != nil {
		f.fault("canary", "must be an object with member and percent")
		return nil
	}
	inner := &fields{object: o}
	inner.onlyKnown("member", "percent")
	canary := &supervisor.Canary{Member: inner.required("member")}
	if _, given := inner.raw("percent"); !given {
		inner.fault("percent", "is required")
	}
	setIf(&canary.Percent, inner.integer("percent", 0, 100))
	f.faultsOf("canary", inner)
	return &canary
}

func (a *API) deleteGroup(ctx *fasthttp.RequestCtx) error {
	id := pathParam(ctx, "id")
	if err := changeGroup(id, stopTimeout, func(ctx context.Context) error { return a.runtime.DeleteGroup(ctx, id) }); err != nil {
		return err
	}
	return respond(ctx, 200, struct {
		ID      string `json:"group_id"`
		Deleted bool   `json:"deleted"`
	}{id, true})
}

func (a *API) rebalanceGroup(ctx *fasthttp.RequestCtx) error {
	id := pathParam(ctx, "id")
	if err := changeGroup(id, changeTimeout, func(ctx context.Context) error { return a.runtime.Rebalance(ctx, id) }); err != nil {
		return err
	}
	return respond(ctx, 200, struct {
		Status string `json:"status"`
		ID     string `json:"group_id"`
	}{"rebalanced", id})
}

func (a *API) addMember(ctx *fasthttp.RequestCtx) error {
	v, f, err := a.groupAndBody(ctx)
	if err != nil {
		return err
	}
	f.onlyKnown("member_id", "weight", "priority")
	m := supervisor.GroupMember{ID: f.required("member_id")}
	setIf(&m.Weight, f.integer("weight", 1, supervisor.MaxWeight))
	setIf(&m.Priority, f.integer("priority", 1, supervisor.MaxWeight))
	if err := f.err(); err != nil {
		return err
	}
	id := v.Spec.ID
	if err := changeGroup(id, changeTimeout, func(ctx context.Context) error { return a.runtime.AddMember(ctx, id, m) }); err != nil {
		return named(err, m.ID)
	}
	return respond(ctx, 201, struct {
		ID     string `json:"group_id"`
		Member string `json:"mcp_server_id"`
		Added  bool   `json:"added"`
	}{id, m.ID, true})
}

// removeMember answers 404 for a server that is no member: the reference
// program answers as if there had been one.
func (a *API) removeMember(ctx *fasthttp.RequestCtx) error {
	id, member := pathParam(ctx, "id"), pathParam(ctx, "member_id")
	if err := changeGroup(id, changeTimeout, func(ctx context.Context) error { return a.runtime.RemoveMember(ctx, id, member) }); err != nil {
		if errors.Is(err, supervisor.ErrServerNotFound) {
			return &apiError{status: 404, name: "McpServerNotFoundError", message: "mcp_server " + quoteClient(member) + " is no member of group " + quoteClient(id)}
		}
		return err
	}
	return respond(ctx, 200, struct {
		ID      string `json:"group_id"`
		Member  string `json:"mcp_server_id"`
		Removed bool   `json:"removed"`
	}{id, member, true})
}
