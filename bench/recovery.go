package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"time"

	"github.com/aabb9013/hangar/bench/driver"
)

// Goals of the recovery of a killed child, above its own start.
const (
	goalOverheadP50  = 30 * time.Millisecond
	goalOverheadIdle = 150 * time.Millisecond // p99
	goalOverheadLoad = 500 * time.Millisecond // p99
	goalAllReady     = 15 * time.Second
	goalStatus       = 100 * time.Millisecond // p99 of the list while all servers come back
)

// ownStarts is how often the start of a child without any runtime is measured, before the kills and after them.
const ownStarts = 10

type recovery struct {
	settings
	servers, rounds, rate, burst int
	apart                        time.Duration
	check                        bool
	victims                      int // that many of the servers are killed; 0: all
}

// runRecovery kills children one by one, idle and under load, then a whole fleet, and prints how they came back.
func runRecovery(ctx context.Context, args []string) error {
	var r recovery
	fs := trialFlags("recovery", &r.settings)
	fs.IntVar(&r.servers, "servers", 50, "servers of which one at a time is killed")
	fs.IntVar(&r.rounds, "rounds", 100, "kills, idle and again under load")
	fs.IntVar(&r.rate, "rate", 200, "calls in a second under load")
	fs.DurationVar(&r.apart, "apart", 100*time.Millisecond, "pause between two kills")
	fs.IntVar(&r.burst, "burst", 300, "servers that are killed at once")
	fs.BoolVar(&r.check, "check", false, "fail when a goal is missed")
	if err := fs.Parse(args); err != nil {
		return ignoreHelp(err)
	}
	if r.servers < 1 || r.rounds < 1 || r.rate < 1 || r.burst < 1 {
		return errors.New("-servers, -rounds, -rate and -burst must be positive")
	}
	done, err := r.open()
	if err != nil {
		return err
	}
	defer done()
	idle, err := r.kills(ctx, 0)
	if err != nil {
		return fmt.Errorf("idle: %w", err)
	}
	loaded, err := r.kills(ctx, r.rate)
	if err != nil {
		return fmt.Errorf("under load: %w", err)
	}
	all, err := r.atOnce(ctx)
	if err != nil {
		return fmt.Errorf("all at once: %w", err)
	}
	missed := r.write(os.Stdout, idle, loaded, all)
	if r.check {
		return missed
	}
	return nil
}

func ignoreHelp(err error) error {
	if errors.Is(err, flag.ErrHelp) {
		return nil
	}
	return err
}

// killed is how one phase went.
type killed struct {
	own, total, overhead driver.Histogram
	load                 loadResult
}

// kills kills one server after the other, with so many calls a second meanwhile.
func (r *recovery) kills(ctx context.Context, rate int) (*killed, error) {
	t, err := r.start(ctx, r.servers)
	if err != nil {
		return nil, err
	}
	defer t.stop()
	if err := t.prime(); err != nil {
		return nil, err
	}
	k := &killed{}
	var l *load
	if rate > 0 {
		l = t.startLoad(rate)
		defer l.stopping.Store(true)
	}
	if err := k.measureOwn(); err != nil {
		return nil, err
	}
	random := rand.New(rand.NewPCG(r.seed, uint64(rate)))
	var totals []time.Duration
	var order []int
	for range r.rounds {
		if len(order) == 0 {
			victims := cmp.Or(r.victims, r.servers)
			if order = random.Perm(victims); len(totals) > 0 {
				if err := t.forget(l, victims); err != nil {
					return nil, err
				}
			}
		}
		victim := order[0]
		order = order[1:]
		before, err := t.standing(victim)
		if err != nil {
			return nil, err
		}
		if l != nil {
			l.disturb(victim)
		}
		at := time.Now()
		if err := r.kill(before.PID); err != nil {
			return nil, err
		}
		after, err := t.next(ctx, victim, before.Epoch)
		if err != nil {
			return nil, err
		}
		totals = append(totals, after.readySince().Sub(at))
		pause(ctx, r.apart)
	}
	if err := k.measureOwn(); err != nil {
		return nil, err
	}
	own := k.own.Quantile(0.5)
	for _, total := range totals {
		k.total.Record(total)
		k.overhead.Record(total - own)
	}
	if l == nil {
		return k, nil
	}
	k.load = l.stop()
	return k, k.load.err()
}

// forget makes an operator's restart of every server that is killed, after which its next crash is the first again: the second of a
// streak is not restarted at once.
func (t *trial) forget(l *load, victims int) error {
	return t.each(func(i int) error {
		if i >= victims {
			return nil
		}
		if l != nil {
			l.disturb(i)
		}
		if err := t.request("POST", serverPath(i)+"/stop", "", nil); err != nil {
			return err
		}
		return t.startServer(i)
	})
}

