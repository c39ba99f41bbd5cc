package actors

import (
	"sync"
	"time"

	"github.com/asynkron/protoactor-go/actor"
)

// Bounds of the worker pool.
const (
	// mailboxBurst is how many messages an actor handles before it lets
	// others run.
	mailboxBurst = 300
	// maxIdleWorkers bounds the goroutines kept for the next burst.
	maxIdleWorkers = 64
	// workerIdle ends a worker that had nothing to do for so long.
	workerIdle = 10 * time.Second
)

// workers runs mailboxes on goroutines that are used again: a fresh goroutine
// for every burst, as the library has it, would grow its stack anew each time,
// which cost as much as all else the actor does for a call.
type workers struct {
	mu   sync.Mutex
	idle []*worker // the last used is the next to run, its stack is warm
}

type worker struct{ jobs chan func() }

var _ actor.Dispatcher = (*workers)(nil)

// Throughput implements actor.Dispatcher.
func (w *workers) Throughput() int { return mailboxBurst }

// Schedule implements actor.Dispatcher; it never blocks.
func (w *workers) Schedule(fn func()) {
	w.mu.Lock()
	if n := len(w.idle); n > 0 {
		next := w.idle[n-1]
		w.idle = w.idle[:n-1]
		w.mu.Unlock()
		next.jobs <- fn // has room: an idle worker has no job
		return
	}
	w.mu.Unlock()
	next := &worker{jobs: make(chan func(), 1)}
	next.jobs <- fn
	go w.run(next)
}

func (w *workers) run(self *worker) {
	timer := time.NewTimer(workerIdle)
	defer timer.Stop()
	for {
		select {
		case fn := <-self.jobs:
			fn()
			if !w.park(self) {
				return
			}
		case <-timer.C:
			if w.retire(self) {
				return
			}
			timer.Reset(workerIdle)
		}
	}
}

func (w *workers) park(self *worker) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.idle) >= maxIdleWorkers {
		return false
	}
	w.idle = append(w.idle, self)
	return true
}

// retire takes a worker that was idle out of the pool; false if it was just
// given a job.
func (w *workers) retire(self *worker) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i, other := range w.idle {
		if other == self {
			w.idle = append(w.idle[:i], w.idle[i+1:]...)
			return true
		}
	}
	return false
}
