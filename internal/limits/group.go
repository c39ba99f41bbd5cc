package limits

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/aabb9013/hangar/backends"
)

// cpuPeriod is the time over which the kernel shares out the cpu quota.
const cpuPeriod = 100 * time.Millisecond

// Group is the place of one instance. It belongs to the instance; its methods
// are not for concurrent use.
type Group struct {
	limits backends.Limits
	entry  Entry
	dirs   []string // to be removed
	events string   // file that counts kills for want of memory
	peak   string   // file with the most memory used
}

// Entry says how to start a process inside of the group.
func (g *Group) Entry() Entry { return g.entry }

func (g *Group) openV2(dir string, can Report) error {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	g.dirs, g.entry.Dir = []string{dir}, dir
	file := func(name string) string { return filepath.Join(dir, name) }
	if g.limits.Memory > 0 && can.Memory {
		if err := write(file("memory.max"), strconv.FormatInt(g.limits.Memory, 10)); err != nil {
			return err
		}
		g.events, g.peak = file("memory.events"), file("memory.peak")
		// Both are refinements that not every kernel has.
		_ = writeExisting(file("memory.swap.max"), "0")
		_ = writeExisting(file("memory.oom.group"), "1")
	}
	if g.limits.CPU > 0 && can.CPU {
		if err := write(file("cpu.max"), fmt.Sprintf("%d %d", quota(g.limits.CPU), cpuPeriod.Microseconds())); err != nil {
			return err
		}
	}
	if g.limits.PIDs > 0 && can.PIDs {
		return write(file("pids.max"), strconv.Itoa(g.limits.PIDs))
	}
	return nil
}

func (g *Group) openV1(m *Manager, name string) error {
	open := func(controller string) (dir string, err error) {
		dir = filepath.Join(m.base[controller], name)
		if err := os.Mkdir(dir, 0o755); err != nil {
			return "", err
		}
		g.dirs = append(g.dirs, dir)
		g.entry.Tasks = append(g.entry.Tasks, filepath.Join(dir, "tasks"))
		g.entry.Home = append(g.entry.Home, filepath.Join(m.own[controller], "tasks"))
		return dir, nil
	}
	if g.limits.Memory > 0 && m.report.Memory {
		dir, err := open("memory")
		if err != nil {
			return err
		}
		limit := strconv.FormatInt(g.limits.Memory, 10)
		if err := write(filepath.Join(dir, "memory.limit_in_bytes"), limit); err != nil {
			return err
		}
		// Memory and swap together, where swap is counted.
		_ = writeExisting(filepath.Join(dir, "memory.memsw.limit_in_bytes"), limit)
		g.events, g.peak = filepath.Join(dir, "memory.oom_control"), filepath.Join(dir, "memory.max_usage_in_bytes")
	}
	if g.limits.CPU > 0 && m.report.CPU {
		dir, err := open("cpu")
		if err != nil {
			return err
		}
		if err := write(filepath.Join(dir, "cpu.cfs_period_us"), strconv.FormatInt(cpuPeriod.Microseconds(), 10)); err != nil {
			return err
		}
		// Only when the starting thread has left: it must not be throttled.
		g.entry.After = append(g.entry.After, Setting{filepath.Join(dir, "cpu.cfs_quota_us"), strconv.FormatInt(quota(g.limits.CPU), 10)})
	}
	if g.limits.PIDs > 0 && m.report.PIDs {
		dir, err := open("pids")
		if err != nil {
			return err
		}
		limit := filepath.Join(dir, "pids.max")
		// The starting thread counts while it is inside.
		if err := write(limit, strconv.Itoa(g.limits.PIDs+1)); err != nil {
			return err
		}
		g.entry.After = append(g.entry.After, Setting{limit, strconv.Itoa(g.limits.PIDs)})
	}
	return nil
}

// quota is the share of cpuPeriod in microseconds; the kernel takes no less
// than 1 ms.
func quota(cores float64) int64 {
	return max(1000, int64(math.Round(cores*float64(cpuPeriod.Microseconds()))))
}

// Explain tells the end of the instance what the group knows of it: that the
// kernel killed it at its memory limit. Call it before Close.
func (g *Group) Explain(exit *backends.Exit) {
	if g.events == "" || exit.Err != nil || exit.Asked {
		return
	}
	text, _ := os.ReadFile(g.events)
	// A shell in front of the program says 137 for its child's SIGKILL. Any
	// other end has another cause, whatever was killed in the group before.
	if killed := exit.Signal == "SIGKILL" || exit.Code == 137; !killed || counter(string(text), "oom_kill") == 0 {
		return
	}
	exit.OOM, exit.MemoryLimit = true, g.limits.Memory
	peak, _ := os.ReadFile(g.peak)
	exit.MemoryPeak, _ = strconv.ParseInt(strings.TrimSpace(string(peak)), 10, 64)
}

// counter reads one line "name value" of a flat keyed file.
func counter(text, name string) int64 {
	for line := range strings.Lines(text) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		if key == name {
			n, _ := strconv.ParseInt(value, 10, 64)
			return n
		}
	}
	return 0
}

// Close kills what is left in the group and removes it. It blocks for a
// moment; what cannot be removed by then is a leftover for the next start.
func (g *Group) Close() {
	for _, dir := range g.dirs {
		removeGroup(dir)
	}
	g.dirs = nil
}

const (
	removeTries = 50
	removePause = 10 * time.Millisecond
)

// removeGroup kills the members until the directory goes. A member may fork
// while the list is read, so that one look is not enough.
func removeGroup(dir string) {
	for range removeTries {
		if err := os.Remove(dir); err == nil || os.IsNotExist(err) {
			return
		}
		if writeExisting(filepath.Join(dir, "cgroup.kill"), "1") != nil {
			members, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
			if err != nil {
				return
			}
			for _, text := range strings.Fields(string(members)) {
				if pid, err := strconv.Atoi(text); err == nil && pid > 0 {
					_ = syscall.Kill(pid, syscall.SIGKILL)
				}
			}
		}
		time.Sleep(removePause)
	}
}

// writeExisting is write for a file that a kernel may not have.
func writeExisting(file, text string) error {
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_TRUNC, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.WriteString(text)
	return err
}
