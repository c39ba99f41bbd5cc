package config

import (
	"cmp"
	"strconv"

	"github.com/aabb9013/hangar/supervisor"
)

// The contract's limits of a container for which the file names none.
const (
	defaultMemory = "512m"
	defaultCPU    = "1.0"
)

// limits reads the resources of a server.
func (d *decoder) limits(s *Server, spec *supervisor.ServerSpec, p *path) bool {
	r, good := s.Resources, true
	if spec.Mode == supervisor.ModeDocker {
		r.Memory = cmp.Or(r.Memory, defaultMemory)
		r.CPU = cmp.Or(r.CPU, defaultCPU)
	}
	fault := func(key string, err error) {
		if err != nil {
			d.fault(r.where(key), p.child(key), "%s", err)
			good = false
		}
	}
	if r.Memory != "" && !r.bad("memory") {
		memory, err := supervisor.ParseBytes(r.Memory)
		spec.Limits.Memory = memory
		fault("memory", err)
	}
	if r.CPU != "" && !r.bad("cpu") {
		cores, err := supervisor.ParseCores(r.CPU)
		spec.Limits.CPU = cores
		fault("cpu", err)
	}
	spec.Limits.PIDs = r.PIDs
	return good
}

// writeLimits is the way back: no limit is 0 where leaving it out would be the
// default.
func (s *Server) writeLimits(spec supervisor.ServerSpec) {
	none := ""
	if spec.Mode == supervisor.ModeDocker {
		none = "0"
	}
	s.Resources.Memory, s.Resources.CPU, s.Resources.PIDs = none, none, spec.Limits.PIDs
	if spec.Limits.Memory != 0 {
		s.Resources.Memory = strconv.FormatInt(spec.Limits.Memory, 10)
	}
	if spec.Limits.CPU != 0 {
		s.Resources.CPU = strconv.FormatFloat(spec.Limits.CPU, 'f', -1, 64)
	}
}

// memoryBudget checks the text; whoever knows the node's memory reads it again.
func (d *decoder) memoryBudget(l *Limits) {
	if _, err := supervisor.ParseMemoryBudget(l.MemoryBudget, 1); err != nil && !l.bad("memory_budget") {
		d.fault(l.where("memory_budget"), (*path)(nil).child("limits").child("memory_budget"), "%s", err)
	}
}
