package config

import "github.com/aabb9013/hangar/supervisor"

// Unsupported lists what the file switches on and this version has not built,
// each with ErrNotBuilt in its chain, sorted by line. A caller refuses to
// start unless the list is empty; what is present but switched off is not in
// it.
func (c *Config) Unsupported() Faults {
	u := unbuilt{collector: collector{file: c.Path}}
	u.sections(c.all)
	for i := range c.Definitions {
		s := &c.Definitions[i]
		u.server(s, s.path())
	}
	for i := range c.Groups {
		g := &c.Groups[i]
		u.group(g, mcpServers.child(g.ID))
	}
	u.list.sort()
	return u.list
}

var mcpServers = (*path)(nil).child("mcp_servers")

type unbuilt struct {
	collector
	list Faults
}

func (u *unbuilt) add(at position, p *path, text string) {
	u.list = append(u.list, u.make(at, p, text, ErrNotBuilt))
}

// when adds an entry for a key of a section if it is switched on.
func (u *unbuilt) when(on bool, section *keyed, p *path, key, text string) {
	if on {
		u.add(section.where(key), p.child(key), text)
	}
}

func (u *unbuilt) sections(f *file) {
	top := func(key string) *path { return (*path)(nil).child(key) }
	const enabled = "enabled"
	u.when(f.Discovery.Enabled, f.Discovery.recorder(), top("discovery"), enabled, "discovery is not built in this version; define the servers in mcp_servers")
	u.when(f.Auth.Enabled, f.Auth.recorder(), top("auth"), enabled, "authentication is not built in this version, and the API would be open")
	u.when(f.Truncation.Enabled, f.Truncation.recorder(), top("truncation"), enabled, "truncation of results is not built in this version")
	u.when(f.HotLoading.Enabled, f.HotLoading.recorder(), top("hot_loading"), enabled, "hot loading is not built in this version")
	u.when(f.Approvals.Enabled, f.Approvals.recorder(), top("approvals"), enabled, "approvals are not built in this version")
	o, op := &f.Observability, top("observability")
	u.when(o.Tracing.Enabled, o.Tracing.recorder(), op.child("tracing"), enabled, "tracing is not built in this version")
	u.when(o.Langfuse.Enabled, o.Langfuse.recorder(), op.child("langfuse"), enabled, "langfuse is not built in this version")
	u.when(o.Audit.Enabled, o.Audit.recorder(), op.child("audit"), enabled, "the audit trail is not built in this version")
	u.when(f.RateLimit.RPS > 0 || f.RateLimit.Burst > 0, f.recorder(), nil, "rate_limit", "the rate limit is not built in this version")
	u.when(f.Persistence.has() && f.Persistence.Backend == "postgresql", f.Persistence.recorder(), top("persistence"), "backend", "only Hangar's own store is built in this version, not postgresql")
	u.when(f.ToolAccess.Mode == "front_door", f.ToolAccess.recorder(), top("tool_access"), "mode", "tool_access.mode front_door is not built in this version")
	u.when(f.ToolAccess.Rules.Set(), f.ToolAccess.recorder(), top("tool_access"), "rules", "tool access rules are not built in this version")
	u.when(f.RelayTasksEnabled, f.recorder(), nil, "relay_tasks_enabled", "relaying tasks is not built in this version")
	u.when(f.StartupChecks.Enforce, f.StartupChecks.recorder(), top("startup_checks"), "enforce", "startup checks are not built in this version")
	u.when(len(f.Retry.PerServer) > 0, f.Retry.recorder(), top("retry"), "per_mcp_server", "retries of calls are not built in this version")
	u.when(f.Retry.has("default_policy") && f.Retry.Default.MaxAttempts > 1, f.Retry.recorder(), top("retry"), "default_policy", "retries of calls are not built in this version")
	for _, opaque := range []struct {
		key   string
		value Opaque
	}{
		{"coordination", f.Coordination}, {"interceptors", f.Interceptors}, {"headers", f.Headers},
		{"resource_links", f.ResourceLinks}, {"ui_resources", f.UIResources},
	} {
		u.when(opaque.value.Set(), f.recorder(), nil, opaque.key, opaque.key+" is not built in this version")
	}
}

func (u *unbuilt) server(s *Server, p *path) {
	if s.Mode != string(supervisor.ModeSubprocess) {
		u.add(s.where("mode"), p.child("mode"), "mode "+s.Mode+" is not built in this version; only subprocess servers can be hosted")
	}
	u.when(s.Tools.Policy.Restricts(), s.recorder(), p, "tools", noPolicies)
	for _, opaque := range []struct {
		key   string
		value Opaque
	}{
		{"access", s.Access}, {"canary", s.Canary}, {"capabilities", s.Capabilities},
		{"header_exposure", s.HeaderExposure}, {"tool_access", s.ToolAccess}, {"tool_projection", s.ToolProjection},
	} {
		u.when(opaque.value.Set(), s.recorder(), p, opaque.key, opaque.key+" is not built in this version")
	}
}

const noPolicies = "tool access policies are not built in this version, and every tool would be open"

func (u *unbuilt) group(g *Group, p *path) {
	u.when(g.Canary.PinnedTenants.Set(), g.Canary.recorder(), p.child("canary"), "pinned_tenants", "pins of tenants are not built in this version")
	u.when(g.Tools.Policy.Restricts(), g.recorder(), p, "tools", noPolicies)
	for _, opaque := range []struct {
		key   string
		value Opaque
	}{
		{"access", g.Access}, {"capabilities", g.Capabilities}, {"tool_access", g.ToolAccess}, {"tool_projection", g.ToolProjection},
	} {
		u.when(opaque.value.Set(), g.recorder(), p, opaque.key, opaque.key+" is not built in this version")
	}
}

// notForSubprocess are the keys of other modes: the reference accepts them
// without a word.
var notForSubprocess = []string{
	"image", "endpoint", "volumes", "build", "network", "network_mode",
	"read_only", "user", "auth", "tls", "http", "transport",
}

// warnWithoutEffect tells of keys that are valid and change nothing.
func warnWithoutEffect(c *collector, f *file) {
	for i := range f.Servers.servers {
		s := &f.Servers.servers[i]
		if s.Mode != string(supervisor.ModeSubprocess) {
			continue
		}
		for _, key := range notForSubprocess {
			if s.has(key) {
				c.warn(s.where(key), s.path().child(key), "has no effect for mode subprocess")
			}
		}
	}
	top := func(key string) *path { return (*path)(nil).child(key) }
	switch e := &f.EventStore; {
	case !e.has():
	case e.InMemory():
		c.warn(e.at, top("event_store"), "the event log is kept in memory: no history and no server made by the API survives a restart")
	case e.has("driver") || e.has("path"):
		c.warn(e.at, top("event_store"), "Hangar keeps its own event log in its data directory; driver and path of the SQLite file have no effect")
	}
	if f.Persistence.has() && f.Persistence.Backend != "postgresql" {
		c.warn(f.Persistence.at, top("persistence"), "Hangar keeps its own store in its data directory; this section has no effect")
	}
	for _, s := range []struct {
		section *keyed
		p       *path
	}{
		{f.Auth.recorder(), top("auth")},
		{f.Discovery.recorder(), top("discovery")},
		{f.Truncation.recorder(), top("truncation")},
		{f.Observability.Tracing.recorder(), top("observability").child("tracing")},
	} {
		if s.section.has() && !s.section.has("enabled") {
			c.warn(s.section.at, s.p, "the section is off without enabled: true")
		}
	}
}
