package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"

	"github.com/aabb9013/hangar/bench/driver"
)

// Goals of -check, against the floor in the same run.
const (
	goalRate = 0.85
	goalCPU  = 1.25
	// goalGroup is what a call through a group may cost more than one to a server, against hangar in the same run.
	goalGroup = 1.10
)

// report gathers the figures of all rounds. It is what -json writes.
type report struct {
	Machine string    `json:"machine"`
	Kernel  string    `json:"kernel"`
	CPUs    int       `json:"cpus"`
	Go      string    `json:"go"`
	Commit  string    `json:"commit"`
	Command string    `json:"command"`
	Time    time.Time `json:"time"`
	Load    string    `json:"load_average_before"`
	Rounds  int       `json:"rounds"`
	Cells   []*cell   `json:"cells"`
	Storms  []*storm  `json:"storms"`
	Memory  []*memory `json:"memory"`

	plan *plan
}

type cellKey struct {
	System   string `json:"system"`
	Servers  int    `json:"servers"`
	InFlight int    `json:"in_flight"`
	Payload  int    `json:"payload"`
}

type cell struct {
	cellKey
	Turns []driver.Result `json:"turns"` // of all rounds; those of two systems that have the same index were measured together
}

type storm struct {
	System  string          `json:"system"`
	Servers int             `json:"servers"`
	Rounds  []driver.Result `json:"rounds"`
}

type memory struct {
	System  string          `json:"system"`
	Servers int             `json:"servers"`
	When    string          `json:"when"`
	Rounds  []driver.Memory `json:"rounds"`
}

func newReport(ctx context.Context, p *plan) *report {
	return &report{
		Machine: machine(), Kernel: kernel(), CPUs: runtime.NumCPU(), Go: runtime.Version(), Commit: commit(ctx),
		Command: "go run ./bench " + strings.Join(os.Args[1:], " "), Time: time.Now().UTC().Truncate(time.Second), Rounds: p.rounds,
		Load: loadAverage(), plan: p,
	}
}

func (r *report) addCell(key cellKey, turns []driver.Result) {
	c := r.cell(key)
	if c == nil {
		c = &cell{cellKey: key}
		r.Cells = append(r.Cells, c)
	}
	c.Turns = append(c.Turns, turns...)
}

func (r *report) cell(key cellKey) *cell {
	for _, c := range r.Cells {
		if c.cellKey == key {
			return c
		}
	}
	return nil
}

func (r *report) addStorm(system string, result driver.Result) {
	for _, s := range r.Storms {
		if s.System == system {
			s.Rounds = append(s.Rounds, result)
			return
		}
	}
	r.Storms = append(r.Storms, &storm{System: system, Servers: r.plan.storm, Rounds: []driver.Result{result}})
}

func (r *report) addMemory(system string, servers int, when string, pid int) error {
	m, err := driver.MemoryOf(pid)
	if err != nil {
		return err
	}
	for _, have := range r.Memory {
		if have.System == system && have.Servers == servers && have.When == when {
			have.Rounds = append(have.Rounds, m)
			return nil
		}
	}
	r.Memory = append(r.Memory, &memory{System: system, Servers: servers, When: when, Rounds: []driver.Memory{m}})
	return nil
}

// of returns the median of one figure over the turns.
func (c *cell) of(figure func(driver.Result) float64) float64 {
	return medianOf(c.Turns, figure)
}

func medianOf[T any](rounds []T, figure func(T) float64) float64 {
	var values []float64
	for _, r := range rounds {
		values = append(values, figure(r))
	}
	return median(values)
}

func rate(r driver.Result) float64 { return r.Rate }
func cpu(r driver.Result) float64  { return r.CPU }
func p50(r driver.Result) float64  { return r.P50 }
func p90(r driver.Result) float64  { return r.P90 }
func p99(r driver.Result) float64  { return r.P99 }

func failures(rounds []driver.Result) (n uint64, first string) {
	for _, r := range rounds {
		n += r.Errors
		if first == "" {
			first = r.FirstError
		}
	}
	return n, first
}

