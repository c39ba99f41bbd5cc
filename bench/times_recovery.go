package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/aabb9013/hangar/bench/driver"
)

const (
	calmServers = 50
	calmRate    = 200 // calls in a second
	calmTime    = 5 * time.Second
	killRounds  = 100
)

// killsOneByOne is R01 and R02: kills under load beside the same load without any, and kills of a fleet at rest.
func (t *times) killsOneByOne(ctx context.Context) error {
	calm, err := t.calm(ctx)
	if err != nil {
		return err
	}
	r := recovery{settings: t.settings, servers: calmServers, rounds: killRounds, victims: calmServers / 2, apart: 100 * time.Millisecond}
	loaded, err := r.kills(ctx, calmRate)
	if err != nil {
		return err
	}
	idle, err := r.kills(ctx, 0)
	if err != nil {
		return err
	}
	t.count("R01", fmt.Sprintf("errors of the half of %d servers that is not killed, %d kills at %d calls/s", calmServers, killRounds, calmRate), loaded.load.Failed, 0)
	t.atMost("R01", fmt.Sprintf("p99 of their calls; of all without kills %s", ms(calm)), loaded.load.P99, calm+5*time.Millisecond)
	t.atMost("R02", "overhead p50, idle", idle.overhead.Quantile(0.5), goalOverheadP50)
	t.atMost("R02", "overhead p99, idle", idle.overhead.Quantile(0.99), goalOverheadIdle)
	t.atMost("R02", "overhead p99, loaded", loaded.overhead.Quantile(0.99), goalOverheadLoad)
	return t.detection(ctx)
}

// calm is the p99 of calls that nothing disturbs.
func (t *times) calm(ctx context.Context) (time.Duration, error) {
	running, err := t.start(ctx, calmServers)
	if err != nil {
		return 0, err
	}
	defer running.stop()
	if err := running.prime(); err != nil {
		return 0, err
	}
	l := running.startLoad(calmRate)
	pause(ctx, calmTime)
	result := l.stop()
	return result.P99, errors.Join(result.err(), ctx.Err())
}

// detection is from the kill of a child to the moment that its dossier has.
func (t *times) detection(ctx context.Context) error {
	running, err := t.start(ctx, calmServers)
	if err != nil {
		return err
	}
	defer running.stop()
	if err := running.prime(); err != nil {
		return err
	}
	var seen driver.Histogram
	for i := range calmServers {
		took, err := t.killAndSee(ctx, running, i)
		if err != nil {
			return err
		}
		seen.Record(took)
	}
	t.atMost("R02", "kill to detection p99", seen.Quantile(0.99), 20*time.Millisecond)
	return nil
}

// killAndSee kills the child of a server and returns how long the runtime took to see that.
func (t *times) killAndSee(ctx context.Context, on *trial, i int) (time.Duration, error) {
	before, err := on.standing(i)
	if err != nil {
		return 0, err
	}
	at := time.Now()
	if err := t.kill(before.PID); err != nil {
		return 0, err
	}
	if _, err := on.next(ctx, i, before.Epoch); err != nil {
		return 0, err
	}
	seen, err := on.seenDead(i)
	return max(seen.Sub(at), 0), err
}

func (t *times) killsAtOnce(ctx context.Context) error {
	r := recovery{settings: t.settings, burst: t.killed}
	all, err := r.atOnce(ctx)
	if err != nil {
		return err
	}
	t.atMost("R03", fmt.Sprintf("%d killed at once: all ready", t.killed), all.ready, goalAllReady)
	t.atMost("R03", fmt.Sprintf("status query p99 meanwhile, %d queries", all.status.Count()), all.status.Quantile(0.99), goalStatus)
	return nil
}

