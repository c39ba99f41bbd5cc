package e2e_test

import (
	"bufio"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// patience bounds what takes moments; a loaded host may need long.
const patience = 30 * time.Second

// detail is what the tests look at of GET /api/mcp_servers/{id}.
type detail struct {
	State       string  `json:"state"`
	Phase       string  `json:"phase"`
	Epoch       uint64  `json:"epoch"`
	PID         int     `json:"pid"`
	Restarts    int     `json:"restarts"`
	LastError   string  `json:"last_error"`
	NextRetryAt *string `json:"next_retry_at"`
	MemoryBytes int64   `json:"memory_bytes"`
	Health      health  `json:"health"`
}

type health struct {
	ConsecutiveFailures int    `json:"consecutive_failures"`
	Invocations         int    `json:"total_invocations"`
	InstanceFailures    uint64 `json:"instance_failures"`
	Noise               uint64 `json:"stdout_noise"`
	DroppedAnswers      uint64 `json:"dropped_answers"`
	DroppedLines        uint64 `json:"dropped_lines"`
}

func (h *hangar) detail(server string) detail {
	h.t.Helper()
	var d detail
	h.get("/api/mcp_servers/"+url.PathEscape(server), &d)
	return d
}

// await waits until the server is as wanted and returns how it is then.
func (h *hangar) await(server, what string, wanted func(detail) bool) detail {
	h.t.Helper()
	var d detail
	if !eventually(patience, func() bool { d = h.detail(server); return wanted(d) }) {
		h.t.Fatalf("%s: waited %s in vain for %s: %+v", server, patience, what, d)
	}
	return d
}

// readyAgain waits for the instance that follows the one of that epoch.
func (h *hangar) readyAgain(server string, epoch uint64) detail {
	h.t.Helper()
	return h.await(server, "the next instance", func(d detail) bool { return d.State == "ready" && d.Epoch > epoch })
}

// vitals are what must not grow with time.
type vitals struct {
	goroutines, descriptors int
	memory, heap            int64 // bytes
}

func (v vitals) String() string {
	return fmt.Sprintf("%d goroutines, %d descriptors, %.1f MiB of its own, heap %.1f MiB", v.goroutines, v.descriptors, mib(v.memory), mib(v.heap))
}

func mib(bytes int64) float64 { return float64(bytes) / (1 << 20) }

func (h *hangar) vitals() vitals {
	h.t.Helper()
	var answer struct {
		System struct {
			Goroutines int   `json:"goroutines"`
			Heap       int64 `json:"heap_bytes"`
		} `json:"system"`
	}
	h.get("/api/system", &answer)
	return vitals{answer.System.Goroutines, h.descriptors(), memory(h.t, h.command.Process.Pid), answer.System.Heap}
}

// descriptors counts what the program has open, but for the store's tables:
// there is one more whenever the log has grown by a memtable.
func (h *hangar) descriptors() (n int) {
	h.t.Helper()
	open, err := filepath.Glob(filepath.Join("/proc", strconv.Itoa(h.command.Process.Pid), "fd", "*"))
	if err != nil || len(open) == 0 {
		h.t.Fatalf("the program's descriptors cannot be read: %d, %v", len(open), err)
	}
	for _, name := range open {
		if target, err := os.Readlink(name); err != nil || !strings.HasSuffix(target, ".sst") {
			n++
		}
	}
	return n
}

// memory reads the resident memory of a process's own. The store's mapped files
// are not in it: they come and go with the page cache.
func memory(t *testing.T, pid int) int64 {
	t.Helper()
	file, err := os.Open(filepath.Join("/proc", strconv.Itoa(pid), "status"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for lines := bufio.NewScanner(file); lines.Scan(); {
		if text, ok := strings.CutPrefix(lines.Text(), "RssAnon:"); ok {
			kib, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(text, "kB")), 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return kib << 10
		}
	}
	t.Fatalf("process %d has no RssAnon", pid)
	return 0
}

// peak samples the program's own memory until the returned function is
// called, which tells the most.
func (h *hangar) peak() (most func() int64) {
	done, result := make(chan struct{}), make(chan int64)
	go func() {
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		highest := int64(0)
		for {
			highest = max(highest, memory(h.t, h.command.Process.Pid))
			select {
			case <-done:
				result <- highest
				return
			case <-tick.C:
			}
		}
	}()
	return func() int64 { close(done); return <-result }
}

// raceBuilt tells whether the program under test is built with the race
// detector, under which its memory says nothing.
func raceBuilt() bool { return strings.Contains(os.Getenv("HANGAR_BUILD_FLAGS"), "-race") }

// grownBy fails when the memory grew by more than allowed.
func grownBy(t *testing.T, from, to, allowed int64) {
	t.Helper()
	t.Logf("%.1f MiB, then %.1f MiB", mib(from), mib(to))
	if !raceBuilt() && to-from > allowed {
		t.Errorf("the memory grew by %.1f MiB, at most %.0f MiB may be needed", mib(to-from), mib(allowed))
	}
}

// undisturbed calls a server again and again until the returned function is
// called: no call may fail. It rests between calls: every call takes its bytes of
// the log's memtable (16 MiB), which would be told as memory that what is tested needs.
func (h *hangar) undisturbed(server string) (stop func()) {
	done, ended := make(chan struct{}), make(chan int)
	go func() {
		tick := time.NewTicker(2 * time.Millisecond)
		defer tick.Stop()
		for n := 0; ; n++ {
			select {
			case <-done:
				ended <- n
				return
			case <-tick.C:
			}
			text := fmt.Sprint(server, n)
			if result, err := h.call(server, "echo", map[string]any{"text": text}); err != nil || result.text() != text {
				h.t.Errorf("%s is disturbed: %v, answer %q", server, err, result.text())
			}
		}
	}()
	return func() {
		h.t.Helper()
		close(done)
		if n := <-ended; n == 0 {
			h.t.Errorf("%s was not called once", server)
		}
	}
}