// write prints the report in markdown.
func (r *report) write(w io.Writer) {
	fmt.Fprintf(w, "%s, %d processors, Linux %s, %s, commit %s, %s, load average before %s. %d rounds of %v in turns of %v (warm-up %v); medians over the turns, of ratios too.\n\n    %s\n",
		r.Machine, r.CPUs, r.Kernel, r.Go, r.Commit, r.Time.Format("2006-01-02 15:04 UTC"), r.Load, r.Rounds, r.plan.duration, r.plan.turn, r.plan.warmup, r.Command)
	for _, payload := range r.plan.payloads {
		fmt.Fprintf(w, "\nPayload %s: requests/s (CPU µs per call of the system; p50/p90/p99 µs).\n\n| servers | in flight |", size(payload))
		for _, system := range r.plan.systems {
			fmt.Fprintf(w, " %s |", system)
		}
		fmt.Fprint(w, " hangar/floor requests/s | hangar/floor CPU |\n|---:|---:|")
		fmt.Fprintln(w, strings.Repeat("---:|", len(r.plan.systems)+2))
		for _, servers := range r.plan.servers {
			for _, inFlight := range r.plan.inFlight {
				key := cellKey{Servers: servers, InFlight: inFlight, Payload: payload}
				fmt.Fprintf(w, "| %d | %d |", servers, inFlight)
				for _, system := range r.plan.systems {
					key.System = system
					fmt.Fprintf(w, " %s |", r.cell(key))
				}
				if byRate, byCPU, ok := r.ratios(key, "hangar", "floor"); ok {
					fmt.Fprintf(w, " %.2f | %.2f |\n", byRate, byCPU)
				} else {
					fmt.Fprintln(w, " – | – |")
				}
			}
		}
	}
	r.writeGroups(w)
	if len(r.Storms) > 0 {
		fmt.Fprintf(w, "\n%d cold servers called at once: time until all have answered.\n\n| system | s | p50 ms | CPU ms | errors |\n|---|---:|---:|---:|---:|\n", r.plan.storm)
		for _, s := range r.Storms {
			n, first := failures(s.Rounds)
			fmt.Fprintf(w, "| %s | %.2f | %.0f | %.0f | %d %s |\n", s.System, medianOf(s.Rounds, func(r driver.Result) float64 { return r.Seconds }),
				medianOf(s.Rounds, p50)/1e3, medianOf(s.Rounds, func(r driver.Result) float64 { return r.CPU * float64(r.Calls) })/1e3, n, first)
		}
	}
	if len(r.Memory) > 0 {
		fmt.Fprint(w, "\nMemory of the system's own process, MiB: idle (every server ready) and after the load above.\n\n| system | servers | when | RSS | PSS |\n|---|---:|---|---:|---:|\n")
		for _, m := range r.Memory {
			fmt.Fprintf(w, "| %s | %d | %s | %.1f | %.1f |\n", m.System, m.Servers, m.When,
				medianOf(m.Rounds, func(m driver.Memory) float64 { return float64(m.RSS) })/1024,
				medianOf(m.Rounds, func(m driver.Memory) float64 { return float64(m.PSS) })/1024)
		}
	}
}

// String is the text of a cell; a nil cell was not measured.
func (c *cell) String() string {
	if c == nil {
		return "–"
	}
	text := fmt.Sprintf("%.0f (%.1f; %.0f/%.0f/%.0f)", c.of(rate), c.of(cpu), c.of(p50), c.of(p90), c.of(p99))
	if n, first := failures(c.Turns); n > 0 {
		text += fmt.Sprintf(" **%d errors: %s**", n, first)
	}
	return text
}

// ratios compares two systems in one cell: the medians of the ratios of each turn, in which the host did the same to both.
func (r *report) ratios(key cellKey, system, with string) (byRate, byCPU float64, ok bool) {
	key.System = with
	base := r.cell(key)
	key.System = system
	measured := r.cell(key)
	if base == nil || measured == nil || len(base.Turns) != len(measured.Turns) {
		return 0, 0, false
	}
	ratio := func(figure func(driver.Result) float64) float64 {
		var all []float64
		for i, turn := range measured.Turns {
			if with := figure(base.Turns[i]); with > 0 {
				all = append(all, figure(turn)/with)
			}
		}
		return median(all)
	}
	byRate, byCPU = ratio(rate), ratio(cpu)
	return byRate, byCPU, byRate > 0 && byCPU > 0
}

