package limits

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/aabb9013/hangar/backends"
)

var tag = "cafe." + strconv.Itoa(os.Getpid())

// host is a root with the files that the manager reads; its cgroup files are
// ordinary ones, so that a test sees what was written.
type host struct {
	t    *testing.T
	root string
}

func newHost(t *testing.T, mountinfo, groups string) host {
	h := host{t, t.TempDir()}
	h.put("/proc/self/mountinfo", mountinfo)
	h.put("/proc/self/cgroup", groups)
	return h
}

func (h host) path(name string) string { return filepath.Join(h.root, name) }

func (h host) put(name, text string) {
	h.t.Helper()
	if err := os.MkdirAll(filepath.Dir(h.path(name)), 0o755); err != nil {
		h.t.Fatal(err)
	}
	if err := os.WriteFile(h.path(name), []byte(text), 0o644); err != nil {
		h.t.Fatal(err)
	}
}

func (h host) want(name, text string) {
	h.t.Helper()
	got, err := os.ReadFile(h.path(name))
	if err != nil || string(got) != text {
		h.t.Errorf("%s: %q, %v; want %q", name, got, err, text)
	}
}

const (
	v2Mount = "1 0 0:1 / /cg rw - cgroup2 cgroup2 rw\n"
	v1Mount = "1 0 0:1 / /cg/memory rw - cgroup cgroup rw,memory\n2 0 0:2 / /cg/cpu rw - cgroup cgroup rw,cpu,cpuacct\n3 0 0:3 / /cg/pids rw - cgroup cgroup rw,pids\n"
)

func TestGroupOfV2(t *testing.T) {
	h := newHost(t, v2Mount, "0::/svc\n")
	h.put("/cg/svc/cgroup.controllers", "cpuset cpu io memory pids")
	m := Open(Options{RunTag: tag, Root: h.root})
	if r := m.Report(); r.Mechanism != CgroupV2 || !r.Memory || !r.CPU || !r.PIDs {
		t.Fatalf("report %+v", r)
	}
	base := "/cg/svc/hangar-" + tag
	h.want("/cg/svc/cgroup.subtree_control", "+cpu +memory +pids")
	h.want(base+"/cgroup.subtree_control", "+cpu +memory +pids")
	g, err := m.Prepare("a-b_c", 7, backends.Limits{Memory: 64 << 20, CPU: 0.5, PIDs: 20})
	if err != nil {
		t.Fatal(err)
	}
	dir := base + "/a-b_c.7"
	h.want(dir+"/memory.max", "67108864")
	h.want(dir+"/cpu.max", "50000 100000")
	h.want(dir+"/pids.max", "20")
	if e := g.Entry(); e.Dir != h.path(dir) || len(e.Tasks)+len(e.After) != 0 || e.Data != 0 {
		t.Errorf("entry %+v", e)
	}
	if _, err := m.Prepare("a-b_c", 7, backends.Limits{PIDs: 1}); !errors.Is(err, backends.ErrResource) {
		t.Errorf("a group made twice: %v, want ErrResource", err)
	}
}

