package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aabb9013/hangar/bench/driver"
)

// plan is what one run of the harness measures.
type plan struct {
	systems  []string
	servers  []int
	inFlight []int
	payloads []int
	storm    int
	warmup   time.Duration
	duration time.Duration
	turn     time.Duration
	rounds   int
	jsonFile string
	check    bool
	quiet    bool
}

// settle is how long a target rests before its idle memory is read: idle means that nothing has happened for a while.
const settle = 4 * time.Second

// harness measures every system in turn, in rounds, and prints the medians.
func harness(ctx context.Context, args []string) error {
	p, h, err := parsePlan(args)
	if err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return nil
		}
		return err
	}
	if h.dir, err = os.MkdirTemp("", "hangar-bench-"); err != nil {
		return err
	}
	defer os.RemoveAll(h.dir)
	report := newReport(ctx, p)
	err = p.run(ctx, h, report)
	if left := h.sweep(); left > 0 {
		fmt.Fprintf(os.Stderr, "bench: killed %d processes that outlived their system\n", left)
	}
	if err != nil {
		return err
	}
	report.write(os.Stdout)
	if p.jsonFile != "" {
		text, err := json.MarshalIndent(report, "", "  ")
		if err != nil {
			return err
		}
		if err := os.WriteFile(p.jsonFile, append(text, '\n'), 0o644); err != nil {
			return err
		}
	}
	if p.check {
		return report.check()
	}
	return nil
}

func parsePlan(args []string) (*plan, *host, error) {
	p, h := &plan{}, &host{tag: fmt.Sprintf("%d-%d", os.Getpid(), time.Now().UnixNano())}
	fs := flag.NewFlagSet("bench", flag.ContinueOnError)
	systems := fs.String("systems", "pipes,echo,floor,hangar", "systems to measure; hangar and group (hangar with a group before every server) need -hangar")
	servers := fs.String("servers", "1,100,500", "numbers of servers")
	inFlight := fs.String("inflight", "1,16,64", "numbers of calls in flight")
	payloads := fs.String("payload", "64,65536", "bytes of text in a call")
	fs.IntVar(&p.storm, "storm", 500, "cold servers that are called at once; 0: none")
	fs.DurationVar(&p.warmup, "warmup", 500*time.Millisecond, "time before each measurement")
	fs.DurationVar(&p.duration, "duration", 3*time.Second, "time of each measurement")
	fs.DurationVar(&p.turn, "turn", 150*time.Millisecond, "time of one turn, in which one system is measured and the others rest")
	fs.IntVar(&p.rounds, "rounds", 3, "rounds, each with new processes; the medians over their turns are reported")
	fs.StringVar(&p.jsonFile, "json", "", "write all figures to this `file` too")
	fs.BoolVar(&p.check, "check", false, "fail when hangar misses its goals against the floor")
	fs.BoolVar(&p.quiet, "quiet", false, "no progress on stderr")
	fs.StringVar(&h.hangar, "hangar", "", "`path` of the hangar binary")
	fs.StringVar(&h.prof, "cpuprofile", "", "`file` for hangar's CPU profile (HANGAR_CPUPROFILE)")
	smoke := fs.Bool("smoke", false, "a small subset that takes about 20 s; flags that are given still count")
	if err := fs.Parse(args); err != nil {
		return nil, nil, err
	}
	if fs.NArg() > 0 {
		return nil, nil, fmt.Errorf("unexpected argument %q", fs.Arg(0))
	}
	if *smoke {
		given := map[string]bool{}
		fs.Visit(func(f *flag.Flag) { given[f.Name] = true })
		for name, value := range map[string]string{"servers": "1,20", "inflight": "16", "storm": "50", "warmup": "200ms", "duration": "500ms", "rounds": "1"} {
			if !given[name] {
				if err := fs.Set(name, value); err != nil {
					return nil, nil, err
				}
			}
		}
	}
	var errs [3]error
	p.servers, errs[0] = numbers(*servers, 1, 5000)
	p.inFlight, errs[1] = numbers(*inFlight, 1, 1024)
	p.payloads, errs[2] = numbers(*payloads, driver.MinText, 4<<20-1024)
	if err := errors.Join(errs[:]...); err != nil {
		return nil, nil, err
	}
	if p.rounds < 1 || p.duration <= 0 || p.turn <= 0 || p.storm < 0 {
		return nil, nil, errors.New("-rounds, -duration, -turn and -storm must be positive")
	}
	for system := range strings.SplitSeq(*systems, ",") {
		switch system {
		case "hangar", "group":
			if h.hangar != "" {
				p.systems = append(p.systems, system)
			}
		case "pipes", "echo", "floor":
			p.systems = append(p.systems, system)
		default:
			return nil, nil, fmt.Errorf("unknown system %q", system)
		}
	}
	self, err := os.Executable()
	h.self = self
	return p, h, err
}

