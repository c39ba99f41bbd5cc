package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aabb9013/hangar/bench/driver"
)

const (
	loadWorkers = 32
	// excused is how long after a disturbance calls to that server may fail.
	excused = 10 * time.Second
)

// load calls servers at random, so many times a second, and tells failures that somebody caused from those that nobody
// may see.
type load struct {
	trial     *trial
	disturbed []atomic.Int64 // unix ns of the last disturbance of each server
	stopping  atomic.Bool
	workers   sync.WaitGroup
	began     time.Time

	calls, cut atomic.Uint64 // cut: failed for a disturbance
	mu         sync.Mutex
	times      driver.Histogram // of calls to servers that nobody disturbed
	failed     int
	first      error // of those that nobody may see
}

func (t *trial) startLoad(rate int) *load {
	l := &load{trial: t, disturbed: make([]atomic.Int64, t.servers), began: time.Now()}
	for w := range loadWorkers {
		l.workers.Go(func() { l.work(w, time.Duration(loadWorkers)*time.Second/time.Duration(rate)) })
	}
	return l
}

// disturb notes that something is about to be done to a server.
func (l *load) disturb(i int) { l.disturbed[i].Store(time.Now().UnixNano()) }

func (l *load) work(w int, interval time.Duration) {
	random := rand.New(rand.NewPCG(l.trial.seed, uint64(w)+1))
	next := l.began.Add(time.Duration(random.Int64N(int64(interval))))
	for n := 0; !l.stopping.Load(); n++ {
		if late := time.Since(next); late > time.Second {
			next = time.Now() // a host that is too slow makes fewer calls, no burst of them
		}
		time.Sleep(time.Until(next))
		next = next.Add(interval)
		i := random.IntN(l.trial.servers)
		began := time.Now()
		err := l.trial.call(i, fmt.Sprintf("w%d-%d", w, n))
		l.note(i, time.Since(began), err)
	}
}

// slow has a call under way at a server for a moment, for what comes next to meet one.
func (l *load) slow(i int) {
	l.workers.Go(func() {
		began := time.Now()
		err := l.trial.request("POST", serverPath(i)+"/tools/sleep/call", `{"ms":300}`, nil)
		l.note(i, time.Since(began), err)
	})
}

func (l *load) note(i int, took time.Duration, err error) {
	l.calls.Add(1)
	touched := l.disturbed[i].Load() > time.Now().Add(-took-excused).UnixNano()
	if err != nil && touched && !errors.Is(err, errWrongAnswer) {
		l.cut.Add(1)
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if !touched {
		l.times.Record(took)
	}
	if err != nil {
		l.failed++
		if l.first == nil {
			l.first = err
		}
	}
}

// loadResult is what a load saw.
type loadResult struct {
	Calls, Cut, Failed int
	Rate               float64 // calls in a second
	P50, P99           time.Duration
	First              error
}

func (l *load) stop() loadResult {
	elapsed := time.Since(l.began)
	l.stopping.Store(true)
	l.workers.Wait()
	return loadResult{
		Calls: int(l.calls.Load()), Cut: int(l.cut.Load()), Failed: l.failed, Rate: float64(l.calls.Load()) / elapsed.Seconds(),
		P50: l.times.Quantile(0.5), P99: l.times.Quantile(0.99), First: l.first,
	}
}

// err is not nil when a call failed that nobody had touched.
func (r loadResult) err() error {
	if r.Failed == 0 {
		return nil
	}
	return fmt.Errorf("%d calls failed on servers that nobody had disturbed, or were answered wrongly; the first: %w", r.Failed, r.First)
}
