package main

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"slices"
	"time"

	"github.com/aabb9013/hangar"
	"github.com/aabb9013/hangar/internal/procs"
)

// idlePause is how long nothing may have happened before memory is given
// back.
const idlePause = time.Second

// idleLooks are the looks of an idle time at which memory is given back: at its
// beginning; a moment later, when the pools have let go of what they kept; when
// the servers' counters are saved; and when the connections of a burst, which
// the HTTP server keeps for 10 s, have ended.
var idleLooks = []int{1, 2, 8, 15}

// idleGarbage is how much an idle runtime may allocate before its memory is given
// back once more.
const idleGarbage = 4 << 20

// gcPercent is lower than Go's 100, because the heap it is a share of holds
// some 20 MiB of the store's memtable that is mostly untouched.
const gcPercent = 25

// keepSmall gives memory back when the runtime falls idle: what starts and
// bursts left behind would otherwise stay with the process for minutes. It
// looks once a second, and acts at some looks of an idle time and then whenever
// what goes on in an idle runtime, such as measuring its servers, has left
// garbage. It ends with ctx.
func keepSmall(ctx context.Context, rt *hangar.Runtime) {
	debug.SetGCPercent(gcPercent)
	tick := time.NewTicker(idlePause)
	defer tick.Stop()
	seen, quiet := rt.Activity(), 0
	garbage := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	var before uint64
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if now := rt.Activity(); now != seen {
			seen, quiet = now, 0
			continue
		}
		quiet++
		if slices.Contains(idleLooks, quiet) || allocated(garbage)-before > idleGarbage {
			debug.FreeOSMemory()
			procs.DropFilePages()
			before = allocated(garbage)
		}
	}
}

// allocated is how much the program has allocated since its start.
func allocated(sample []metrics.Sample) uint64 {
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}
