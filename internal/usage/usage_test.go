package usage

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"testing"
)

// host makes a /proc of processes given as pid, parent, group, pages.
func host(t *testing.T, processes ...[4]int) string {
	root := t.TempDir()
	for _, p := range processes {
		dir := filepath.Join(root, "proc", strconv.Itoa(p[0]))
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		stat := fmt.Sprintf("%d (a) b (c)) S %d %d 5 0 -1 4194304 1 2 3 4 5 6 7 8 20 0 1 0 99 1000 %d 18446744073709551615 1\n", p[0], p[1], p[2], p[3])
		if err := os.WriteFile(filepath.Join(dir, "stat"), []byte(stat), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func TestTreeIsDescendantsAndGroup(t *testing.T) {
	root := host(t,
		[4]int{1, 0, 1, 1000},
		[4]int{10, 1, 10, 1}, // a server
		[4]int{11, 10, 10, 2},
		[4]int{12, 11, 12, 4}, // its own group
		[4]int{13, 1, 10, 8},  // lost its parent, kept the group
		[4]int{14, 13, 14, 16},
		[4]int{20, 1, 20, 32}, // another server
		[4]int{30, 1, 30, 64}) // nobody's
	page := int64(os.Getpagesize())
	if got, want := Memory(root, []int{10, 20, 99}, true), []int64{31 * page, 32 * page, 0}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestProportionalShare(t *testing.T) {
	root := host(t, [4]int{10, 1, 10, 100}, [4]int{11, 10, 10, 100}, [4]int{20, 1, 20, 50})
	for pid, kib := range map[int]int{10: 8, 11: 4} {
		text := fmt.Sprintf("00400000-7ffff000 ---p 00000000 00:00 0 [rollup]\nRss: 999 kB\nPss:  %12d kB\nPss_Anon: 1 kB\n", kib)
		if err := os.WriteFile(filepath.Join(root, "proc", strconv.Itoa(pid), "smaps_rollup"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	// 20 may not be looked at: its resident bytes stay.
	if got, want := Memory(root, []int{10, 20}, true), []int64{12 << 10, int64(50 * os.Getpagesize())}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestBrokenStatIsSkipped(t *testing.T) {
	for _, stat := range []string{"", "1", "1 (a", "1 (a) S 1 2", "1 (a) S x 1 5 0 -1 4194304 1 2 3 4 5 6 7 8 20 0 1 0 99 1000 3 1"} {
		if p, ok := parseStat(1, []byte(stat)); ok {
			t.Errorf("%q gives %+v", stat, p)
		}
	}
	if got := Memory(t.TempDir(), []int{1}, true); !slices.Equal(got, []int64{0}) {
		t.Errorf("without /proc: %v", got)
	}
}

func TestMemoryOfRealProcesses(t *testing.T) {
	// The shell is alone, then with a child of its own.
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
	both := Memory("", []int{cmd.Process.Pid, child}, false)
	if both[1] <= 0 || both[0] <= both[1] {
		t.Errorf("the tree has %d bytes, its child %d; want more than the child", both[0], both[1])
	}
	if exact := Memory("", []int{cmd.Process.Pid}, true)[0]; exact <= 0 || exact > both[0] {
		t.Errorf("the proportional share is %d of %d bytes", exact, both[0])
	}
}
