package limits

import (
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// NodeMemory is the memory that this process and its children may use: that of
// the host, or of the container if it has less. 0 if it cannot be told.
func NodeMemory() int64 { return nodeMemory("/") }

func nodeMemory(root string) int64 {
	memory := int64(0)
	meminfo, _ := os.ReadFile(filepath.Join(root, "/proc/meminfo"))
	for line := range strings.Lines(string(meminfo)) {
		if kib, ok := strings.CutPrefix(line, "MemTotal:"); ok {
			n, _ := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(kib), "kB")), 10, 64)
			memory = n << 10
		}
	}
	mountinfo, _ := os.ReadFile(filepath.Join(root, "/proc/self/mountinfo"))
	cgroup, _ := os.ReadFile(filepath.Join(root, "/proc/self/cgroup"))
	p := findPlace(string(mountinfo), string(cgroup))
	for dir, file := range map[string]string{p.v2: "memory.max", p.v1["memory"]: "memory.limit_in_bytes"} {
		// A limit holds for everything below it.
		for ; len(dir) > 1; dir = filepath.Dir(dir) {
			text, err := os.ReadFile(filepath.Join(root, dir, file))
			if err != nil {
				continue // the root of v2 has none
			}
			limit, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
			if err == nil && limit > 0 && limit < math.MaxInt64/2 && (memory == 0 || limit < memory) {
				memory = limit
			}
		}
	}
	return memory
}
