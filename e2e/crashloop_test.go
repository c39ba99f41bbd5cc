package e2e_test

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestCrashLoopsAreCheap is R04 with real children: fifty servers that exit at
// once are started six times each and then given up, every failure before the
// last says when the next start is, and all that takes of the minute's CPU no
// more than a tenth of a core.
func TestCrashLoopsAreCheap(t *testing.T) {
	const count, starts, share = 50, 6, 6 * time.Second
	fleet := servers{}
	for i := range count {
		fleet[fmt.Sprintf("loop-%02d", i)] = stub("-crash-loop")
		fleet[fmt.Sprintf("loop-%02d", i)].(map[string]any)["restart"] = "permanent"
	}
	h := start(t, fleet)
	for id := range fleet {
		h.await(id, "its end", func(d detail) bool { return d.Phase == "gave_up" })
	}
	used := cpuOf(t, h.command.Process.Pid)
	t.Logf("%s of CPU for %d crash loops", used, count)
	if used > share && !raceBuilt() {
		t.Errorf("the crash loops took %s of CPU, at most %s is a tenth of a core for a minute", used, share)
	}
	for id := range fleet {
		if d := h.detail(id); d.Epoch != starts || d.State != "dead" {
			t.Errorf("%s: %+v, want it dead after %d starts", id, d, starts)
		}
		var answer struct {
			Crashes []struct {
				Decision struct {
					Action string
					Until  *time.Time
				}
			}
		}
		h.get("/api/mcp_servers/"+id+"/crashes", &answer)
		if len(answer.Crashes) != starts {
			t.Errorf("%s has %d dossiers, want one of each of %d starts", id, len(answer.Crashes), starts)
			continue
		}
		for i, c := range answer.Crashes { // newest first
			last := i == 0
			if action := c.Decision.Action; (action == "gave_up") != last || (action == "backoff" && c.Decision.Until != nil) == last {
				t.Errorf("%s: %d failures before the last the decision was %+v", id, i, c.Decision)
			}
		}
	}
}

// cpuOf is the time that a process has had of all processors.
func cpuOf(t *testing.T, pid int) time.Duration {
	t.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(stat), ") ")
	fields := strings.Fields(after)
	total := time.Duration(0)
	for _, field := range fields[11:13] { // utime, stime
		ticks, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		total += time.Duration(ticks) * 10 * time.Millisecond
	}
	return total
}
