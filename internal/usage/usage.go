// Package usage measures the memory of process trees by reading /proc. It keeps
// nothing between two samples; outside of Linux it finds nothing.
package usage

import (
	"bytes"
	"cmp"
	"os"
	"path/filepath"
	"slices"
	"strconv"
)

// Bounds of one sample. What is beyond them is counted less exactly or not at
// all; a sample never takes longer for it.
const (
	// MaxProcesses are looked at on the whole host.
	MaxProcesses = 32768
	// maxExact processes are asked for their proportional share, the largest
	// trees first: the kernel walks all pages for each answer.
	maxExact = 256
)

// Memory returns the resident bytes of the trees of these processes, 0 for one
// that is gone. A tree is the process, its process group and all that descend
// from either. Pages that several processes share count for each, so the sum is
// an upper bound; with exact they are divided among those that share them,
// where that is cheap. Root is where /proc is found, empty for the real one.
// It blocks for as long as it takes to look at every process of the host.
func Memory(root string, pids []int, exact bool) []int64 {
	proc := filepath.Join("/", root, "proc")
	trees := build(readAll(proc))
	result := make([]int64, len(pids))
	members := make([][]int, len(pids))
	for i, pid := range pids {
		result[i], members[i] = trees.memory(pid)
	}
	if exact {
		refine(proc, result, members)
	}
	return result
}

// refine replaces resident by proportional bytes, whole trees at a time.
func refine(proc string, result []int64, members [][]int) {
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
			share, ok := proportional(proc, pid)
			if !ok {
				sum = 0
				break
			}
			sum += share
		}
		if sum > 0 {
			result[i] = sum
		}
	}
}

// process is what a sample keeps of one.
type process struct {
	pid, parent, group int
	bytes              int64
}

func readAll(proc string) []process {
	dir, err := os.Open(proc)
	if err != nil {
		return nil
	}
	defer dir.Close()
	names, _ := dir.Readdirnames(-1)
	var all []process
	buf := make([]byte, 4096) // longer than any stat
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil || len(all) >= MaxProcesses {
			continue
		}
		if p, ok := read(proc, pid, buf); ok {
			all = append(all, p)
		}
	}
	return all
}

func read(proc string, pid int, buf []byte) (process, bool) {
	f, err := os.Open(filepath.Join(proc, strconv.Itoa(pid), "stat"))
	if err != nil {
		return process{}, false
	}
	defer f.Close()
	n, _ := f.Read(buf)
	return parseStat(pid, buf[:n])
}

// parseStat reads the fields of proc(5) after the name, which stands in
// parentheses and may hold any byte, parentheses too.
func parseStat(pid int, stat []byte) (process, bool) {
	const parent, group, pages = 1, 2, 21 // fields 4, 5 and 24
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(fields) <= pages {
		return process{}, false
	}
	p := process{pid: pid}
	var err error
	number := func(i int) (n int) {
		if err == nil {
			n, err = strconv.Atoi(string(fields[i]))
		}
		return n
	}
	p.parent, p.group, p.bytes = number(parent), number(group), int64(number(pages))*int64(os.Getpagesize())
	return p, err == nil
}

// proportional is the PSS of one process.
func proportional(proc string, pid int) (int64, bool) {
	text, err := os.ReadFile(filepath.Join(proc, strconv.Itoa(pid), "smaps_rollup"))
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
	byPID    map[int]process
	children map[int][]int // by parent, and by leader of a group
}

func build(all []process) forest {
	f := forest{byPID: make(map[int]process, len(all)), children: make(map[int][]int)}
	for _, p := range all {
		f.byPID[p.pid] = p
		f.children[p.parent] = append(f.children[p.parent], p.pid)
		if p.group != p.pid && p.group != p.parent {
			f.children[p.group] = append(f.children[p.group], p.pid)
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
		total += f.byPID[pid].bytes
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
