package config

import (
	"errors"
	"slices"

	"github.com/aabb9013/hangar/supervisor"
)

// checkDependencies looks at depends_on once all servers are known. A server
// of the file may depend on servers of the file only: those made by the API
// may be gone when the file is read the next time.
func (d *decoder) checkDependencies(m *serverMap, p *path) {
	kinds := make(map[string]string, len(m.servers)+len(m.groups))
	for i := range m.servers {
		kinds[m.servers[i].ID] = "server"
	}
	for i := range m.groups {
		kinds[m.groups[i].ID] = "group"
	}
	for i := range m.servers {
		s := &m.servers[i]
		for _, need := range s.DependsOn {
			d.checkDependency(s, need, kinds[need], p)
		}
	}
	_, err := supervisor.NewGraph(m.specs)
	var cycle *supervisor.CycleError
	if errors.As(err, &cycle) && len(cycle.Path) > 2 { // one of a single server is told with its spec
		i := slices.IndexFunc(m.servers, func(s Server) bool { return s.ID == cycle.Path[0] })
		d.fault(m.servers[i].where("depends_on"), p.child(cycle.Path[0]).child("depends_on"), "%s", cycle.Error())
	}
}

func (d *decoder) checkDependency(s *Server, need, kind string, p *path) {
	at, child := s.where("depends_on"), p.child(s.ID).child("depends_on")
	switch {
	case supervisor.ValidateID(need) != nil, need == s.ID:
		// told with the spec
	case kind == "server":
	case kind == "group":
		d.fault(at, child, "%s is a group; a server depends on servers", need)
	default:
		d.fault(at, child, "no server %s is defined in mcp_servers", need)
	}
}
