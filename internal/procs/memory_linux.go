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
		result[i], members[i] = trees.memory(pid)
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

type forest struct {
	byPID    map[int]Info
	children map[int][]int // by parent, and by leader of a group
}

func forestOf(all []Info) forest {
	f := forest{byPID: make(map[int]Info, len(all)), children: make(map[int][]int)}
	for _, p := range all {
		f.byPID[p.PID] = p
		f.children[p.PPID] = append(f.children[p.PPID], p.PID)
		if p.Group != p.PID && p.Group != p.PPID {
			f.children[p.Group] = append(f.children[p.Group], p.PID)
		}
	}
	return f
}

// memory sums up a tree, each process once.
func (f forest) memory(root int) (total int64, members []int) {
	if _, ok := f.byPID[root]; !ok {
		return 0, nil
	}
	seen := map[int]bool{root: true}
	for queue := []int{root}; len(queue) > 0; queue = queue[1:] {
		pid := queue[0]
		total += int64(f.byPID[pid].RSS)
		members = append(members, pid)
		for _, child := range f.children[pid] {
			if !seen[child] {
				seen[child] = true
				queue = append(queue, child)
			}
		}
	}
	return total, members
}
