package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/aabb9013/hangar"
	"github.com/aabb9013/hangar/bench/driver"
	"github.com/aabb9013/hangar/internal/testserver"
)

// text is the text that a tool answers.
func (t *trial) text(i int, tool, arguments string) (string, error) {
	var answer struct {
		Result struct{ Content []struct{ Text string } }
	}
	if err := t.request("POST", serverPath(i)+"/tools/"+tool+"/call", arguments, &answer); err != nil {
		return "", err
	}
	if len(answer.Result.Content) != 1 {
		return "", fmt.Errorf("%s of s%d answered %+v", tool, i, answer)
	}
	return answer.Result.Content[0].Text, nil
}

// number is the number that a tool without arguments answers.
func (t *trial) number(i int, tool string) (int, error) {
	text, err := t.text(i, tool, "{}")
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(text)
}

// lists is how often the child was asked for its tools.
func (t *trial) lists(i int) (int, error) {
	text, err := t.text(i, "seen", "{}")
	if err != nil {
		return 0, err
	}
	var seen struct{ Lists int }
	return seen.Lists, json.Unmarshal([]byte(text), &seen)
}

// deadlines is R08: calls of 1 s to a child that never answers them.
func (t *times) deadlines(ctx context.Context) error {
	const calls = 10
	running, err := t.alone(ctx)
	if err != nil {
		return err
	}
	defer running.stop()
	var group sync.WaitGroup
	took, errs := make([]time.Duration, calls), make([]error, calls)
	for i := range calls {
		group.Go(func() {
			began := time.Now()
			err := running.request("POST", serverPath(0)+"/tools/sleep/call?timeout_s=1", `{"ms":600000,"deaf":true}`, nil)
			took[i] = time.Since(began)
			if err == nil || !strings.Contains(err.Error(), "status 504") {
				errs[i] = fmt.Errorf("a call with a deadline ended with %v, want status 504", err)
			}
		})
	}
	group.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	slowest := time.Duration(0)
	for _, one := range took {
		slowest = max(slowest, one)
	}
	t.between("R08", "a deadline of 1 s, the slowest of 10 calls", slowest, time.Second, 1100*time.Millisecond)
	return nil
}

// departures is R09: a client leaves, and how long the next one waits for its slot.
func (t *times) departures(ctx context.Context) error {
	const rounds = 10
	running, err := t.alone(ctx)
	if err != nil {
		return err
	}
	defer running.stop()
	if err := t.begin(running, 1, map[string]any{"max_concurrency": 1}); err != nil {
		return err
	}
	slowest := time.Duration(0)
	for range rounds {
		before, err := running.number(1, "count")
		if err != nil {
			return err
		}
		conn, err := net.Dial("tcp", running.addr)
		if err != nil {
			return err
		}
		const body = `{"ms":600000}`
		fmt.Fprintf(conn, "POST %s/tools/sleep/call HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s",
			serverPath(1), len(body), body)
		pause(ctx, 300*time.Millisecond) // it has the slot
		conn.Close()
		left := time.Now()
		after, err := running.number(1, "count")
		slowest = max(slowest, time.Since(left))
		if err != nil {
			return err
		}
		if after != before+2 {
			return fmt.Errorf("the child saw %d calls, want the one of the client that left and the next", after-before)
		}
	}
	t.atMost("R09", fmt.Sprintf("from a client's leaving to its slot's next call, the slowest of %d", rounds), slowest, time.Second)
	return ctx.Err()
}

// endlessLine is C02: the runtime's own memory while a child writes 64 MiB without a newline.
func (t *times) endlessLine(ctx context.Context) error {
	const limit = 16 << 20
	running, err := t.alone(ctx)
	if err != nil {
		return err
	}
	defer running.stop()
	before, err := driver.OwnMemory(running.pid)
	if err != nil {
		return err
	}
	cut := make(chan error, 1)
	go func() { cut <- running.request("POST", serverPath(0)+"/tools/big/call", `{"bytes":67108864}`, nil) }()
	most := before
	for {
		now, err := driver.OwnMemory(running.pid)
		if err != nil {
			return err
		}
		most = max(most, now)
		select {
		case err := <-cut:
			if err == nil || !strings.Contains(err.Error(), "message_too_large") {
				return fmt.Errorf("a line of 64 MiB ended with %v", err)
			}
			t.count("C02", "KiB that the runtime grew by for an endless line, twice the limit of 16 MiB allowed", int(most-before)>>10, 2*limit>>10)
			return nil
		case <-time.After(time.Millisecond):
		}
	}
}

// stalled is C05: 10 MB for a child that does not read them.
func (t *times) stalled(ctx context.Context) error {
	const calls = 11
	running, err := t.alone(ctx)
	if err != nil {
		return err
	}
	defer running.stop()
	if err := t.make(running, 1, nil, "-stall-at-call"); err != nil {
		return err
	}
	if err := running.startServer(1); err != nil {
		return err
	}
	body := `{"text":"` + strings.Repeat("x", 950_000) + `"}`
	began, over := time.Now(), make(chan error, calls)
	for range calls {
		go func() { over <- running.request("POST", serverPath(1)+"/tools/echo/call", body, nil) }()
	}
	// The first: calls that were not written wait for the next instance, which reads no more than this one.
	if err := <-over; err == nil || !strings.Contains(err.Error(), "stdin_stalled") {
		return fmt.Errorf("a call that nobody reads ended with %v, want stdin_stalled", err)
	}
	t.between("C05", "10 MB for a child that reads nothing were given up", time.Since(began), 5*time.Second, 5500*time.Millisecond)
	return ctx.Err()
}