// measureOwn measures what the stub itself needs to start and to answer initialize, on this host as it is now.
func (k *killed) measureOwn() error {
	for range ownStarts {
		begin := time.Now()
		l, err := startLink()
		if err != nil {
			return err
		}
		k.own.Record(time.Since(begin))
		l.close()
	}
	return nil
}

// stormed is how the kill of a whole fleet went.
type stormed struct {
	servers int
	ready   time.Duration // until the last one
	status  driver.Histogram
}

func (r *recovery) atOnce(ctx context.Context) (*stormed, error) {
	t, err := r.start(ctx, r.burst)
	if err != nil {
		return nil, err
	}
	defer t.stop()
	if err := t.prime(); err != nil {
		return nil, err
	}
	before := make([]standing, r.burst)
	if err := t.each(func(i int) (err error) { before[i], err = t.standing(i); return err }); err != nil {
		return nil, err
	}
	s := &stormed{servers: r.burst}
	at := time.Now()
	for _, b := range before {
		if err := r.kill(b.PID); err != nil {
			return nil, err
		}
	}
	for ready := 0; ready < r.burst; pause(ctx, 4*lookAgain) {
		if time.Since(at) > readyAgain || ctx.Err() != nil {
			return nil, fmt.Errorf("%d of %d servers are ready after %s", ready, r.burst, time.Since(at).Round(time.Second))
		}
		var list struct {
			Servers []standing `json:"mcp_servers"`
		}
		asked := time.Now()
		if err := t.request("GET", "/api/mcp_servers", "", &list); err != nil {
			return nil, err
		}
		s.status.Record(time.Since(asked))
		ready = 0
		for _, one := range list.Servers {
			if one.State == "ready" {
				ready++
			}
		}
		if time.Since(at) < time.Second/2 {
			ready = 0 // the kills may not all have been noticed
		}
	}
	for i, b := range before {
		after, err := t.next(ctx, i, b.Epoch)
		if err != nil {
			return nil, err
		}
		s.ready = max(s.ready, after.readySince().Sub(at))
	}
	return s, nil
}

// write prints the tables and returns which goals were missed.
func (r *recovery) write(w io.Writer, idle, loaded *killed, all *stormed) error {
	var missed []error
	goal := func(what string, got, want time.Duration) string {
		if got > want {
			missed = append(missed, fmt.Errorf("%s: %s, the goal is %s at most", what, ms(got), ms(want)))
			return ms(got) + " **over " + ms(want) + "**"
		}
		return ms(got) + " (goal " + ms(want) + ")"
	}
	fmt.Fprintf(w, "Recovery of a killed child: seed %d, %d servers, %d kills in each phase; load average %s. %s\n\n", r.seed, r.servers, r.rounds, loadAverage(),
		"Overhead is the time from the kill to ready above the child's own start (p50).")
	fmt.Fprintln(w, "| phase | child's own start p50/p99 | kill to ready p50/p99 | overhead p50 | overhead p99 | calls/s | cut off by kills | errors of others | p99 of others |")
	fmt.Fprintln(w, "|---|---|---|---|---|---:|---:|---:|---:|")
	for _, row := range []struct {
		name string
		k    *killed
		p99  time.Duration
	}{{"idle", idle, goalOverheadIdle}, {fmt.Sprintf("%d calls/s", r.rate), loaded, goalOverheadLoad}} {
		k := row.k
		fmt.Fprintf(w, "| %s | %s / %s | %s / %s | %s | %s | %.0f | %d | %d | %s |\n", row.name,
			ms(k.own.Quantile(0.5)), ms(k.own.Quantile(0.99)), ms(k.total.Quantile(0.5)), ms(k.total.Quantile(0.99)),
			goal(row.name+": overhead p50", k.overhead.Quantile(0.5), goalOverheadP50),
			goal(row.name+": overhead p99", k.overhead.Quantile(0.99), row.p99),
			k.load.Rate, k.load.Cut, k.load.Failed, ms(k.load.P99))
	}
	fmt.Fprintf(w, "\n| killed at once | all ready | status query p50 | status query p99 | queries |\n|---:|---|---|---|---:|\n| %d | %s | %s | %s | %d |\n",
		all.servers, goal("all ready", all.ready, goalAllReady), ms(all.status.Quantile(0.5)), goal("status query p99", all.status.Quantile(0.99), goalStatus), all.status.Count())
	return errors.Join(missed...)
}

func ms(d time.Duration) string {
	if d < time.Millisecond {
		return fmt.Sprintf("%.2f ms", d.Seconds()*1000)
	}
	return fmt.Sprintf("%.1f ms", d.Seconds()*1000)
}
