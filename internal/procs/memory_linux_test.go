package procs

import (
	"bufio"
	"os/exec"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"
)

func TestMemoryIsOfDescendantsAndGroup(t *testing.T) {
	trees := forestOf([]Info{
		{PID: 1, PPID: 0, Group: 1, RSS: 1000},
		{PID: 10, PPID: 1, Group: 10, RSS: 1}, // a server
		{PID: 11, PPID: 10, Group: 10, RSS: 2},
		{PID: 12, PPID: 11, Group: 12, RSS: 4}, // its own group
		{PID: 13, PPID: 1, Group: 10, RSS: 8},  // lost its parent, kept the group
		{PID: 14, PPID: 13, Group: 14, RSS: 16},
		{PID: 20, PPID: 1, Group: 20, RSS: 32}, // another server
		{PID: 30, PPID: 1, Group: 30, RSS: 64}, // nobody's
	})
	for _, want := range []struct {
		root    int
		bytes   int64
		members []int
	}{{10, 31, []int{10, 11, 13, 12, 14}}, {20, 32, []int{20}}, {99, 0, nil}, {10, 31, []int{10, 11, 13, 12, 14}}, {13, 24, []int{13, 14}}} {
		if got, members := trees.memory(want.root); got != want.bytes || !slices.Equal(members, want.members) {
			t.Errorf("tree of %d: %d bytes of %v, want %d of %v", want.root, got, members, want.bytes, want.members)
		}
	}
}

// BenchmarkMemory is what every five seconds cost, of all processes of this host.
func BenchmarkMemory(b *testing.B) {
	b.ReportAllocs()
	all := PIDs()
	for b.Loop() {
		Memory(all, false)
	}
	b.ReportMetric(float64(len(all)), "processes")
}

// The share is asked of whole trees, the largest first, and of none in part.
func TestExactMemoryIsBoundedAndWhole(t *testing.T) {
	result := []int64{10, 300, 200, 100}
	members := [][]int{{1}, make([]int, maxExact-1), {2, 3}, {4}}
	asked := 0
	refine(result, members, func(pid int) (int64, bool) { asked++; return 1, pid != 4 })
	if want := []int64{10, maxExact - 1, 200, 100}; !slices.Equal(result, want) || asked != maxExact {
		t.Errorf("%v after %d questions, want %v", result, asked, want)
	}
}

func TestMemoryOfRealProcesses(t *testing.T) {
	cmd := exec.Command("/bin/sh", "-c", "sleep 600 & echo $!; wait")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		cmd.Wait()
	}()
	line := bufio.NewScanner(out)
	line.Scan()
	child, err := strconv.Atoi(line.Text())
	if err != nil {
		t.Fatal(err)
	}
	both := Memory([]int{cmd.Process.Pid, child}, false)
	// Between two programs a process has no memory.
	for deadline := time.Now().Add(time.Minute); both[1] <= 0 && time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		both = Memory([]int{cmd.Process.Pid, child}, false)
	}
	if both[1] <= 0 || both[0] <= both[1] {
		t.Errorf("the tree has %d bytes, its child %d; want more than the child", both[0], both[1])
	}
	if exact := Memory([]int{cmd.Process.Pid}, true)[0]; exact <= 0 || exact > both[0] {
		t.Errorf("the proportional share is %d of %d bytes", exact, both[0])
	}
}