// loud is C06: a child writes 1 GB to stderr as fast as it can. The child is halted and let go on in turns, for the speed of a
// host changes in seconds by more than what is allowed.
func (t *times) loud(ctx context.Context) error {
	const rounds, calls, passed = 30, 3000, 100 // the latter while each turn begins: a flood has its credit once, not in each
	running, err := t.alone(ctx)
	if err != nil {
		return err
	}
	defer running.stop()
	if err := t.begin(running, 1, nil, "-stderr-bytes", "1000000000"); err != nil {
		return err
	}
	child, err := running.standing(1)
	if err != nil {
		return err
	}
	var p99 [2]driver.Histogram // without the flood, and with it
	var beginning driver.Histogram
	for range rounds {
		for i, signal := range []syscall.Signal{syscall.SIGSTOP, syscall.SIGCONT} {
			if err := syscall.Kill(child.PID, signal); err != nil {
				return err
			}
			if err := running.record(&beginning, 0, passed); err != nil {
				return err
			}
			if err := running.record(&p99[i], 0, calls); err != nil {
				return err
			}
		}
	}
	calm, flooded := p99[0].Quantile(0.99), p99[1].Quantile(0.99)
	t.atMost("C06", fmt.Sprintf("p99 of another server's calls during a flood of stderr; without it %s", ms(calm)), flooded, calm*11/10)
	return ctx.Err()
}

// floods is C11: a child that sends 100,000 notifications in a second, and what its callers and those of another server
// see of that.
func (t *times) floods(ctx context.Context) error {
	const look = 5 * time.Second
	running, err := t.alone(ctx)
	if err != nil {
		return err
	}
	defer running.stop()
	calm, err := running.p99(0)
	if err != nil {
		return err
	}
	if err := t.begin(running, 1, nil, "-notify-flood", "1000000000", "-notify-rate", "100000"); err != nil {
		return err
	}
	began := time.Now()
	first, err := running.lists(1)
	if err != nil {
		return err
	}
	var flooded [2]time.Duration
	for i := range flooded {
		if flooded[i], err = running.p99(i); err != nil {
			return err
		}
	}
	pause(ctx, look-time.Since(began))
	last, err := running.lists(1)
	if err != nil {
		return err
	}
	elapsed := time.Since(began)
	t.count("C11", fmt.Sprintf("tools/list in %.1f s of endless list changes", elapsed.Seconds()), last-first, int(elapsed.Seconds())+1)
	t.atMost("C11", fmt.Sprintf("p99 of the flooding server's calls; without a flood %s", ms(calm)), flooded[1], 2*calm)
	t.atMost("C11", "p99 of another server's calls", flooded[0], 2*calm)
	return ctx.Err()
}

func (t *trial) p99(i int) (time.Duration, error) {
	var h driver.Histogram
	err := t.record(&h, i, 2000)
	return h.Quantile(0.99), err
}

// record makes calls of one server, one after the other.
func (t *trial) record(h *driver.Histogram, i, calls int) error {
	for n := range calls {
		began := time.Now()
		if err := t.call(i, strconv.Itoa(n)); err != nil {
			return err
		}
		h.Record(time.Since(began))
	}
	return nil
}

// tenThousandCalls is E10, in this process: 10,000 clients over loopback would measure the loopback.
func (t *times) tenThousandCalls(ctx context.Context) error {
	const calls, slots = 10_000, 100
	rt, err := hangar.New(hangar.Options{})
	if err != nil {
		return err
	}
	defer rt.Close(context.Background())
	if err := rt.Start(ctx); err != nil {
		return err
	}
	command, env := testserver.Command()
	env[runKey] = t.tag
	if err := rt.Servers().Create(ctx, hangar.ServerSpec{ID: "s", Command: command, Env: env, MaxConcurrency: slots}); err != nil {
		return err
	}
	if _, err := rt.Call(ctx, "s", "echo", map[string]string{"text": "up"}); err != nil {
		return err
	}
	type outcome struct {
		took time.Duration
		err  error
	}
	all, begin := make(chan outcome, calls), make(chan struct{})
	for range calls {
		go func() {
			<-begin
			began := time.Now()
			_, err := rt.Call(ctx, "s", "sleep", map[string]int{"ms": 1000})
			all <- outcome{time.Since(began), err}
		}()
	}
	pause(ctx, 200*time.Millisecond) // all of them stand ready
	close(begin)
	var refused driver.Histogram
	slowest := time.Duration(0)
	for range calls {
		o := <-all
		switch {
		case o.err == nil:
		case errors.Is(o.err, hangar.ErrOverloaded):
			refused.Record(o.took)
			slowest = max(slowest, o.took)
		default:
			return o.err
		}
	}
	if refused.Count() == 0 {
		return errors.New("no call was refused")
	}
	t.count("E10", fmt.Sprintf("calls of %d at once that were taken: in flight and waiting", calls), calls-int(refused.Count()), slots+1000)
	t.atMost("E10", fmt.Sprintf("p99 of %d calls until they were refused, the slowest %s", refused.Count(), ms(slowest)), refused.Quantile(0.99), 10*time.Millisecond)
	return ctx.Err()
}
