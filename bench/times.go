package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/aabb9013/hangar/internal/testserver"
)

// times measures every time that a numbered promise states (docs/tests.md), with the built program and real children.
type times struct {
	settings
	fleet, killed, loops int
	loopTime             time.Duration
	rows                 []timed
	skipped              []string
}

// timed is one measured time, or count, beside what is allowed.
type timed struct {
	number, what      string
	measured, allowed string
	missed            bool
}

// timing measures the times of some promises.
type timing struct {
	numbers []string
	run     func(*times, context.Context) error
}

// timings are all of them, in the order in which they are measured.
var timings = []timing{
	{[]string{"R01", "R02"}, (*times).killsOneByOne},
	{[]string{"R03"}, (*times).killsAtOnce},
	{[]string{"R04"}, (*times).crashLoops},
	{[]string{"R08"}, (*times).deadlines},
	{[]string{"R09"}, (*times).departures},
	{[]string{"R10"}, (*times).runtimeKilled},
	{[]string{"R11"}, (*times).reaperKilled},
	{[]string{"R12"}, (*times).terminated},
	{[]string{"C02"}, (*times).endlessLine},
	{[]string{"C05"}, (*times).stalled},
	{[]string{"C06"}, (*times).loud},
	{[]string{"C08"}, (*times).stubborn},
	{[]string{"C09"}, (*times).daemons},
	{[]string{"C10"}, (*times).zombies},
	{[]string{"C11"}, (*times).floods},
	{[]string{"E01"}, (*times).noProcessSlot},
	{[]string{"E10"}, (*times).tenThousandCalls},
}

// runTimes measures the times of all promises, or of those that -only names, and prints them beside what is allowed.
func runTimes(ctx context.Context, args []string) error {
	var t times
	fs := trialFlags("times", &t.settings)
	only := fs.String("only", "", "`numbers` to measure, such as R12,C08; empty: all")
	check := fs.Bool("check", false, "fail when a time is missed")
	fs.IntVar(&t.fleet, "fleet", 500, "servers of R12")
	fs.IntVar(&t.killed, "killed", 300, "servers of R03 and R10")
	fs.IntVar(&t.loops, "loops", 50, "crash loops of R04")
	fs.DurationVar(&t.loopTime, "loop-time", time.Minute, "how long R04 looks at them")
	if err := fs.Parse(args); err != nil {
		return ignoreHelp(err)
	}
	if t.fleet < 20 || t.killed < 1 || t.loops < 1 || t.loopTime < time.Second {
		return errors.New("-fleet must be 20 at least, -killed and -loops positive, -loop-time 1s at least")
	}
	chosen, err := chosenTimings(*only)
	if err != nil {
		return err
	}
	done, err := t.open()
	if err != nil {
		return err
	}
	defer done()
	before := loadAverage()
	for _, one := range chosen {
		fmt.Fprintf(os.Stderr, "bench: %s\n", strings.Join(one.numbers, ", "))
		if err := one.run(&t, ctx); err != nil {
			return fmt.Errorf("%s: %w", strings.Join(one.numbers, ", "), err)
		}
	}
	missed := t.write(os.Stdout, before)
	if *check {
		return missed
	}
	return nil
}

// chosenTimings are those that measure one of the listed numbers; all, if none is listed.
func chosenTimings(list string) ([]timing, error) {
	if list == "" {
		return timings, nil
	}
	wanted := map[string]bool{}
	for number := range strings.SplitSeq(list, ",") {
		wanted[strings.TrimSpace(number)] = true
	}
	var chosen []timing
	for _, one := range timings {
		if slices.ContainsFunc(one.numbers, func(n string) bool { return wanted[n] }) {
			chosen = append(chosen, one)
		}
		for _, n := range one.numbers {
			delete(wanted, n)
		}
	}
	if len(wanted) > 0 {
		return nil, fmt.Errorf("-only: no time is measured for %s", strings.Join(slices.Sorted(maps.Keys(wanted)), ", "))
	}
	return chosen, nil
}

// atMost adds a row with a time that has an upper bound.
func (t *times) atMost(number, what string, got, most time.Duration) {
	t.rows = append(t.rows, timed{number, what, ms(got), "at most " + ms(most), got > most})
}

// between adds a row with a time that has bounds on both sides.
func (t *times) between(number, what string, got, least, most time.Duration) {
	t.rows = append(t.rows, timed{number, what, ms(got), ms(least) + " to " + ms(most), got < least || got > most})
}

// count adds a row with a number that has an upper bound.
func (t *times) count(number, what string, got, most int) {
	t.rows = append(t.rows, timed{number, what, fmt.Sprint(got), fmt.Sprint("at most ", most), got > most})
}

// skip tells why a promise could not be measured here.
func (t *times) skip(number, why string) { t.skipped = append(t.skipped, number+": "+why) }

// write prints the table and returns what was missed.
func (t *times) write(w io.Writer, load string) error {
	var missed []error
	fmt.Fprintf(w, "Times of the numbered promises: seed %d; load average %s before, %s after.\n\n", t.seed, load, loadAverage())
	fmt.Fprintln(w, "| number | what | measured | allowed |\n|---|---|---:|---:|")
	for _, r := range t.rows {
		mark := ""
		if r.missed {
			mark = " **missed**"
			missed = append(missed, fmt.Errorf("%s, %s: %s, allowed is %s", r.number, r.what, r.measured, r.allowed))
		}
		fmt.Fprintf(w, "| %s | %s | %s%s | %s |\n", r.number, r.what, r.measured, mark, r.allowed)
	}
	for _, why := range t.skipped {
		fmt.Fprintf(w, "\nNot measured: %s\n", why)
	}
	return errors.Join(missed...)
}

// alone starts the program with one server, s0, that is up.
func (t *times) alone(ctx context.Context) (*trial, error) {
	running, err := t.start(ctx, 1)
	if err != nil {
		return nil, err
	}
	if err := running.prime(); err != nil {
		running.stop()
		return nil, err
	}
	return running, nil
}

// make makes server i by the API: a stub with these flags, or another program.
func (t *times) make(on *trial, i int, keys map[string]any, flags ...string) error {
	command, env := testserver.Command(flags...)
	env[runKey] = t.tag
	spec := map[string]any{"mcp_server_id": fmt.Sprint("s", i), "mode": "subprocess", "command": command, "env": env, "idle_ttl_s": 3600}
	for key, value := range keys {
		spec[key] = value
	}
	body, err := json.Marshal(spec)
	if err != nil {
		return err
	}
	return on.request("POST", "/api/mcp_servers", string(body), nil)
}

// begin makes a number of servers after s0 and calls each once.
func (t *times) begin(on *trial, count int, keys map[string]any, flags ...string) error {
	for i := 1; i <= count; i++ {
		if err := t.make(on, i, keys, flags...); err != nil {
			return err
		}
		if err := on.call(i, "up"); err != nil {
			return err
		}
	}
	return nil
}

// seenDead is when the runtime saw the last unwanted end of a server's instance.
func (t *trial) seenDead(i int) (time.Time, error) {
	var answer struct{ Crashes []struct{ At time.Time } }
	if err := t.request("GET", serverPath(i)+"/crashes?limit=1", "", &answer); err != nil {
		return time.Time{}, err
	}
	if len(answer.Crashes) == 0 {
		return time.Time{}, fmt.Errorf("s%d has no crash", i)
	}
	return answer.Crashes[0].At, nil
}
