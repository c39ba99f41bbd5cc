// Package limits holds the processes of one instance inside of its memory, cpu
// and process limits, by the best means that the host offers.
//
// Open looks at the host once: cgroup v2 where a sub-tree can be made and its
// controllers switched on, else the v1 controllers that can be written, else
// resource limits. Report says which it is, and what it can enforce.
//
// A process is inside of its group before it runs its program. With v2 the
// kernel makes it there (CLONE_INTO_CGROUP). With v1 the starting thread goes
// into the group, starts the process, which is born where its parent thread is,
// and goes home; nothing else ever runs in that thread. Resource limits are set
// on the process the moment after its program began: what it forks before that
// is not held. They bound each process for itself, and only its memory.
//
// On cgroup v2 the runtime moves its own process into a leaf if it is alone in
// its group: the kernel switches controllers on only below a group that holds
// no process itself.
package limits