func TestV2WithoutItsControllersIsNotUsed(t *testing.T) {
	h := newHost(t, v2Mount, "0::/\n")
	h.put("/cg/cgroup.controllers", "hugetlb")
	if r := Open(Options{RunTag: tag, Root: h.root}).Report(); r.Mechanism != Rlimit || r.PIDs || r.CPU || !r.Memory {
		t.Errorf("report %+v, want rlimit", r)
	}
	left, _ := filepath.Glob(h.path("/cg/hangar-*"))
	if len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestGroupOfV1(t *testing.T) {
	h := newHost(t, v1Mount, "3:pids:/\n2:cpu,cpuacct:/\n1:memory:/in\n")
	for _, dir := range []string{"/cg/memory/in/tasks", "/cg/cpu/tasks", "/cg/pids/tasks"} {
		h.put(dir, "")
	}
	m := Open(Options{RunTag: tag, Root: h.root})
	if r := m.Report(); r.Mechanism != CgroupV1 || !r.Memory || !r.CPU || !r.PIDs {
		t.Fatalf("report %+v", r)
	}
	g, err := m.Prepare("s", 1, backends.Limits{Memory: 64 << 20, CPU: 2, PIDs: 20})
	if err != nil {
		t.Fatal(err)
	}
	h.want("/cg/memory/in/hangar-"+tag+"/s.1/memory.limit_in_bytes", "67108864")
	h.want("/cg/pids/hangar-"+tag+"/s.1/pids.max", "21")
	if e := g.Entry(); len(e.Tasks) != 3 || len(e.Home) != 3 || len(e.After) != 2 || e.Home[0] != h.path("/cg/memory/in/tasks") {
		t.Errorf("entry %+v", e)
	}
	one, err := m.Prepare("s", 2, backends.Limits{PIDs: 3})
	if err != nil || len(one.Entry().Tasks) != 1 {
		t.Errorf("with one limit: %v, %+v, want one group", err, one)
	}
}

func TestLeftoversOfDeadRuntimesGo(t *testing.T) {
	h := newHost(t, v1Mount, "3:pids:/\n")
	h.put("/cg/pids/tasks", "")
	living := Open(Options{RunTag: "living", Root: h.root})
	for _, dir := range []string{"hangar-dead/s.1", "hangar-dead/s.2", "hangar-self-dead", "hangar-living/s.1", "other"} {
		if err := os.MkdirAll(h.path("/cg/pids/"+dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	left := func() string {
		entries, _ := os.ReadDir(h.path("/cg/pids"))
		var names []string
		for _, e := range entries {
			if e.IsDir() {
				names = append(names, e.Name())
			}
		}
		return strings.Join(names, " ")
	}
	next := Open(Options{RunTag: tag, Root: h.root})
	if got, want := left(), "hangar-"+tag+" hangar-living other"; got != want {
		t.Errorf("left are %q, want %q", got, want)
	}
	next.Close()
	os.Remove(h.path("/cg/pids/hangar-living/s.1"))
	living.Close()
	if got := left(); got != "other" {
		t.Errorf("after the end of both %q is left, want other", got)
	}
}

func TestExplain(t *testing.T) {
	h := newHost(t, "", "")
	h.put("events", "low 0\nmax 12\noom 1\noom_kill 1\n")
	h.put("peak", "67108864\n")
	group := func() *Group {
		return &Group{limits: backends.Limits{Memory: 64 << 20}, events: h.path("events"), peak: h.path("peak")}
	}
	for _, c := range []struct {
		name string
		exit backends.Exit
		want bool
	}{
		{"killed by the kernel", backends.Exit{Code: -1, Signal: "SIGKILL"}, true},
		{"a shell tells of it", backends.Exit{Code: 137}, true},
		{"another signal", backends.Exit{Code: -1, Signal: "SIGSEGV"}, false},
		{"exited later, by itself", backends.Exit{Code: 1}, false},
		{"we killed it", backends.Exit{Code: -1, Signal: "SIGKILL", Err: backends.ErrUnresponsive}, false},
		{"we stopped it", backends.Exit{Code: -1, Signal: "SIGKILL", Asked: true}, false},
	} {
		exit := c.exit
		group().Explain(&exit)
		if exit.OOM != c.want {
			t.Errorf("%s: OOM is %t, want %t", c.name, exit.OOM, c.want)
		}
		if c.want && (exit.MemoryPeak != 64<<20 || exit.MemoryLimit != 64<<20 || !strings.Contains(exit.String(), "oom_killed: memory limit 64 MiB, peak 64 MiB")) {
			t.Errorf("%s: %q with %+v", c.name, exit, exit)
		}
	}
	h.put("events", "oom_kill 0\n")
	exit := backends.Exit{Code: -1, Signal: "SIGKILL"}
	if group().Explain(&exit); exit.OOM {
		t.Error("OOM without a kill of the kernel")
	}
}
