package main

import (
	"context"
	"runtime/debug"
	"time"

	"github.com/aabb9013/hangar"
	"github.com/aabb9013/hangar/internal/procs"
)

// idlePause is how long nothing may have happened before memory is given
// back.
const idlePause = time.Second

// gcPercent is lower than Go's 100, because the heap it is a share of holds
// some 20 MiB of the store's memtable that is mostly untouched.
const gcPercent = 25

// keepSmall gives memory back when the runtime falls idle: what starts and
// bursts left behind would otherwise stay with the process for minutes. It
// looks once a second and acts once per idle time. It ends with ctx.
func keepSmall(ctx context.Context, rt *hangar.Runtime) {
	debug.SetGCPercent(gcPercent)
	tick := time.NewTicker(idlePause)
	defer tick.Stop()
	seen, given := rt.Activity(), false
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		now := rt.Activity()
		switch {
		case now != seen:
			seen, given = now, false
		case !given:
			debug.FreeOSMemory()
			procs.DropProgramPages()
			given = true
		}
	}
}
