package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/aabb9013/hangar/bench/driver"
)

// terminated is R12: the fleet's end after one SIGTERM under load, and after two.
func (t *times) terminated(ctx context.Context) error {
	for _, twice := range []bool{false, true} {
		e, err := t.end(ctx, twice)
		if err != nil {
			return err
		}
		after := "SIGTERM"
		if twice {
			after = "second SIGTERM"
			t.atMost("R12", fmt.Sprintf("%s to exit, %d servers, one in twenty ignores it", after, t.fleet), e.exit, time.Second)
		} else {
			t.atMost("R12", fmt.Sprintf("%s to exit, %d servers, one in twenty ignores it", after, t.fleet), e.exit, 15*time.Second)
			t.atMost("R12", "calls under way were answered", e.drained, 10*time.Second)
			t.refusals(&e.refused)
		}
		t.count("R12", "exit code after the "+after, e.code, 0)
		t.count("R12", "processes left after the "+after, e.left, 0)
	}
	return nil
}

// refusals adds the row of calls that began after the signal. Without one that was refused there is no time to tell.
func (t *times) refusals(refused *driver.Histogram) {
	const most = 100 * time.Millisecond
	if refused.Count() == 0 {
		t.rows = append(t.rows, timed{"R12", "p99 of new calls until their 503", "no call was refused", "at most " + ms(most), true})
		return
	}
	t.atMost("R12", fmt.Sprintf("p99 of %d new calls until their 503", refused.Count()), refused.Quantile(0.99), most)
}

// ending is a fleet under load that is about to end.
type ending struct {
	*trial
	signalled  atomic.Bool
	load, held sync.WaitGroup

	mu      sync.Mutex
	refused driver.Histogram // of calls that began after the signal
	faults  []error
}

// ended is how it did.
type ended struct {
	exit, drained time.Duration // from the last signal; until the last call under way was answered
	refused       driver.Histogram
	code, left    int
}

const heldCalls = 20

// end has calls under way and more coming, signals once or twice, and waits for the exit.
func (t *times) end(ctx context.Context, twice bool) (how ended, err error) {
	mixed := *t
	mixed.stubFlagsOf = func(i int) []string {
		if i%20 == 0 {
			return []string{"-ignore-term", "-ignore-eof"}
		}
		return nil
	}
	running, err := mixed.start(ctx, t.fleet)
	if err != nil {
		return how, err
	}
	defer running.stop()
	if err := running.prime(); err != nil {
		return how, err
	}
	e := &ending{trial: running}
	for w := range 4 {
		e.load.Go(func() { e.work(ctx, w) })
	}
	for i := range min(heldCalls, t.fleet) {
		e.held.Go(func() { e.hold(i, !twice) })
	}
	pause(ctx, time.Second) // the calls have reached their servers
	e.signalled.Store(true)
	at, err := time.Now(), e.sigterm()
	if twice && err == nil {
		pause(ctx, 500*time.Millisecond)
		at, err = time.Now(), e.sigterm()
	}
	if err != nil {
		return how, err
	}
	e.held.Wait()
	how.drained = time.Since(at)
	select {
	case <-e.done:
	case <-time.After(readyAgain):
		return how, errors.New("the program does not end")
	}
	how.exit, how.code = time.Since(at), e.cmd.ProcessState.ExitCode()
	e.load.Wait()
	how.left, how.refused = len(t.tagged()), e.refused
	return how, errors.Join(append(e.faults, ctx.Err())...)
}

// work calls one server after the other until nobody answers.
func (e *ending) work(ctx context.Context, first int) {
	for i := first; ; i = (i + 4) % e.servers {
		late, began := e.signalled.Load(), time.Now()
		err := e.call(i, "load")
		switch {
		case err == nil:
		case strings.Contains(err.Error(), "status 503"):
			if late {
				e.mu.Lock()
				e.refused.Record(time.Since(began))
				e.mu.Unlock()
			}
			pause(ctx, lookAgain)
		case e.signalled.Load():
			return // the listener is closed, or the call was cut off
		default:
			e.fault(err)
			return
		}
	}
}

// hold has a call under way when the signal comes.
func (e *ending) hold(i int, mustEnd bool) {
	if err := e.request("POST", serverPath(i)+"/tools/sleep/call", `{"ms":2000}`, nil); err != nil && mustEnd {
		e.fault(fmt.Errorf("a call under way: %w", err))
	}
}

func (e *ending) fault(err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.faults = append(e.faults, err)
}

// sigterm asks the program to end.
func (t *trial) sigterm() error { return t.cmd.Process.Signal(syscall.SIGTERM) }

// ladderTime is what the stop ladder takes with a child that ignores its rungs: 2 s for the end of stdin, 5 s for SIGTERM.
const ladderTime = 7 * time.Second

// stubborn is C08: how long a stop takes, and what is left of the tree then.
func (t *times) stubborn(ctx context.Context) error {
	const servers = 5
	running, err := t.alone(ctx)
	if err != nil {
		return err
	}
	defer running.stop()
	if err := t.begin(running, servers, nil, "-ignore-term", "-ignore-eof", "-grandchild"); err != nil {
		return err
	}
	before := len(t.tagged())
	var group sync.WaitGroup
	took, errs := make([]time.Duration, servers), make([]error, servers)
	for i := range servers {
		group.Go(func() {
			began := time.Now()
			errs[i] = running.request("POST", serverPath(i+1)+"/stop", "", nil)
			took[i] = time.Since(began)
		})
	}
	group.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	least, most := took[0], took[0]
	for _, one := range took {
		least, most = min(least, one), max(most, one)
	}
	t.between("C08", "stop of a child that ignores it, the quickest of 5", least, ladderTime-200*time.Millisecond, ladderTime+200*time.Millisecond)
	t.between("C08", "the slowest of 5", most, ladderTime-200*time.Millisecond, ladderTime+200*time.Millisecond)
	t.count("C08", fmt.Sprintf("of their %d processes left then", 2*servers), len(t.tagged())-(before-2*servers), 0)
	return nil
}

// daemons is C09: a child ends while its daemon holds stdout.
func (t *times) daemons(ctx context.Context) error {
	const servers = 10
	running, err := t.alone(ctx)
	if err != nil {
		return err
	}
	defer running.stop()
	if err := t.begin(running, servers, nil, "-grandchild"); err != nil {
		return err
	}
	slowest, alive := time.Duration(0), 0
	for i := 1; i <= servers; i++ {
		daemon, err := running.number(i, "grandchild")
		if err != nil {
			return err
		}
		took, err := t.killAndSee(ctx, running, i)
		if err != nil {
			return err
		}
		slowest = max(slowest, took)
		if t.owns(daemon) {
			alive++
		}
	}
	t.atMost("C09", "exit of a child whose daemon holds stdout seen, the slowest of 10", slowest, 100*time.Millisecond)
	t.count("C09", "of the daemons alive when the next instance was ready", alive, 0)
	return nil
}