func numbers(list string, low, high int) ([]int, error) {
	var all []int
	for text := range strings.SplitSeq(list, ",") {
		n, err := strconv.Atoi(strings.TrimSpace(text))
		if err != nil || n < low || n > high {
			return nil, fmt.Errorf("%q is no list of numbers from %d to %d", list, low, high)
		}
		all = append(all, n)
	}
	return all, nil
}

// run fills the report. The order of the systems turns by one in every round, so that none is always first.
func (p *plan) run(ctx context.Context, h *host, r *report) error {
	for round := range p.rounds {
		systems := append(slices.Clone(p.systems[round%len(p.systems):]), p.systems[:round%len(p.systems)]...)
		for _, servers := range p.servers {
			if err := p.cells(ctx, h, r, systems, servers); err != nil {
				return err
			}
		}
		for _, system := range systems {
			if err := p.coldStorm(ctx, h, r, system); err != nil {
				return err
			}
		}
	}
	return nil
}

// cells measures the systems with that many servers: memory, every cell in turns, memory again. All run at the same time.
func (p *plan) cells(ctx context.Context, h *host, r *report, systems []string, servers int) error {
	var targets []*target
	for _, system := range systems {
		if system == "pipes" || system == "echo" && servers != p.servers[0] {
			continue // pipes has no process to be called, and echo knows no servers
		}
		t, err := h.start(ctx, system, servers, false)
		if err != nil {
			return err
		}
		defer t.stop()
		targets = append(targets, t)
		if system == "echo" {
			continue
		}
		if _, err := h.drive(ctx, t, driver.Config{Servers: servers, InFlight: 1, Payload: driver.MinText, Prime: true}); err != nil {
			return err
		}
	}
	pause(ctx, settle)
	for _, t := range targets {
		if err := r.addMemory(t.name, servers, "idle", t.pid); err != nil {
			return err
		}
	}
	for _, payload := range p.payloads {
		for _, inFlight := range p.inFlight {
			c := driver.Config{Servers: servers, InFlight: inFlight, Payload: payload, Warmup: p.warmup, Duration: p.duration}
			if slices.Contains(systems, "pipes") {
				result, err := h.pipes(ctx, c)
				if err != nil {
					return err
				}
				p.add(r, "pipes", c, []driver.Result{result})
			}
			if len(targets) == 0 {
				continue
			}
			results, err := h.driveTurns(ctx, targets, p.turn, c)
			if err != nil {
				return err
			}
			for i, t := range targets {
				p.add(r, t.name, c, results[i])
			}
		}
	}
	for _, t := range targets {
		if err := r.addMemory(t.name, servers, "loaded", t.pid); err != nil {
			return err
		}
	}
	return nil
}

// add takes the results of one cell, and prints them as its progress.
func (p *plan) add(r *report, system string, c driver.Config, results []driver.Result) {
	n, first := failures(results)
	p.progress("%-6s %3d servers %2d in flight %5d B: %8.0f calls/s %6.1f us CPU p99 %.0f us, %d errors %s", system, c.Servers, c.InFlight,
		c.Payload, medianOf(results, rate), medianOf(results, cpu), medianOf(results, p99), n, first)
	r.addCell(cellKey{System: system, Servers: c.Servers, InFlight: c.InFlight, Payload: c.Payload}, results)
}

func (p *plan) coldStorm(ctx context.Context, h *host, r *report, system string) error {
	if p.storm == 0 || system == "pipes" || system == "echo" {
		return nil
	}
	t, err := h.start(ctx, system, p.storm, true)
	if err != nil {
		return err
	}
	defer t.stop()
	result, err := h.drive(ctx, t, driver.Config{Servers: p.storm, InFlight: 1, Payload: 64, Storm: true})
	if err != nil {
		return err
	}
	p.progress("%-6s storm of %d: %.3f s, %d errors %s", system, p.storm, result.Seconds, result.Errors, result.FirstError)
	r.addStorm(system, result)
	return nil
}

func (p *plan) progress(format string, args ...any) {
	if !p.quiet {
		fmt.Fprintf(os.Stderr, format+"\n", args...)
	}
}

func median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	middle := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[middle]
	}
	return (sorted[middle-1] + sorted[middle]) / 2
}
