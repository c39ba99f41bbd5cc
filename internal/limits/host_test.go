package limits

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/aabb9013/hangar/backends"
)

// onHost opens the limits of the real host, or skips if it has not those that
// the test is about.
func onHost(t *testing.T, has func(Report) bool) *Manager {
	t.Helper()
	m := Open(Options{RunTag: strconv.FormatInt(int64(os.Getpid())<<16|int64(nextRun()), 16) + "." + strconv.Itoa(os.Getpid())})
	t.Cleanup(m.Close)
	if !has(m.Report()) {
		t.Skipf("this host cannot: %+v", m.Report())
	}
	return m
}

var runs int

func nextRun() int { runs++; return runs }

// run starts a shell in the group from a locked thread, as the backend does,
// and returns what it printed and how it ended.
func run(t *testing.T, g *Group, script string) (string, *os.ProcessState, error) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	in, begin, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	type started struct {
		proc *os.Process
		err  error
	}
	result := make(chan started)
	go func() {
		runtime.LockOSThread()
		var s Starter
		proc, err := s.Start(g.Entry(), "/bin/sh", []string{"sh", "-c", script}, &os.ProcAttr{
			Env: []string{"PATH=" + os.Getenv("PATH")}, Files: []*os.File{in, w, w}, Sys: &syscall.SysProcAttr{},
		})
		for _, home := range s.away {
			t.Errorf("the thread did not reach %s", home)
		}
		result <- started{proc, err}
	}()
	s := <-result
	begin.Close() // a script that reads its input goes on when the start is complete
	w.Close()
	if s.err != nil {
		return "", nil, s.err
	}
	var output bytes.Buffer
	io.Copy(&output, r)
	state, err := s.proc.Wait()
	return output.String(), state, err
}

func TestProcessIsBornInItsGroup(t *testing.T) {
	m := onHost(t, func(r Report) bool { return r.Mechanism != Rlimit })
	g, err := m.Prepare("born", 1, backends.Limits{Memory: 64 << 20, CPU: 0.5, PIDs: 10})
	if err != nil {
		t.Fatal(err)
	}
	// A grandchild that outlives its parent does not outlive the group.
	output, _, err := run(t, g, "cat /proc/self/cgroup; setsid sleep 600 >/dev/null 2>&1 </dev/null & echo pid $!")
	if err != nil {
		t.Fatal(err)
	}
	if groups, want := strings.Count(output, "/born.1"), len(g.dirs); groups != want {
		t.Errorf("the process was in %d groups of its own, want %d:\n%s", groups, want, output)
	}
	dirs := g.dirs
	g.Close()
	for _, dir := range dirs {
		if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is left: %v", dir, err)
		}
	}
	self, _ := os.ReadFile("/proc/thread-self/cgroup")
	if strings.Contains(string(self), "born") {
		t.Errorf("a thread of the test is in the group:\n%s", self)
	}
}

func TestForkBeyondThePidLimitFails(t *testing.T) {
	m := onHost(t, func(r Report) bool { return r.PIDs })
	g, err := m.Prepare("pids", 1, backends.Limits{PIDs: 3})
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	output, _, err := run(t, g, "read line; for i in 1 2 3 4 5; do sleep 600 </dev/null >/dev/null 2>&1 & echo forked; done")
	if err != nil {
		t.Fatal(err)
	}
	if forked := strings.Count(output, "forked\n"); forked > 2 || !strings.Contains(strings.ToLower(output), "fork") {
		t.Errorf("%d forks beside the shell, want 2 and a refusal:\n%s", forked, output)
	}
}

func TestCPUQuotaIsSetWhenTheProcessRuns(t *testing.T) {
	m := onHost(t, func(r Report) bool { return r.CPU && r.Mechanism == CgroupV1 })
	g, err := m.Prepare("cpu", 1, backends.Limits{CPU: 0.25})
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	if _, _, err := run(t, g, "true"); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(g.dirs[0], "cpu.cfs_quota_us"))
	if err != nil || strings.TrimSpace(string(text)) != "25000" {
		t.Errorf("quota %q, %v; want 25000", text, err)
	}
}

func TestMemoryLimitKillsAndIsTold(t *testing.T) {
	m := onHost(t, func(r Report) bool { return r.Memory && r.Mechanism != Rlimit })
	g, err := m.Prepare("memory", 1, backends.Limits{Memory: 16 << 20})
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	// tail keeps a line until it ends, and this one never does.
	_, state, err := run(t, g, "exec tail /dev/zero")
	if err != nil {
		t.Fatal(err)
	}
	exit := backends.Exit{Code: -1, Signal: unix.SignalName(state.Sys().(syscall.WaitStatus).Signal())}
	g.Explain(&exit)
	if !exit.OOM || exit.MemoryPeak < 8<<20 || exit.MemoryPeak > 16<<20 {
		t.Errorf("the end is %q (%+v), want oom_killed with a peak of at most the limit", exit, exit)
	}
}

func TestEveryProcessHasNoCoreDump(t *testing.T) {
	output, _, err := run(t, &Group{}, "read line; ulimit -c; ulimit -Hc")
	if err != nil || strings.TrimSpace(output) != "0\n0" {
		t.Errorf("core limits %q, %v; want 0 and 0", output, err)
	}
}

func TestDataLimitWithoutCgroups(t *testing.T) {
	g := &Group{entry: Entry{Data: 32 << 20}}
	_, state, err := run(t, g, "read line; exec tail /dev/zero")
	if err != nil {
		t.Fatal(err)
	}
	if state.Success() {
		t.Errorf("a program beyond its data limit ended with %s, want a failure", state)
	}
}
