package e2e_test

import (
	"fmt"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// gone is how long processes of a killed program may take to end on a busy
// host; on an idle one it is a fifth of a second.
const gone = 10 * time.Second

// daemonised is a fleet of servers each with a grandchild that is hard to find:
// a session of its own, no environment, and it ignores SIGTERM.
func daemonised(count int) servers {
	fleet := servers{}
	for i := range count {
		fleet[fmt.Sprintf("stub-%03d", i)] = stub("-grandchild", "-clean-env", "-ignore-term")
	}
	return fleet
}

// family starts every server and returns all their processes.
func (h *hangar) family(fleet servers) []process {
	h.t.Helper()
	var mu sync.Mutex
	var wg sync.WaitGroup
	var all []process
	for id := range fleet {
		wg.Go(func() {
			for _, tool := range []string{"pid", "grandchild"} {
				result, err := h.call(id, tool, map[string]any{})
				if err != nil {
					h.t.Errorf("%s: %v", id, err)
					return
				}
				pid, err := strconv.Atoi(result.text())
				p, _, ok := readProcess(pid)
				if err != nil || !ok {
					h.t.Errorf("%s: %s told %q, which is no process", id, tool, result.text())
					continue
				}
				mu.Lock()
				all = append(all, p)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if h.t.Failed() {
		h.t.FailNow()
	}
	h.t.Cleanup(func() { // whatever the test finds, nothing of it stays
		for _, p := range all {
			if p.alive() {
				syscall.Kill(p.pid, syscall.SIGKILL)
			}
		}
	})
	return all
}

// processRow is one of GET /api/supervision/processes.
type processRow struct {
	PID     int    `json:"pid"`
	PPID    int    `json:"ppid"`
	Role    string `json:"role"`
	Server  string `json:"mcp_server_id"`
	Epoch   uint64 `json:"epoch"`
	Command string `json:"command"`
}

func (h *hangar) processes() (rows []processRow) {
	h.t.Helper()
	var answer struct{ Processes []processRow }
	h.get("/api/supervision/processes", &answer)
	return answer.Processes
}

// findReaper tells the reaper process, if there is one now.
func (h *hangar) findReaper() (p process, ok bool) {
	h.t.Helper()
	for _, row := range h.processes() {
		if row.Role == "reaper" {
			p, _, ok = readProcess(row.PID)
		}
	}
	return p, ok
}

func (h *hangar) reaper() process {
	h.t.Helper()
	p, ok := h.findReaper()
	if !ok {
		h.t.Fatal("there is no reaper")
	}
	return p
}

// TestKilledProgramLeavesNothing (R10): not even daemons of its servers.
func TestKilledProgramLeavesNothing(t *testing.T) {
	fleet := daemonised(fleetSize(t, 300))
	h := start(t, fleet)
	all := append(h.family(fleet), h.reaper())
	begin := time.Now()
	h.kill()
	noneLeft(t, all, gone)
	t.Logf("%d processes were gone %s after the kill", len(all), time.Since(begin).Round(time.Millisecond))

	h = h.again()
	if text := h.output.tail(64 << 10); !strings.Contains(text, "unclean_shutdown:true") || !strings.Contains(text, "processes_swept:0") {
		t.Errorf("the next start does not tell of the kill:\n%s", text)
	}
	h.mustCall("stub-000", "echo", map[string]any{"text": "x"})
	h.stop()
	if h = h.again(); !strings.Contains(h.output.tail(64<<10), "unclean_shutdown:false") {
		t.Error("the start after a clean stop tells of an unclean one")
	}
}

// TestStoppedProgramLeavesNothing is the clean end of the same fleet.
func TestStoppedProgramLeavesNothing(t *testing.T) {
	fleet := daemonised(5)
	h := start(t, fleet)
	all := append(h.family(fleet), h.reaper())
	h.stop()
	noneLeft(t, all, 0)
}

// TestKilledReaperIsReplaced (R11): its servers end with it and start again, at no
// cost of their restart budget.
func TestKilledReaperIsReplaced(t *testing.T) {
	fleet := daemonised(20)
	h := start(t, fleet)
	all, reaper := h.family(fleet), h.reaper()
	begin := time.Now()
	if err := syscall.Kill(reaper.pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	noneLeft(t, append(all, reaper), gone)
	t.Logf("%d processes were gone %s after the kill of the reaper", len(all), time.Since(begin).Round(time.Millisecond))
	if !eventually(readyWithin, func() bool {
		again := 0
		for _, row := range h.processes() {
			if row.Role == "instance" && row.Epoch == 2 {
				again++
			}
		}
		now, ok := h.findReaper()
		return again == len(fleet) && ok && now != reaper
	}) {
		t.Fatalf("not all servers run again: %+v", h.processes())
	}
	t.Logf("%d servers ran again %s after the kill", len(fleet), time.Since(begin).Round(time.Millisecond))
	h.family(fleet)
	var detail struct {
		Restarts *int   `json:"restarts"`
		State    string `json:"state"`
	}
	h.get("/api/mcp_servers/stub-000", &detail)
	if detail.Restarts == nil || *detail.Restarts != 0 || detail.State != "ready" {
		t.Errorf("got %+v, want no restart counted", detail)
	}
}

// TestNextStartSweeps (R10, R11): the program and its reaper die at the same moment, and
// the kernel alone knows of the daemons. A program on other data is not touched.
func TestNextStartSweeps(t *testing.T) {
	fleet := daemonised(10)
	other := start(t, servers{"bystander": daemonised(1)["stub-000"]})
	bystanders := append(other.family(servers{"bystander": nil}), other.reaper())

	h := start(t, fleet)
	all, reaper := h.family(fleet), h.reaper()
	syscall.Kill(h.command.Process.Pid, syscall.SIGSTOP) // it must not see the end of the reaper
	syscall.Kill(reaper.pid, syscall.SIGKILL)
	h.kill()
	if !eventually(gone, func() bool { return !reaper.alive() }) {
		t.Fatal("the reaper lives")
	}
	left := 0
	for _, p := range all {
		if p.alive() {
			left++
		}
	}
	if left < len(fleet) {
		t.Fatalf("%d processes are left to be swept, want the %d daemons at least", left, len(fleet))
	}

	h = h.again()
	noneLeft(t, all, gone)
	if text := h.output.tail(64 << 10); !strings.Contains(text, "unclean_shutdown:true") || strings.Contains(text, "processes_swept:0 ") {
		t.Errorf("the start does not tell of the sweep:\n%s", text)
	}
	for _, p := range bystanders {
		if !p.alive() {
			t.Errorf("%s of the other program was killed", p)
		}
	}
}

// TestProcessesAreShown: each with its role, and without arguments.
func TestProcessesAreShown(t *testing.T) {
	fleet := daemonised(1)
	h := start(t, fleet)
	all, reaper := h.family(fleet), h.reaper()
	if !eventually(gone, func() bool {
		roles := map[int]string{}
		for _, row := range h.processes() {
			of := row.Server + " " + strconv.FormatUint(row.Epoch, 10)
			if (row.Role == "instance" || row.Role == "descendant") != (of == "stub-000 1") || strings.Contains(row.Command, "-") && row.Role != "reaper" {
				t.Errorf("%+v", row)
			}
			roles[row.PID] = row.Role
		}
		return len(roles) == 4 && roles[h.command.Process.Pid] == "runtime" && roles[reaper.pid] == "reaper" &&
			roles[all[0].pid] == "instance" && roles[all[1].pid] == "descendant"
	}) {
		t.Errorf("got %+v, want the program, its reaper %s and %v", h.processes(), reaper, all)
	}
}
