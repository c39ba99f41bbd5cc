package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/aabb9013/hangar/bench/driver"
)

// Goals of reloads. Whatever one leaves behind shows in many.
const (
	goalSlope     = 512 << 10 // bytes of memory for a thousand reloads
	goalUnchanged = 200 * time.Millisecond
)

// reloadSamples is how often a run of reloads is looked at; the first are of a runtime that has just rested, and given
// memory back, so they do not count.
const (
	reloadSamples = 100
	afterRest     = 5
	// wholeCycles is from how many reloads on each half of them has the store's tables in memory filled and gone to the
	// disk, so that memory has come down again; what fewer add is mostly what waits there.
	wholeCycles = 20_000
)

type reloads struct {
	settings
	servers, reloads  int
	warmup            int // reloads before those that are looked at
	idle, idleReloads int
	quick             bool // nobody rests before the vitals are read
}

// runReloads alternates two files of which one server differs, again and again, then reloads a large file that nobody
// changed, and prints what stayed and what grew.
func runReloads(ctx context.Context, args []string) error {
	r := reloads{}
	fs := trialFlags("reloads", &r.settings)
	fs.IntVar(&r.servers, "servers", 50, "servers in the two files")
	fs.IntVar(&r.warmup, "warmup", 1000, "reloads before the baseline")
	fs.IntVar(&r.idle, "unchanged", 500, "servers of the file that does not change")
	fs.IntVar(&r.idleReloads, "unchanged-reloads", 100, "reloads of that file")
	var err error
	if r.reloads, err = leadingNumber(fs, args, fmt.Sprint("number of at least ", reloadSamples), reloadSamples, 20_000); err != nil {
		return ignoreHelp(err)
	}
	if r.servers < 2 || r.idle < 1 || r.idleReloads < 1 || r.warmup < 0 {
		return errors.New("-servers must be at least 2, -unchanged and -unchanged-reloads positive, -warmup not negative")
	}
	done, err := r.open()
	if err != nil {
		return err
	}
	defer done()
	storm, err := r.storm(ctx)
	if err != nil {
		return err
	}
	idle, err := r.unchanged(ctx)
	if err != nil {
		return err
	}
	return r.write(os.Stdout, storm, idle)
}

// stormedReloads is how a run of reloads went.
type stormedReloads struct {
	took          driver.Histogram // until the answer
	moved         int              // servers of the others that have another process at the end
	before, after vitals           // of the runtime
	reaper        [2]vitals        // of the process that owns the children, before and after; it tells no goroutines
	samples       []memorySample
	reaperSamples []memorySample
}

// reloadAnswer is what a reload tells of itself.
type reloadAnswer struct {
	Result struct {
		Updated   []string `json:"mcp_servers_updated"`
		Unchanged []string `json:"mcp_servers_unchanged"`
	}
}

func (t *trial) reload(changed, unchanged int) (time.Duration, error) {
	var answer reloadAnswer
	began := time.Now()
	if err := t.request("POST", "/api/config/reload", "", &answer); err != nil {
		return 0, err
	}
	took := time.Since(began)
	if r := answer.Result; len(r.Updated) != changed || len(r.Unchanged) != unchanged {
		return 0, fmt.Errorf("a reload changed %v and left %d alone, want %d and %d", r.Updated, len(r.Unchanged), changed, unchanged)
	}
	return took, nil
}

