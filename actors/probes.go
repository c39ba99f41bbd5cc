package actors

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/aabb9013/hangar/supervisor"
)

const (
	// probeTimeout is how long a health check may take (reference section 3); it
	// never outlasts the interval of the checks.
	probeTimeout = 5 * time.Second
	// MaxProbesPerSecond bounds the health checks of the node: each wakes a
	// process that has nothing to do. One more waits, so that it is late and not
	// lost; ten thousand servers at the default interval stay below.
	MaxProbesPerSecond = 200
)

// probePace spaces the probes of all servers. It never blocks.
type probePace struct{ next atomic.Int64 }

// wait takes the next free place and returns how far away it is. now is any
// clock that never goes back.
func (p *probePace) wait(now time.Duration) time.Duration {
	const space = int64(time.Second / MaxProbesPerSecond)
	for {
		next := p.next.Load()
		at := max(next, int64(now))
		if p.next.CompareAndSwap(next, at+space) {
			return time.Duration(at) - now
		}
	}
}

// probe asks the instance for a sign of life over its link; any answer is one,
// also an error answer of a server that does not know ping.
func (c *cell) probe(epoch uint64) {
	in := c.instance
	if in == nil {
		return
	}
	late := c.sys.probes.wait(time.Since(c.sys.began))
	limit := min(probeTimeout, c.machine.Policy.ProbeInterval)
	began := time.Now()
	tell := func(err error) { c.sys.tell(c.pid, probeAnswered{epoch, time.Since(began), err}) }
	c.sys.run("probe of server "+c.id, tell, func() {
		pause(c.sys.living, in.Done(), late)
		began = time.Now()
		ctx, cancel := context.WithTimeout(c.sys.living, limit)
		defer cancel()
		_, err := in.Request(ctx, "ping", nil)
		if isAnswer(err) {
			err = nil
		}
		tell(err)
	})
}

// pause waits for d, or until ctx ends or done is closed.
func pause(ctx context.Context, done <-chan struct{}, d time.Duration) {
	if d <= 0 {
		return
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-done:
	case <-ctx.Done():
	}
}

func (c *cell) onProbe(m probeAnswered) {
	if m.epoch != c.machine.Epoch || !c.ready() {
		return
	}
	check := supervisor.Check{At: time.Now(), OK: m.err == nil, Duration: m.took}
	if m.err != nil {
		check.Error = c.secrets().Excerpt(m.err.Error(), maxReason, false)
	}
	c.tellChecked(check.OK)
	checks := append([]supervisor.Check(nil), c.checks...)
	if len(checks) >= supervisor.MaxChecks {
		checks = checks[1:]
	}
	c.checks = append(checks, check)
	if m.err == nil {
		c.lastSuccess = check.At
		c.step(supervisor.ProbePassed{Epoch: m.epoch, Duration: m.took})
		c.publish()
		return
	}
	c.failedNow("health check: " + check.Error)
	c.step(supervisor.ProbeFailed{Epoch: m.epoch, Reason: check.Error})
	c.publish()
}
