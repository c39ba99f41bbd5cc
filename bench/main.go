// Command bench measures Hangar's call path against its limits: see README.md.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/aabb9013/hangar/internal/testserver"
)

func main() {
	testserver.ExecIfRequested()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	run, args := harness, os.Args[1:]
	if len(args) > 0 {
		for _, others := range []map[string]func(context.Context, []string) error{roles, trials} {
			if other := others[args[0]]; other != nil {
				run, args = other, args[1:]
				break
			}
		}
	}
	if err := run(ctx, args); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}
