package e2e_test

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// system is the part of GET /api/system about limits.
type system struct {
	Limits struct {
		Mechanism         string
		Memory, CPU, PIDs bool
		Why               string
	}
	Memory struct {
		ServersBytes int64 `json:"servers_bytes"`
		BudgetBytes  int64 `json:"budget_bytes"`
	}
}

func (h *hangar) system() system {
	h.t.Helper()
	var answer struct{ System system }
	h.get("/api/system", &answer)
	return answer.System
}

// limited is a stub with resources.
func limited(resources map[string]any, flags ...string) map[string]any {
	spec := stub(flags...)
	spec["resources"] = resources
	return spec
}

// TestServerAtItsMemoryLimit is C14 from outside: the call fails and says why,
// the server is back, its neighbour noticed nothing, no group is left.
func TestServerAtItsMemoryLimit(t *testing.T) {
	h := start(t, servers{
		"hungry":    limited(map[string]any{"memory": "64m", "cpu": 1.0, "pids": 200}, "-alloc-at-call", strconv.Itoa(256<<20)),
		"neighbour": stub(),
	})
	l := h.system().Limits
	t.Logf("this host: %+v", l)
	if l.Mechanism == "rlimit" {
		t.Skip("only a cgroup can prove why a process was killed: " + l.Why)
	}
	h.mustCall("neighbour", "echo", map[string]any{"text": "x"})
	before := h.detail("neighbour")
	_, err := h.call("hungry", "echo", map[string]any{"text": "x"})
	var refused *refusal
	if !errors.As(err, &refused) || refused.Name != "McpServerCrashedError" || !strings.Contains(refused.Message, "oom_killed: memory limit 64 MiB, peak ") {
		t.Errorf("the call: %v, want a crash that says oom_killed with limit and peak", err)
	}
	if !eventually(30*time.Second, func() bool { d := h.detail("hungry"); return d.State == "ready" && d.Epoch == 2 }) {
		t.Errorf("after the kill: %+v, want ready again", h.detail("hungry"))
	}
	if d := h.detail("hungry"); !strings.Contains(d.LastError, "oom_killed") {
		t.Errorf("the server's last error is %v, want oom_killed", d.LastError)
	}
	h.mustCall("neighbour", "echo", map[string]any{"text": "x"})
	if after := h.detail("neighbour"); after.PID != before.PID {
		t.Errorf("the neighbour was restarted: %+v, before %+v", after, before)
	}
	group := groupOf(t, h.detail("hungry").PID)
	h.stop()
	if _, err := os.Stat(filepath.Dir(group)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s is left after the end: %v", filepath.Dir(group), err)
	}
}

// groupOf is the directory of a process in the hierarchy that counts
// processes, or a skip.
func groupOf(t *testing.T, pid int) string {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(parts) != 3 || !strings.Contains(parts[2], "hangar-") {
			continue
		}
		switch parts[1] {
		case "pids":
			return "/sys/fs/cgroup/pids" + parts[2]
		case "":
			return "/sys/fs/cgroup" + parts[2]
		}
	}
	t.Skipf("process %d is in no group that counts processes:\n%s", pid, text)
	return ""
}

