package main

import (
	"context"
	"os"

	"github.com/aabb9013/hangar"
)

// reloadOnHangup reloads the configuration file at every SIGHUP, one after the
// other, until ctx ends. What comes during a reload causes one more.
func reloadOnHangup(ctx context.Context, rt *hangar.Runtime, hangup <-chan os.Signal) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-hangup:
			// How it went is an event, and in the log.
			_, _ = rt.Reload(ctx, hangar.ReloadOptions{RequestedBy: "SIGHUP"})
		}
	}
}
