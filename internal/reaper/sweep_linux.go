package reaper

import (
	"os"
	"time"

	"github.com/aabb9013/hangar/internal/procs"
)

// sweepPause is how long killed processes may take to go before a sweep looks
// again.
const sweepPause = 5 * time.Millisecond

// Sweep kills every process of the owner that this user may kill, in any
// session and under any parent, and returns how many it killed. It looks again
// until none is left, at most for the time given; left is what it saw last and
// could not end by then. The calling process is spared. Nothing that is to
// live may be started for the owner meanwhile.
func Sweep(o Owner, within time.Duration) (killed, left int) {
	type life struct {
		pid   int
		start uint64
	}
	seen := make(map[life]bool)
	deadline := time.Now().Add(within)
	for self := os.Getpid(); ; time.Sleep(sweepPause) {
		left = 0
		for _, pid := range procs.PIDs() {
			if pid == self || !o.belongs(pid) {
				continue
			}
			info, err := procs.Read(pid)
			if err != nil || info.Dead() {
				continue
			}
			left++
			if id := (life{pid, info.Start}); killIf(pid, func() bool { return o.belongs(pid) }) && !seen[id] {
				seen[id] = true
				killed++
			}
		}
		if left == 0 || time.Now().After(deadline) {
			return killed, left
		}
	}
}