// TestNoProcessSlotLeft is E01: fork fails for a while. The start fails as
// resource_exhausted, costs no attempt, is tried again and succeeds soon after
// the lift.
func TestNoProcessSlotLeft(t *testing.T) {
	resources := map[string]any{"pids": 500}
	h := start(t, servers{"crashing": limited(resources), "steady": limited(resources), "late": limited(resources)})
	if l := h.system().Limits; !l.PIDs {
		t.Skipf("this host cannot count processes: %s", l.Why)
	}
	for _, id := range []string{"crashing", "steady"} {
		h.mustCall(id, "echo", map[string]any{"text": "x"})
	}
	pid := h.detail("crashing").PID
	// The group above those of all servers; the runtime itself is not in it.
	limit := filepath.Join(filepath.Dir(groupOf(t, pid)), "pids.max")
	set := func(text string) {
		t.Helper()
		if err := os.WriteFile(limit, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	threads, files := countOf(t, h, "task"), countOf(t, h, "fd")
	set("1")
	defer set("max")
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	short := func() bool {
		d := h.detail("crashing")
		return d.Phase == "backoff" && d.Epoch >= 4 && strings.Contains(d.LastError, "resource_exhausted")
	}
	if !eventually(30*time.Second, short) {
		t.Fatalf("without a process slot: %+v, want retries that fail as resource_exhausted", h.detail("crashing"))
	}
	// One failure and no restart count: those of the crash. What was tried since costs nothing.
	if d := h.detail("crashing"); d.Restarts != 0 || d.Health.ConsecutiveFailures != 1 {
		t.Errorf("%d restarts and %d failures are counted, want none and the crash", d.Restarts, d.Health.ConsecutiveFailures)
	}
	_, err := h.call("late", "echo", map[string]any{"text": "x"})
	if err == nil || !strings.Contains(err.Error(), "resource_exhausted") {
		t.Errorf("the first start of a server: %v, want resource_exhausted", err)
	}
	h.mustCall("steady", "echo", map[string]any{"text": "x"})

	set("max")
	lifted := time.Now()
	if !eventually(30*time.Second, func() bool { return h.detail("crashing").State == "ready" }) {
		t.Fatalf("after the lift: %+v, want ready", h.detail("crashing"))
	}
	took := time.Since(lifted)
	t.Logf("ready again %s after the lift", took.Round(time.Millisecond))
	if took > 20*time.Second { // 10 s is the promise
		t.Errorf("ready only %s after the lift, want at most 10s", took)
	}
	h.mustCall("late", "echo", map[string]any{"text": "x"})
	// One server more than before, and what its link needs.
	if now := countOf(t, h, "fd"); now > files+12 {
		t.Errorf("%d descriptors, %d before", now, files)
	}
	if now := countOf(t, h, "task"); now > threads+8 {
		t.Errorf("%d threads, %d before", now, threads)
	}
}

// countOf counts the descriptors (fd) or threads (task) of the program.
func countOf(t *testing.T, h *hangar, what string) int {
	t.Helper()
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/%s", h.command.Process.Pid, what))
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

// TestNoDescriptorLeft is E02: with few descriptors servers are refused before
// the last ones are gone, health answers, a flood of connections passes, and
// with more descriptors all is well.
func TestNoDescriptorLeft(t *testing.T) {
	const limit, reserve, count = 256, 64, 80
	fleet := servers{}
	for i := range count {
		fleet[fmt.Sprintf("stub-%02d", i)] = stub()
	}
	h := start(t, fleet)
	allow := func(n uint64) {
		t.Helper()
		if err := unix.Prlimit(h.command.Process.Pid, unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: n, Max: 20000}, nil); err != nil {
			t.Fatal(err)
		}
	}
	allow(limit)
	calls := func() (served, refused int) {
		var mu sync.Mutex
		var wg sync.WaitGroup
		next := make(chan string)
		for range 4 {
			wg.Go(func() {
				for id := range next {
					_, err := h.call(id, "echo", map[string]any{"text": "x"})
					mu.Lock()
					switch {
					case err == nil:
						served++
					case strings.Contains(err.Error(), "resource_exhausted"):
						refused++
					default:
						t.Errorf("%s: %v, want an answer or resource_exhausted", id, err)
					}
					mu.Unlock()
				}
			})
		}
		for id := range fleet {
			next <- id
		}
		close(next)
		wg.Wait()
		return served, refused
	}
	served, refused := calls()
	t.Logf("%d descriptors: %d servers run, %d were refused", limit, served, refused)
	if served < 20 || refused < 20 {
		t.Fatalf("%d servers run and %d were refused, want some of both", served, refused)
	}
	files := countOf(t, h, "fd")
	if files > limit-reserve+20 {
		t.Errorf("%d descriptors are open, want the last %d left free by servers", files, reserve)
	}
	// A start needs more descriptors than what runs: alone, another may succeed.
	if again, _ := calls(); again < served {
		t.Errorf("%d servers answer, %d before: what ran must go on", again, served)
	}
	if now := countOf(t, h, "fd"); now > files+8 {
		t.Errorf("%d descriptors after %d refused starts, %d before: pipes are left", now, refused, files)
	}
	for id, s := range h.list() {
		if s.State == "ready" {
			continue
		}
		if d := h.detail(id); d.Restarts != 0 || d.Health.ConsecutiveFailures != 0 {
			t.Fatalf("%s was refused and has %d restarts, %d failures; want none", id, d.Restarts, d.Health.ConsecutiveFailures)
		}
	}
	healthy := func() bool {
		fresh := &http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
		for _, path := range []string{"/healthz", "/health/live"} {
			response, err := fresh.Get(h.url + path)
			if err != nil {
				return false
			}
			response.Body.Close()
			if response.StatusCode != http.StatusOK {
				return false
			}
		}
		return true
	}
	if !healthy() {
		t.Error("health does not answer when servers are refused")
	}
	var flood []net.Conn
	for range limit {
		conn, err := net.DialTimeout("tcp", "127.0.0.1:"+strconv.Itoa(h.port), 5*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		flood = append(flood, conn)
	}
	if !eventually(30*time.Second, healthy) {
		t.Error("health does not answer under a flood of silent connections")
	}
	for _, conn := range flood {
		conn.Close()
	}
	if !eventually(30*time.Second, healthy) {
		t.Error("health does not answer after the flood")
	}
	allow(20000)
	if served, refused := calls(); served != count {
		t.Errorf("with descriptors %d servers answer, %d are refused; want all", served, refused)
	}
}

// TestMemoryBudget: over the budget the server that nobody used for longest is
// stopped, and comes back when it is called.
func TestMemoryBudget(t *testing.T) {
	t.Parallel()
	const grown = 96 << 20
	fleet := servers{}
	for i := range 3 {
		fleet[fmt.Sprintf("stub-%d", i)] = stub("-alloc-at-call", strconv.Itoa(grown))
	}
	h := startConfig(t, map[string]any{"mcp_servers": fleet, "limits": map[string]any{"memory_budget": "250m"}})
	for i := range 3 {
		h.mustCall(fmt.Sprintf("stub-%d", i), "echo", map[string]any{"text": "x"})
	}
	if !eventually(60*time.Second, func() bool { return h.list()["stub-0"].State == "cold" }) {
		t.Fatalf("over the budget nobody was stopped: %+v, %v", h.system().Memory, h.list())
	}
	if s := h.list(); s["stub-2"].State != "ready" {
		t.Errorf("the server used last is %s, want ready", s["stub-2"].State)
	}
	if m := h.system().Memory; m.BudgetBytes != 250<<20 {
		t.Errorf("memory: %+v", m)
	}
	if d := h.detail("stub-2"); d.MemoryBytes < grown {
		t.Errorf("stub-2 has %d bytes, want more than it took", d.MemoryBytes)
	}
	h.mustCall("stub-0", "echo", map[string]any{"text": "x"})
}

// TestInheritedDescriptorsStayInside: what the program was started with is not
// for its servers.
func TestInheritedDescriptorsStayInside(t *testing.T) {
	// The harness's own child inherits what is not marked; mark a pipe so.
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	if _, err := unix.FcntlInt(r.Fd(), unix.F_SETFD, 0); err != nil {
		t.Fatal(err)
	}
	pipe, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", r.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	h := start(t, servers{"one": stub()})
	h.mustCall("one", "echo", map[string]any{"text": "x"})
	if !holds(t, h.command.Process.Pid, pipe) {
		t.Fatal("the program did not inherit the pipe: this test proves nothing")
	}
	if pid := h.detail("one").PID; holds(t, pid, pipe) {
		t.Errorf("server process %d has the pipe that the program was started with", pid)
	}
}

// holds tells whether a process has the file open.
func holds(t *testing.T, pid int, file string) bool {
	t.Helper()
	links, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	if err != nil || len(links) == 0 {
		t.Fatalf("cannot read the descriptors of %d: %v", pid, err)
	}
	for _, link := range links {
		if target, _ := os.Readlink(link); target == file {
			return true
		}
	}
	return false
}

// TestGroupsOfAKilledRuntimeGo: nothing of a runtime that was killed stays in
// the hierarchy once the next one has started.
func TestGroupsOfAKilledRuntimeGo(t *testing.T) {
	h := start(t, servers{"one": limited(map[string]any{"pids": 200}, "-grandchild")})
	if l := h.system().Limits; !l.PIDs {
		t.Skipf("this host cannot count processes: %s", l.Why)
	}
	h.mustCall("one", "echo", map[string]any{"text": "x"})
	group := groupOf(t, h.detail("one").PID)
	mine := h.kill()
	if _, err := os.Stat(group); err != nil {
		t.Fatalf("the group of a killed runtime: %v, want it left for this test", err)
	}
	again := h.again()
	if _, err := os.Stat(filepath.Dir(group)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s is left after the next start: %v", filepath.Dir(group), err)
	}
	noneLeft(t, mine, 5*time.Second) // the grandchild left its session and its parent, not its group
	again.mustCall("one", "echo", map[string]any{"text": "x"})
}
