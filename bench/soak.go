package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strings"
	"time"
)

// What a soak may add to the baseline.
const (
	slackGoroutines  = 5
	slackDescriptors = 0
	slackMemory      = 24 << 20
)

const (
	soakWarmup = 5 * time.Second
	// soakSettle is how long the runtime rests before its vitals are read: its HTTP server ends workers that had nothing
	// to do for ten seconds, and looks for them every ten seconds.
	soakSettle = 22 * time.Second
	// killAgain is how long a server is left alone after a kill, so that its restarts stay within their budget.
	killAgain = 30 * time.Second
)

type soak struct {
	settings
	duration      time.Duration
	servers, rate int
	perSecond     int
	counts        map[string]int
	updated       map[int]bool // servers that the next reload sets back
}

// runSoak disturbs a fleet under load and looks whether anything is left behind.
func runSoak(ctx context.Context, args []string) error {
	s := soak{counts: map[string]int{}, updated: map[int]bool{}}
	fs := trialFlags("soak", &s.settings)
	fs.IntVar(&s.servers, "servers", 300, "servers")
	fs.IntVar(&s.rate, "rate", 500, "calls in a second")
	fs.IntVar(&s.perSecond, "disturb", 5, "kills, stops, restarts, updates and reloads in a second")
	if len(args) == 0 {
		return errors.New("-soak needs a duration, for example -soak 60s")
	}
	var err error
	if s.duration, err = time.ParseDuration(args[0]); err != nil || s.duration <= 0 {
		return fmt.Errorf("-soak: %q is no duration", args[0])
	}
	if err := fs.Parse(args[1:]); err != nil {
		return ignoreHelp(err)
	}
	if s.servers < 1 || s.rate < 1 || s.perSecond < 1 {
		return errors.New("-servers, -rate and -disturb must be positive")
	}
	done, err := s.open()
	if err != nil {
		return err
	}
	defer done()
	fmt.Printf("Soak: seed %d, %s, %d servers, %d calls/s, %d disturbances/s; load average %s.\n\n", s.seed, s.duration, s.servers, s.rate, s.perSecond, loadAverage())
	return s.run(ctx, os.Stdout)
}

func (s *soak) run(ctx context.Context, w io.Writer) error {
	t, err := s.start(ctx, s.servers)
	if err != nil {
		return err
	}
	defer t.stop()
	if err := t.prime(); err != nil {
		return err
	}
	warm := t.startLoad(s.rate)
	pause(ctx, soakWarmup)
	if err := warm.stop().err(); err != nil {
		return fmt.Errorf("before anything was disturbed: %w", err)
	}
	before, err := t.rested(ctx)
	if err != nil {
		return err
	}
	l := t.startLoad(s.rate)
	err = s.disturb(ctx, t, l)
	result := l.stop()
	if err != nil {
		return fmt.Errorf("%w\n%s", err, t.log)
	}
	// Whatever rests now is started again: what runs is what ran before.
	if err := t.each(t.startServer); err != nil {
		return err
	}
	after, err := t.rested(ctx)
	if err != nil {
		return err
	}
	return errors.Join(result.err(), s.write(w, result, before, after))
}

// rested are the vitals when nothing has happened for a while.
func (t *trial) rested(ctx context.Context) (vitals, error) {
	t.http.CloseIdleConnections()
	pause(ctx, soakSettle)
	return t.vitals()
}

// disturb does one thing after the other to servers that the seed chooses.
func (s *soak) disturb(ctx context.Context, t *trial, l *load) error {
	random := rand.New(rand.NewPCG(s.seed, 0))
	killedAt := make([]time.Time, s.servers)
	tick := time.NewTicker(time.Second / time.Duration(s.perSecond))
	defer tick.Stop()
	for end := time.Now().Add(s.duration); time.Now().Before(end); {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		i, kind := random.IntN(s.servers), random.IntN(10)
		if err := s.one(t, l, i, kind, killedAt); err != nil {
			return err
		}
	}
	return nil
}

