package config

import (
	"cmp"
	"reflect"
	"slices"

	"github.com/aabb9013/hangar/supervisor"
)

// WithGroups is WithSpecs for the groups of a fleet.
func (c *Config) WithGroups(specs []supervisor.GroupSpec) *Config {
	byID := make(map[string]int, len(c.GroupSpecs))
	for i := range c.GroupSpecs {
		byID[c.GroupSpecs[i].ID] = i
	}
	out := *c
	out.Groups, out.GroupSpecs = nil, nil
	for _, spec := range specs {
		if spec.Provenance != supervisor.FromConfig && spec.Provenance != supervisor.FromAPI {
			continue
		}
		i, known := byID[spec.ID]
		switch {
		case known && same(reflect.ValueOf(c.GroupSpecs[i]), reflect.ValueOf(spec)):
			out.Groups = append(out.Groups, c.Groups[i])
		case known && spec.Provenance == supervisor.FromConfig:
			out.Groups = append(out.Groups, c.Groups[i].with(spec))
		default:
			out.Groups = append(out.Groups, groupOf(spec))
		}
		out.GroupSpecs = append(out.GroupSpecs, spec)
	}
	return &out
}

// groupOf is the way back from a spec; members are named, not defined. A test
// holds it complete.
func groupOf(s supervisor.GroupSpec) Group {
	g := Group{
		ID: s.ID, Mode: "group", Strategy: string(s.Strategy), MinHealthy: s.MinHealthy, AutoStart: s.AutoStart, Description: s.Description,
		Health:   GroupHealth{UnhealthyThreshold: s.UnhealthyThreshold, HealthyThreshold: s.HealthyThreshold},
		Breaker:  GroupBreaker{FailureThreshold: s.BreakerThreshold, ResetTimeout: s.BreakerReset},
		Tools:    Tools{Predefined: s.Tools},
		Affinity: cmp.Or(string(s.Affinity), "none"), SlowStart: max(s.SlowStart, 0), Pins: s.Pins,
		Outlier: GroupOutlier{Factor: s.Outlier.Factor, Interval: s.Outlier.Interval, Ejection: s.Outlier.Ejection, MinCalls: s.Outlier.MinCalls},
	}
	if s.Canary != nil {
		g.Canary = GroupCanary{Member: s.Canary.Member, Percent: s.Canary.Percent}
	}
	for _, m := range s.Members {
		g.Members = append(g.Members, Member{Server: defaultServer(m.ID), Name: m.ID, Weight: m.Weight, Priority: m.Priority})
	}
	return g
}

// with is the definition g changed to what spec says. What a spec does not have
// stays: keys that only the file knows, and the servers defined inside.
func (g *Group) with(spec supervisor.GroupSpec) Group {
	out := groupOf(spec)
	out.keyed, out.Tools.Policy = g.keyed, g.Tools.Policy
	out.Canary.PinnedTenants = g.Canary.PinnedTenants
	out.Access, out.Capabilities, out.ToolAccess, out.ToolProjection = g.Access, g.Capabilities, g.ToolAccess, g.ToolProjection
	for i := range out.Members {
		to := &out.Members[i]
		j := slices.IndexFunc(g.Members, func(m Member) bool { return m.Name == to.Name && m.defined() })
		if j >= 0 && spec.Members[i].Owned {
			weight, priority := to.Weight, to.Priority
			*to = g.Members[j]
			to.Weight, to.Priority = weight, priority
		}
	}
	return out
}

// inlined are the servers that groups define, by id, as they run now; the
// groups have them as the file does.
func (m *serverMap) inlined() map[string]*Server {
	within := make(map[string]*Server)
	for i := range m.servers {
		if s := &m.servers[i]; s.within != nil {
			within[s.ID] = s
		}
	}
	out := make(map[string]*Server)
	for i := range m.groups {
		for j := range m.groups[i].Members {
			if member := &m.groups[i].Members[j]; member.defined() && within[member.Name] != nil {
				out[member.Name] = within[member.Name]
			}
		}
	}
	return out
}

// withServers is the group with the servers it defines as they run now.
func (g *Group) withServers(inlined map[string]*Server) *Group {
	out := *g
	out.Members = nil
	for _, m := range g.Members {
		if s := inlined[m.Name]; s != nil && m.defined() {
			m.Server = *s
		}
		out.Members = append(out.Members, m)
	}
	return &out
}