// writeGroups prints what a group costs, if it was measured beside hangar.
func (r *report) writeGroups(w io.Writer) {
	head := "\nThrough a group, against the server itself.\n\n| servers | in flight | payload | group/hangar requests/s | group/hangar CPU |\n|---:|---:|---:|---:|---:|\n"
	for _, c := range r.Cells {
		byRate, byCPU, ok := r.ratios(c.cellKey, "group", "hangar")
		if c.System != "group" || !ok {
			continue
		}
		fmt.Fprintf(w, "%s| %d | %d | %s | %.2f | %.2f |\n", head, c.Servers, c.InFlight, size(c.Payload), byRate, byCPU)
		head = ""
	}
}

// check returns every goal that was missed. The goals hold for 16 and 64 calls in flight to 1 and 100 servers.
func (r *report) check() error {
	var errs []error
	compared := 0
	for _, c := range r.Cells {
		if n, first := failures(c.Turns); n > 0 {
			errs = append(errs, fmt.Errorf("%s: %d errors: %s", c.cellKey, n, first))
		}
		if _, byCPU, ok := r.ratios(c.cellKey, "group", "hangar"); c.System == "group" && ok {
			if compared++; byCPU > goalGroup {
				errs = append(errs, fmt.Errorf("%s: %.2f of the CPU of a call to a server, the goal is %.2f", c.cellKey, byCPU, goalGroup))
			}
		}
		if c.System != "hangar" || (c.Servers != 1 && c.Servers != 100) || (c.InFlight != 16 && c.InFlight != 64) {
			continue
		}
		byRate, byCPU, ok := r.ratios(c.cellKey, "hangar", "floor")
		if !ok {
			continue
		}
		compared++
		if byRate < goalRate {
			errs = append(errs, fmt.Errorf("%s: %.2f of the floor's throughput, the goal is %.2f", c.cellKey, byRate, goalRate))
		}
		if byCPU > goalCPU {
			errs = append(errs, fmt.Errorf("%s: %.2f of the floor's CPU per call, the goal is %.2f", c.cellKey, byCPU, goalCPU))
		}
	}
	if compared == 0 {
		errs = append(errs, errors.New("no cell with a goal was measured for both hangar and the floor, or a group and hangar"))
	}
	return errors.Join(errs...)
}

func (k cellKey) String() string {
	return fmt.Sprintf("%s, %d servers, %d in flight, %s", k.System, k.Servers, k.InFlight, size(k.Payload))
}

func size(bytes int) string {
	if bytes >= 1024 && bytes%1024 == 0 {
		return fmt.Sprintf("%d KiB", bytes/1024)
	}
	return fmt.Sprintf("%d B", bytes)
}

func machine() string {
	text, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return "unknown machine"
	}
	for line := range bytes.Lines(text) {
		if name, value, ok := bytes.Cut(line, []byte(":")); ok && strings.TrimSpace(string(name)) == "model name" {
			return strings.TrimSpace(string(value))
		}
	}
	return runtime.GOARCH
}

func kernel() string { return firstWord("/proc/sys/kernel/osrelease") }

// loadAverage tells whether anything else was busy before the run, which spoils its figures.
func loadAverage() string { return firstWord("/proc/loadavg") }

func firstWord(path string) string {
	text, err := os.ReadFile(path)
	if fields := strings.Fields(string(text)); err == nil && len(fields) > 0 {
		return fields[0]
	}
	return "unknown"
}

// commit is that of the working directory, because `go run` does not always stamp one into the binary.
func commit(ctx context.Context) string {
	out, err := exec.CommandContext(ctx, "git", "describe", "--always", "--dirty", "--abbrev=10").Output()
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(out))
}