// one disturbs server i. A request may be refused because of an earlier disturbance; that is no fault.
func (s *soak) one(t *trial, l *load, i, kind int, killedAt []time.Time) error {
	l.disturb(i)
	defer l.disturb(i)
	l.slow(i)
	name, err := "", error(nil)
	switch {
	case kind < 4 && time.Since(killedAt[i]) > killAgain:
		name = "kill"
		var now standing
		if now, err = t.standing(i); err != nil {
			return err
		}
		if now.PID == 0 {
			name = "kill of a server at rest"
			break
		}
		killedAt[i] = time.Now()
		if s.kill(now.PID) != nil {
			name = "kill of a process that had ended"
		}
	case kind < 6:
		name = "stop"
		err = t.request("POST", serverPath(i)+"/stop", "", nil)
	case kind < 8:
		name = "restart"
		if err = t.request("POST", serverPath(i)+"/stop", "", nil); err == nil {
			err = t.startServer(i)
		}
	case kind < 9:
		name = "update"
		s.updated[i] = true
		err = t.request("PUT", serverPath(i), fmt.Sprintf(`{"description":"soaked for the %dth time","idle_ttl_s":3600}`, s.counts["update"]), nil)
	default:
		name = "reload"
		for j := range s.updated {
			l.disturb(j)
		}
		clear(s.updated)
		err = reloadWith(t, i)
	}
	if err != nil {
		return fmt.Errorf("%s of s%d: %w", name, i, err)
	}
	s.counts[name]++
	return nil
}

// reloadWith changes server i in the configuration, or back, and reloads it. The file is watched besides.
func reloadWith(t *trial, i int) error {
	text, err := os.ReadFile(t.file)
	if err != nil {
		return err
	}
	plain, moved := fmt.Sprintf("  s%d: {mode", i), fmt.Sprintf("  s%d: {cwd: /, mode", i)
	next := strings.Replace(string(text), plain, moved, 1)
	if next == string(text) {
		next = strings.Replace(string(text), moved, plain, 1)
	}
	if err := os.WriteFile(t.file+".next", []byte(next), 0o600); err != nil {
		return err
	}
	if err := os.Rename(t.file+".next", t.file); err != nil {
		return err
	}
	return t.request("POST", "/api/config/reload", "", nil)
}

func (s *soak) write(w io.Writer, r loadResult, before, after vitals) error {
	fmt.Fprintf(w, "| calls | calls/s | cut off by disturbances | errors of others | p50 | p99 |\n|---:|---:|---:|---:|---:|---:|\n| %d | %.0f | %d | %d | %s | %s |\n\n",
		r.Calls, r.Rate, r.Cut, r.Failed, ms(r.P50), ms(r.P99))
	fmt.Fprintf(w, "Disturbances: %v\n\n| | baseline | at the end | allowed more |\n|---|---:|---:|---:|\n", s.counts)
	var errs []error
	row := func(name string, from, to, slack int64, unit int64) {
		mark := ""
		if to > from+slack {
			mark = " **over**"
			errs = append(errs, fmt.Errorf("%s: %d at the baseline, %d at the end", name, from/unit, to/unit))
		}
		fmt.Fprintf(w, "| %s | %d | %d%s | %d |\n", name, from/unit, to/unit, mark, slack/unit)
	}
	row("goroutines", int64(before.Goroutines), int64(after.Goroutines), slackGoroutines, 1)
	row("descriptors, without the store's files", int64(before.Descriptors), int64(after.Descriptors), slackDescriptors, 1)
	told := func(name string, from, to int) { fmt.Fprintf(w, "| %s | %d | %d | – |\n", name, from, to) }
	told("files of the store, its tables come and go", before.StoreFiles, after.StoreFiles)
	told("all descriptors", before.Descriptors+before.StoreFiles, after.Descriptors+after.StoreFiles)
	row("memory of its own, KiB", before.Memory, after.Memory, slackMemory, 1<<10)
	return errors.Join(errs...)
}
