package procs

import (
	"bytes"
	"cmp"
	"slices"
	"strconv"
)

// maxExact processes are asked for their proportional share, the largest trees
// first: the kernel walks all pages for each answer.
const maxExact = 256

// Memory returns the resident bytes of the trees of these processes, 0 for one
// that is gone. A tree is the process, its process group and all that descend
// from either. Pages that several processes share count for each, so the sum is
// an upper bound; with exact they are divided among those that share them,
// where that is cheap. It blocks for as long as it takes to look at every
// process of the host.
func Memory(pids []int, exact bool) []int64 {
	trees := forestOf(All())
	result := make([]int64, len(pids))
	members := make([][]int, len(pids))
	for i, pid := range pids {
		var tree []int
		if result[i], tree = trees.memory(pid); exact {
			members[i] = slices.Clone(tree)
		}
	}
	if exact {
		refine(result, members, proportional)
	}
	return result
}

// refine replaces resident by proportional bytes, whole trees at a time.
func refine(result []int64, members [][]int, share func(pid int) (int64, bool)) {
	order := make([]int, len(result))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return cmp.Compare(result[b], result[a]) })
	left := maxExact
	for _, i := range order {
		if len(members[i]) > left {
			continue
		}
		left -= len(members[i])
		sum := int64(0)
		for _, pid := range members[i] {
			bytes, ok := share(pid)
			if !ok {
				sum = 0
				break
			}
			sum += bytes
		}
		if sum > 0 {
			result[i] = sum
		}
	}
}

// proportional is the PSS of one process.
func proportional(pid int) (int64, bool) {
	text, err := readFile(path(pid, "smaps_rollup"))
	if err != nil {
		return 0, false
	}
	_, after, ok := bytes.Cut(text, []byte("\nPss:"))
	fields := bytes.Fields(after)
	if !ok || len(fields) == 0 {
		return 0, false
	}
	kib, err := strconv.ParseInt(string(fields[0]), 10, 64)
	return kib << 10, err == nil
}

// forest finds the trees among processes. It is read every few seconds and may hold thousands, so it is made of few
// pieces.
type forest struct {
	all   []Info // by pid
	below []edge // by above
	seen  []int  // of each of all, the last round in which it was found
	round int
	tree  []int
}

// edge goes from a parent, or from the leader of a group, to a process.
type edge struct{ above, pid int }

func forestOf(all []Info) *forest {
	f := &forest{all: all, below: make([]edge, 0, len(all)), seen: make([]int, len(all))}
	slices.SortFunc(all, func(a, b Info) int { return cmp.Compare(a.PID, b.PID) })
	for _, p := range all {
		f.below = append(f.below, edge{p.PPID, p.PID})
		if p.Group != p.PID && p.Group != p.PPID {
			f.below = append(f.below, edge{p.Group, p.PID})
		}
	}
	slices.SortFunc(f.below, func(a, b edge) int { return cmp.Compare(a.above, b.above) })
	return f
}

// memory sums up a tree, each process once. The members are good until the next call.
func (f *forest) memory(root int) (total int64, members []int) {
	f.round++
	f.tree = f.tree[:0]
	total = f.find(root)
	for next := 0; next < len(f.tree); next++ {
		pid := f.tree[next]
		first, _ := slices.BinarySearchFunc(f.below, pid, func(e edge, pid int) int { return cmp.Compare(e.above, pid) })
		for i := first; i < len(f.below) && f.below[i].above == pid; i++ {
			total += f.find(f.below[i].pid)
		}
	}
	return total, f.tree
}

// find adds a process to the tree, unless it is there or gone, and returns its bytes.
func (f *forest) find(pid int) int64 {
	at, found := slices.BinarySearchFunc(f.all, pid, func(p Info, pid int) int { return cmp.Compare(p.PID, pid) })
	if !found || f.seen[at] == f.round {
		return 0
	}
	f.seen[at] = f.round
	f.tree = append(f.tree, pid)
	return int64(f.all[at].RSS)
}
