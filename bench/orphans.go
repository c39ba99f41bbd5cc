package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"syscall"
	"time"
)

// orphanGrace is how long after the death of the runtime its processes may live.
const orphanGrace = time.Second

// runOrphans kills the runtime with kill -9, its servers each with a grandchild in a session of its own, and prints
// what is left after a second.
func runOrphans(ctx context.Context, args []string) error {
	var s settings
	fs := trialFlags("orphans", &s)
	servers := fs.Int("servers", 300, "servers")
	if len(args) == 0 {
		return errors.New("-orphans needs a number of rounds, for example -orphans 20")
	}
	rounds, err := strconv.Atoi(args[0])
	if err != nil || rounds < 1 {
		return fmt.Errorf("-orphans: %q is no number of rounds", args[0])
	}
	if err := fs.Parse(args[1:]); err != nil {
		return ignoreHelp(err)
	}
	s.stubFlags = []string{"-grandchild"}
	done, err := s.open()
	if err != nil {
		return err
	}
	defer done()
	fmt.Printf("kill -9 of the runtime with %d servers, each with a grandchild in a session of its own; load average %s.\n\n", *servers, loadAverage())
	fmt.Printf("| round | processes before | left after %s | the last was gone after |\n|---:|---:|---:|---|\n", orphanGrace)
	bad := 0
	for round := range rounds {
		before, left, gone, err := s.orphanRound(ctx, *servers)
		if err != nil {
			return err
		}
		last := "–"
		if left == 0 {
			last = ms(gone)
		} else {
			bad++
		}
		fmt.Printf("| %d | %d | %d | %s |\n", round+1, before, left, last)
	}
	if bad > 0 {
		return fmt.Errorf("processes were left in %d of %d rounds", bad, rounds)
	}
	return nil
}

func (s *settings) orphanRound(ctx context.Context, servers int) (before, left int, gone time.Duration, err error) {
	t, err := s.start(ctx, servers)
	if err != nil {
		return 0, 0, 0, err
	}
	defer t.target.stop()
	if err := t.prime(); err != nil {
		return 0, 0, 0, err
	}
	processes := s.tagged()
	if len(processes) < 1+2*servers {
		return 0, 0, 0, fmt.Errorf("%d processes run, want the runtime, %d servers and as many grandchildren", len(processes), servers)
	}
	at := time.Now()
	if err := syscall.Kill(t.pid, syscall.SIGKILL); err != nil {
		return 0, 0, 0, err
	}
	for {
		// By the mark, not by the list: what was born meanwhile counts too.
		left = len(s.tagged())
		if gone = time.Since(at); left == 0 || gone > orphanGrace || ctx.Err() != nil {
			break
		}
		pause(ctx, lookAgain)
	}
	if left > 0 {
		fmt.Fprintf(os.Stderr, "bench: killed %d orphans\n", s.sweep())
	}
	return len(processes), left, gone, ctx.Err()
}
