package config

import "github.com/aabb9013/hangar/supervisor"

// limits reads the resources of a server. A subprocess has only the limits
// that the file names: the contract's defaults are those of a container.
func (d *decoder) limits(s *Server, spec *supervisor.ServerSpec, p *path) bool {
	r, good := &s.Resources, true
	wanted := func(key, value string) bool {
		return !r.bad(key) && value != "" && (r.has(key) || spec.Mode == supervisor.ModeDocker)
	}
	fault := func(key string, err error) {
		if err != nil {
			d.fault(r.where(key), p.child(key), "%s", err)
			good = false
		}
	}
	if wanted("memory", r.Memory) {
		memory, err := supervisor.ParseBytes(r.Memory)
		spec.Limits.Memory = memory
		fault("memory", err)
	}
	if wanted("cpu", r.CPU) {
		cores, err := supervisor.ParseCores(r.CPU)
		spec.Limits.CPU = cores
		fault("cpu", err)
	}
	spec.Limits.PIDs = r.PIDs
	return good
}

// memoryBudget checks the text; whoever knows the node's memory reads it again.
func (d *decoder) memoryBudget(l *Limits) {
	if _, err := supervisor.ParseMemoryBudget(l.MemoryBudget, 1); err != nil && !l.bad("memory_budget") {
		d.fault(l.where("memory_budget"), (*path)(nil).child("limits").child("memory_budget"), "%s", err)
	}
}
