package config

import (
	"strings"
	"time"

	"github.com/aabb9013/hangar/supervisor"
)

// checkMembers looks at the groups once all servers are known. A member that
// is defined inside of a group becomes a server like those beside it.
func (d *decoder) checkMembers(m *serverMap, p *path) {
	names := memberNames{servers: map[string]bool{}, groups: map[string]bool{}, inline: map[string]string{}}
	for i := range m.servers {
		names.servers[m.servers[i].ID] = true
	}
	for i := range m.groups {
		g := &m.groups[i]
		names.groups[g.ID] = true
		for j := range g.Members {
			if member := &g.Members[j]; member.defined() && names.inline[member.Name] == "" {
				names.inline[member.Name] = g.ID
			}
		}
	}
	for i := range m.groups {
		g := &m.groups[i]
		gp := p.child(g.ID)
		spec := g.spec()
		seen := make(map[string]bool, len(g.Members))
		for j := range g.Members {
			member := &g.Members[j]
			at := gp.child("members").item(j)
			owned := d.checkMember(member, g.ID, names, seen, at)
			if owned {
				server, _ := d.spec(&member.Server, at)
				m.specs = append(m.specs, server)
				m.servers = append(m.servers, member.Server)
			}
			spec.Members = append(spec.Members, supervisor.GroupMember{
				ID: member.Name, Weight: member.Weight, Priority: member.Priority, Owned: owned,
			})
		}
		d.checkGroup(g, &spec, gp)
		if len(spec.Pins) > 0 {
			d.warn(g.where("pins"), gp.child("pins"), "only calls of a program that embeds Hangar say who calls; over HTTP nobody is pinned before authentication is built")
		}
		m.groupSpecs = append(m.groupSpecs, spec)
	}
}

// memberNames is who a member's id may mean.
type memberNames struct {
	servers, groups map[string]bool
	inline          map[string]string // server → the first group that defines it
}

// checkMember tells whether the member is a server of the group's own.
func (d *decoder) checkMember(member *Member, group string, names memberNames, seen map[string]bool, p *path) (owned bool) {
	at := member.where("id")
	name := member.Name
	member.ID, member.within = name, p
	switch {
	case name == "":
		if member.has("id") && !member.bad("id") {
			d.fault(at, p.child("id"), "must not be empty")
		}
		return false
	case !d.validID(name, at, p.child("id")):
		return false
	case names.groups[name]:
		d.fault(at, p.child("id"), "%s is a group; a member is a server", name)
		return false
	case seen[name]:
		d.fault(at, p.child("id"), "%s is a member of this group already", name)
		return false
	}
	seen[name] = true
	switch {
	case names.servers[name] && member.defined():
		d.warn(at, p, "%s is defined in mcp_servers too; that definition is used, and this one ignored", name)
	case names.servers[name]:
	case names.inline[name] == "":
		d.fault(at, p.child("id"), "no server %s is defined, in mcp_servers or here", name)
	case member.defined() && names.inline[name] != group:
		d.fault(at, p.child("id"), "group %s defines %s too; define it once and name it in the other group by its id", names.inline[name], name)
	default:
		return member.defined()
	}
	return false
}

// defined reports whether the member is a definition and not only a name.
func (m *Member) defined() bool {
	return m.has("command") || m.has("image") || m.has("endpoint") || m.has("mode")
}

// spec is the group without its members.
func (g *Group) spec() supervisor.GroupSpec {
	spec := supervisor.GroupSpec{
		ID: g.ID, Description: g.Description, Strategy: supervisor.Strategy(g.Strategy),
		MinHealthy: g.MinHealthy, AutoStart: g.AutoStart,
		UnhealthyThreshold: g.Health.UnhealthyThreshold, HealthyThreshold: g.Health.HealthyThreshold,
		BreakerThreshold: g.Breaker.FailureThreshold, BreakerReset: g.Breaker.ResetTimeout,
		SlowStart: g.SlowStart, Pins: g.Pins, Tools: g.Tools.Predefined, Provenance: supervisor.FromConfig,
		Outlier: supervisor.OutlierPolicy{
			Factor: g.Outlier.Factor, Interval: g.Outlier.Interval, Ejection: g.Outlier.Ejection, MinCalls: g.Outlier.MinCalls,
		},
	}
	if g.SlowStart == 0 {
		spec.SlowStart = -time.Nanosecond // the zero of the spec stands for the default
	}
	if g.Affinity == string(supervisor.AffinitySession) {
		spec.Affinity = supervisor.AffinitySession
	}
	if g.Canary.has("member") {
		spec.Canary = &supervisor.Canary{Member: g.Canary.Member, Percent: g.Canary.Percent}
	}
	return spec
}

// groupFaults are the keys that faults of a group's spec are about, by the first
// word of the fault.
var groupFaults = map[string]string{
	"canary": "canary", "pins:": "pins", "outlier": "outlier", "description": "description", "tool": "tools", "tools": "tools",
}

// checkGroup tells what the spec itself finds wrong with a group whose members
// are sound.
func (d *decoder) checkGroup(g *Group, spec *supervisor.GroupSpec, p *path) {
	for _, err := range split(spec.Validate()) {
		text := specText(err)
		first, _, _ := strings.Cut(text, " ")
		key, known := groupFaults[first]
		switch {
		case known && g.has(key) && !g.bad(key):
			d.fault(g.where(key), p.child(key), "%s", clip(text, 200))
		case strings.HasPrefix(text, "the group has"):
			d.fault(g.where("members"), p.child("members"), "%s", clip(text, 200))
		}
		// What else it finds was told where it was decoded.
	}
}
