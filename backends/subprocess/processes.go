package subprocess

import (
	"github.com/aabb9013/hangar/internal/procs"
)

// Process is one process that came from an instance, at one moment.
type Process struct {
	procs.Info
	Server   string // whose it is; empty if that cannot be told any more
	Epoch    uint64
	Instance bool // it is the instance itself
	Reaper   bool // it is the reaper
}

// Processes returns the reaper, every instance and what descends from them,
// parents before children. It reads /proc for each and may take milliseconds.
func (b *Backend) Processes() []Process {
	b.mu.Lock()
	instances := make(map[int]*instance, len(b.running))
	names := make(map[string]*instance, len(b.running))
	roots := make([]int, 0, len(b.running)+1)
	if pid := b.spawner.reaperPID(); pid != 0 {
		roots = append(roots, pid)
	}
	for in := range b.running {
		instances[in.PID()] = in
		names[instanceName(in.spec)] = in
		roots = append(roots, in.PID())
	}
	b.mu.Unlock()

	reaper := b.spawner.reaperPID()
	owners := make(map[int]*instance) // of each process, by pid
	var found []Process
	for _, info := range procs.Tree(roots...) {
		p := Process{Info: info, Reaper: info.PID == reaper}
		owner := instances[info.PID]
		p.Instance = owner != nil
		if owner == nil {
			owner = owners[info.PPID]
		}
		if owner == nil && !p.Reaper { // an orphan, or below one
			owner = instances[b.spawner.instanceOf(info.PID)]
		}
		if owner == nil && !p.Reaper {
			name, _ := procs.Env(info.PID, InstanceEnv)
			owner = names[name]
		}
		if owner != nil {
			owners[info.PID] = owner
			p.Server, p.Epoch = owner.spec.Server, owner.spec.Epoch
		}
		found = append(found, p)
	}
	return found
}

// add and remove keep the list of what runs.
func (b *Backend) add(in *instance) {
	b.mu.Lock()
	b.running[in] = struct{}{}
	b.mu.Unlock()
}

func (b *Backend) remove(in *instance) {
	b.mu.Lock()
	delete(b.running, in)
	b.mu.Unlock()
}
