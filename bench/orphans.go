package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"
)

// orphanGrace is how long after the death of the runtime its processes may live.
const orphanGrace = time.Second

type orphans struct {
	settings
	servers     int
	reaperFirst bool
}

// runOrphans kills the runtime with kill -9, its servers each with a grandchild in a session of its own, and prints
// what is left after a second, or, with the reaper killed first, after the next start.
func runOrphans(ctx context.Context, args []string) error {
	var o orphans
	fs := trialFlags("orphans", &o.settings)
	fs.IntVar(&o.servers, "servers", 300, "servers")
	fs.BoolVar(&o.reaperFirst, "reaper-first", false, "kill the reaper just before the runtime, and start the runtime again")
	rounds, err := leadingNumber(fs, args, "number of rounds", 1, 20)
	if err != nil {
		return ignoreHelp(err)
	}
	o.stubFlags = []string{"-grandchild"}
	done, err := o.open()
	if err != nil {
		return err
	}
	defer done()
	what, when := "the runtime", orphanGrace.String()
	if o.reaperFirst {
		what, when = "the reaper, then of the runtime,", "the next start"
	}
	fmt.Printf("kill -9 of %s with %d servers, each with a grandchild in a session of its own; load average %s.\n\n", what, o.servers, loadAverage())
	fmt.Printf("| round | processes before | left after %s | the last was gone after |\n|---:|---:|---:|---|\n", when)
	bad := 0
	for round := range rounds {
		r, err := o.round(ctx)
		if err != nil {
			return err
		}
		last := "–"
		if r.left == 0 {
			last = ms(r.gone)
		} else {
			bad++
		}
		fmt.Printf("| %d | %d | %d | %s |\n", round+1, r.before, r.left, last)
	}
	if bad > 0 {
		return fmt.Errorf("processes were left in %d of %d rounds", bad, rounds)
	}
	return nil
}

// orphaned is how one round went.
type orphaned struct {
	before, left int
	gone         time.Duration // since the kill; meaningful when none is left
}

func (o *orphans) round(ctx context.Context) (r orphaned, err error) {
	if o.dataDir, err = os.MkdirTemp(o.dir, "data-"); err != nil {
		return r, err
	}
	t, err := o.start(ctx, o.servers)
	if err != nil {
		return r, err
	}
	defer t.target.stop()
	if err := t.prime(); err != nil {
		return r, err
	}
	old := o.tagged()
	if r.before = len(old); r.before < 1+2*o.servers {
		return r, fmt.Errorf("%d processes run, want the runtime, %d servers and as many grandchildren", r.before, o.servers)
	}
	var victims []int
	if o.reaperFirst {
		reaper, err := t.reaper()
		if err != nil {
			return r, err
		}
		victims = append(victims, reaper)
	}
	at := time.Now()
	for _, pid := range append(victims, t.pid) {
		if err := o.kill(pid); err != nil {
			return r, err
		}
	}
	left := o.tagged // by the mark, not by the list: what was born meanwhile counts too
	if o.reaperFirst {
		<-t.done
		again, err := o.start(ctx, o.servers)
		if err != nil {
			return r, err
		}
		defer again.target.stop()
		left = func() []int { return slices.DeleteFunc(slices.Clone(old), func(pid int) bool { return !o.owns(pid) }) }
	}
	for deadline := time.Now().Add(orphanGrace); ; pause(ctx, lookAgain) {
		now := time.Now()
		r.left = len(left())
		r.gone = time.Since(at) // a look takes its time, and who is seen last may have lived as long
		if r.left == 0 || now.After(deadline) || ctx.Err() != nil {
			break
		}
	}
	if r.left > 0 {
		for _, pid := range left() {
			_ = o.kill(pid)
		}
	}
	return r, ctx.Err()
}

// reaper finds the process that owns the children.
func (t *trial) reaper() (pid int, err error) {
	var answer struct {
		Processes []struct {
			PID  int
			Role string
		}
	}
	if err := t.request("GET", "/api/supervision/processes", "", &answer); err != nil {
		return 0, fmt.Errorf("cannot find the reaper: %w", err)
	}
	for _, p := range answer.Processes {
		if p.Role == "reaper" {
			return p.PID, nil
		}
	}
	return 0, errors.New("this runtime has no reaper process")
}