// storm reloads, each time with s0 changed so that its instance must be replaced, and up.
func (r *reloads) storm(ctx context.Context) (*stormedReloads, error) {
	// The watcher would reload a second time.
	r.host.sections = "config_reload: {enabled: false}\n"
	t, err := r.start(ctx, r.servers)
	if err != nil {
		return nil, err
	}
	defer t.stop()
	if err := t.prime(); err != nil {
		return nil, err
	}
	first, err := os.ReadFile(t.file)
	if err != nil {
		return nil, err
	}
	second := strings.Replace(string(first), "  s0: {", "  s0: {cwd: /, ", 1)
	texts := []string{second, string(first)}
	reaper, err := t.reaper()
	if err != nil {
		return nil, err
	}
	pids, err := t.pids()
	if err != nil {
		return nil, err
	}
	s := &stormedReloads{}
	for i := range r.warmup + r.reloads {
		if i == r.warmup {
			if s.before, s.reaper[0], err = r.atRest(ctx, t, reaper); err != nil {
				return nil, err
			}
		}
		if measured := i - r.warmup; measured >= 0 && measured%(r.reloads/reloadSamples) == 0 {
			if err := s.sample(t, reaper, i); err != nil {
				return nil, err
			}
		}
		if err := replaceFile(t.file, texts[i%2]); err != nil {
			return nil, err
		}
		took, err := t.reload(1, r.servers-1)
		if err != nil {
			return nil, fmt.Errorf("reload %d: %w\n%s", i, err, t.log)
		}
		s.took.Record(took)
		if err := t.call(0, "again"); err != nil {
			return nil, fmt.Errorf("after reload %d: %w", i, err)
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
	}
	if s.after, s.reaper[1], err = r.atRest(ctx, t, reaper); err != nil {
		return nil, err
	}
	now, err := t.pids()
	if err != nil {
		return nil, err
	}
	for i := 1; i < r.servers; i++ {
		if now[i] != pids[i] {
			s.moved++
		}
	}
	return s, nil
}

func (s *stormedReloads) sample(t *trial, reaper, after int) error {
	own, err := driver.OwnMemory(t.pid)
	if err != nil {
		return err
	}
	its, err := driver.OwnMemory(reaper)
	if err != nil {
		return err
	}
	s.samples = append(s.samples, memorySample{after, own})
	s.reaperSamples = append(s.reaperSamples, memorySample{after, its})
	return nil
}

// atRest are the vitals of the runtime and of its reaper when nothing has happened for a while.
func (r *reloads) atRest(ctx context.Context, t *trial, reaper int) (own, its vitals, err error) {
	look := func() (vitals, error) { return t.rested(ctx) }
	if r.quick {
		look = t.vitals
	}
	if own, err = look(); err != nil {
		return own, its, err
	}
	if its.Descriptors, _, err = openFiles(reaper, filepath.Dir(t.file)); err != nil {
		return own, its, err
	}
	its.Memory, err = driver.OwnMemory(reaper)
	return own, its, err
}

// pids are the processes of all servers.
func (t *trial) pids() ([]int, error) {
	pids := make([]int, t.servers)
	return pids, t.each(func(i int) error {
		s, err := t.standing(i)
		pids[i] = s.PID
		return err
	})
}

// replaceFile writes as editors do: whoever reads sees the old text or the new one.
func replaceFile(path, text string) error {
	if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// unchanged reloads a file that nobody changed, with all its servers up.
func (r *reloads) unchanged(ctx context.Context) (*driver.Histogram, error) {
	t, err := r.start(ctx, r.idle)
	if err != nil {
		return nil, err
	}
	defer t.stop()
	if err := t.prime(); err != nil {
		return nil, err
	}
	took := &driver.Histogram{}
	for range r.idleReloads {
		one, err := t.reload(0, r.idle)
		if err != nil {
			return nil, err
		}
		took.Record(one)
	}
	return took, nil
}

// write prints the tables; its error names what was left behind. Times are only printed.
func (r *reloads) write(w io.Writer, s *stormedReloads, idle *driver.Histogram) error {
	var errs []error
	row := func(name string, from, to, slack int, goal string) {
		mark := ""
		if to-from > slack || from-to > slack {
			mark = " **over**"
			errs = append(errs, fmt.Errorf("%s: %d at the baseline, %d at the end", name, from, to))
		}
		fmt.Fprintf(w, "| %s | %d | %d%s | %s |\n", name, from, to, mark, goal)
	}
	fmt.Fprintf(w, "%d reloads of two files of %d servers, of which one differs and runs; after %d others that warm up. Load average %s.\n\n",
		r.reloads, r.servers, r.warmup, loadAverage())
	fmt.Fprintln(w, "| | baseline | at the end | allowed |\n|---|---:|---:|---|")
	row("goroutines", s.before.Goroutines, s.after.Goroutines, slackGoroutines, "± 5")
	row("descriptors", s.before.Descriptors, s.after.Descriptors, slackDescriptors, "± 0")
	row("descriptors of the reaper", s.reaper[0].Descriptors, s.reaper[1].Descriptors, slackDescriptors, "± 0")
	row("servers with another process", 0, s.moved, 0, "0")
	fmt.Fprintf(w, "| memory of its own at rest, KiB | %d | %d | |\n", s.before.Memory>>10, s.after.Memory>>10)
	fmt.Fprintf(w, "| memory of the reaper, KiB | %d | %d | |\n", s.reaper[0].Memory>>10, s.reaper[1].Memory>>10)
	if r.reloads < wholeCycles {
		fmt.Fprintf(w, "\nFewer than %d reloads: growth is mostly what waits in the store's table.\n", wholeCycles)
	}
	fmt.Fprintln(w, "\n| memory for 1,000 reloads, from the lowest of the first half to the lowest of the second | KiB | goal |\n|---|---:|---|")
	for _, of := range []struct {
		name    string
		samples []memorySample
	}{{"the runtime", s.samples}, {"the reaper", s.reaperSamples}} {
		grows, mark := 1000*growth(of.samples[afterRest:]), ""
		if grows > goalSlope && r.reloads >= wholeCycles {
			mark = " **over**"
			errs = append(errs, fmt.Errorf("the memory of %s grows by %.0f KiB for 1,000 reloads", of.name, grows/1024))
		}
		fmt.Fprintf(w, "| %s | %.0f%s | at most %d |\n", of.name, grows/1024, mark, goalSlope>>10)
	}
	fmt.Fprint(w, "\nThe runtime's own memory along the way, MiB:")
	for _, sample := range s.samples {
		fmt.Fprintf(w, " %.1f", float64(sample.bytes)/(1<<20))
	}
	fmt.Fprintln(w)
	fmt.Fprintln(w, "\n| reload of | p50 | p99 | goal |\n|---|---|---|---|")
	fmt.Fprintf(w, "| %d servers, one changed and stopped | %s | %s | |\n", r.servers, ms(s.took.Quantile(0.5)), ms(s.took.Quantile(0.99)))
	fmt.Fprintf(w, "| %d unchanged servers | %s | %s | at most %s |\n", r.idle, ms(idle.Quantile(0.5)), ms(idle.Quantile(0.99)), ms(goalUnchanged))
	return errors.Join(errs...)
}
