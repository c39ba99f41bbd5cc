package config

// checkMembers looks at the members once all servers are known.
func (d *decoder) checkMembers(m *serverMap, p *path) {
	servers := make(map[string]bool, len(m.servers))
	for i := range m.servers {
		servers[m.servers[i].ID] = true
	}
	groups := make(map[string]bool, len(m.groups))
	for i := range m.groups {
		groups[m.groups[i].ID] = true
	}
	for i := range m.groups {
		g := &m.groups[i]
		gp := p.child(g.ID).child("members")
		seen := make(map[string]bool, len(g.Members))
		for j := range g.Members {
			d.checkMember(&g.Members[j], servers, groups, seen, gp.item(j))
		}
	}
}

func (d *decoder) checkMember(member *Member, servers, groups, seen map[string]bool, p *path) {
	at := member.where("id")
	name := member.Name
	member.ID = name
	switch {
	case name == "":
		if member.has("id") && !member.bad("id") {
			d.fault(at, p.child("id"), "must not be empty")
		}
		return
	case !d.validID(name, at, p.child("id")):
		return
	case groups[name]:
		d.fault(at, p.child("id"), "%s is a group; a member is a server", name)
		return
	case seen[name]:
		d.fault(at, p.child("id"), "%s is a member of this group already", name)
		return
	}
	seen[name] = true
	switch {
	case servers[name] && member.defined():
		d.warn(at, p, "%s is defined in mcp_servers too; that definition is used, and this one ignored", name)
	case !servers[name] && !member.defined():
		d.fault(at, p.child("id"), "no server %s is defined, in mcp_servers or here", name)
	case !servers[name]:
		d.spec(&member.Server, p)
	}
}

// defined reports whether the member is a definition and not only a name.
func (m *Member) defined() bool {
	return m.has("command") || m.has("image") || m.has("endpoint") || m.has("mode")
}