// crashLoops counts the CPU of the runtime and its reaper from before the servers are made.
func (t *times) crashLoops(ctx context.Context) error {
	running, err := t.alone(ctx)
	if err != nil {
		return err
	}
	defer running.stop()
	reaper, err := running.reaper()
	if err != nil {
		return err
	}
	used := func() (sum time.Duration, err error) {
		for _, pid := range []int{running.pid, reaper} {
			one, err := driver.CPU(pid)
			if err != nil {
				return 0, err
			}
			sum += one
		}
		return sum, nil
	}
	before, err := used()
	if err != nil {
		return err
	}
	began := time.Now()
	for i := 1; i <= t.loops; i++ {
		if err := t.make(running, i, map[string]any{"restart": "permanent"}, "-crash-loop"); err != nil {
			return err
		}
	}
	pause(ctx, t.loopTime-time.Since(began))
	after, err := used()
	if err != nil {
		return err
	}
	elapsed, most := time.Since(began), uint64(0)
	for i := 1; i <= t.loops; i++ {
		s, err := running.standing(i)
		if err != nil {
			return err
		}
		most = max(most, s.Epoch)
	}
	t.count("R04", fmt.Sprintf("most starts of one of %d crash loops in %.0f s", t.loops, elapsed.Seconds()), int(most), 6)
	t.atMost("R04", "CPU of runtime and reaper meanwhile, a tenth of a core allowed", after-before, elapsed/10)
	return ctx.Err()
}

// runtimeKilled is one round of -orphans.
func (t *times) runtimeKilled(ctx context.Context) error {
	left, gone, err := t.orphaned(ctx, t.killed, false)
	if err != nil {
		return err
	}
	t.count("R10", fmt.Sprintf("processes left of %d servers with a daemon each, a second after kill -9", t.killed), left, 0)
	t.atMost("R10", "the last one was gone", gone, orphanGrace)
	return nil
}

func (t *times) orphaned(ctx context.Context, servers int, reaperFirst bool) (left int, gone time.Duration, err error) {
	o := orphans{settings: t.settings, servers: servers, reaperFirst: reaperFirst}
	o.stubFlags = []string{"-grandchild"}
	r, err := o.round(ctx)
	return r.left, r.gone, err
}

// reaperKilled is R11: from the kill of the reaper until another one holds all servers, ready, and the old ones are gone.
func (t *times) reaperKilled(ctx context.Context) error {
	const servers = 100
	alone := *t
	alone.stubFlags = []string{"-grandchild"}
	running, err := alone.start(ctx, servers)
	if err != nil {
		return err
	}
	defer running.stop()
	if err := running.prime(); err != nil {
		return err
	}
	reaper, err := running.reaper()
	if err != nil {
		return err
	}
	old := map[int]bool{}
	for _, pid := range t.tagged() {
		old[pid] = pid != running.pid
	}
	at := time.Now()
	if err := t.kill(reaper); err != nil {
		return err
	}
	gone, err := t.awaitGone(ctx, old, at)
	if err != nil {
		return err
	}
	over := time.Duration(0)
	for i := range servers {
		s, err := running.next(ctx, i, 1)
		if err != nil {
			return err
		}
		over = max(over, s.readySince().Sub(at))
	}
	if now, err := running.reaper(); err != nil || now == reaper {
		return errors.Join(errors.New("there is no other reaper"), err)
	}
	t.atMost("R11", fmt.Sprintf("kill -9 of the reaper: the old processes of %d servers with daemons were gone", servers), gone, 2*time.Second)
	t.atMost("R11", "kill -9 of the reaper: all servers ready under another one", over, 2*time.Second)
	running.stop() // its processes would be counted
	left, _, err := t.orphaned(ctx, servers, true)
	if err != nil {
		return err
	}
	t.count("R11", "kill -9 of reaper and runtime: processes left after the next start", left, 0)
	return nil
}

// awaitGone waits until none of these processes is left.
func (t *times) awaitGone(ctx context.Context, old map[int]bool, since time.Time) (gone time.Duration, err error) {
	for left := 1; left > 0; {
		left = 0
		for _, pid := range t.tagged() {
			if old[pid] {
				left++
			}
		}
		gone = time.Since(since)
		if gone > readyAgain || ctx.Err() != nil {
			return gone, errors.Join(fmt.Errorf("%d processes are left after %s", left, gone), ctx.Err())
		}
	}
	return gone, nil
}
