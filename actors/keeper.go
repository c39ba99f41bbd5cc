package actors

import (
	"errors"
	"sync/atomic"
	"time"

	"github.com/aabb9013/hangar/persistence"
	"github.com/aabb9013/hangar/supervisor"
)

const (
	// saveInterval is how long a changed state may wait to be stored; one that
	// came to rest (stopped, failed, given up) is stored at once.
	saveInterval = time.Second
	// countersInterval is how long counters that moved alone may wait.
	countersInterval = 5 * time.Second
	// saveBatch bounds the documents of one commit.
	saveBatch = 200
	// tailEvents is how many positions of the log a start may have to look
	// through before they are worth a write of their own.
	tailEvents = 256
)

// keeper stores the states of servers: one goroutine that owns no queue, since
// what is to be stored stands in the cells. It waits for each of its commits, so
// a slow log slows only the keeper down.
type keeper struct {
	sys      *System
	changed  chan struct{}
	urgent   chan struct{}
	stop     chan struct{}
	stopped  chan struct{}
	loaded   atomic.Bool // the fleet has every server whose state is stored
	counters time.Time   // when counters were last stored; the goroutine's own
	told     bool        // the store has a savedDoc of this run
	savedTo  uint64      // what that says; both the goroutine's own
}

func newKeeper(sys *System) *keeper {
	return &keeper{
		sys: sys, changed: make(chan struct{}, 1), urgent: make(chan struct{}, 1),
		stop: make(chan struct{}), stopped: make(chan struct{}),
	}
}

// tell says that something is to be stored. It never blocks.
func (k *keeper) tell(urgent bool) {
	to := k.changed
	if urgent {
		to = k.urgent
	}
	select {
	case to <- struct{}{}:
	default:
	}
}

// run ends after close, with everything stored that can be.
func (k *keeper) run() {
	defer close(k.stopped)
	for {
		select {
		case <-k.urgent:
		case <-k.changed:
			select {
			case <-k.urgent:
			case <-k.stop:
			case <-time.After(saveInterval):
			}
		case <-k.stop:
			k.save(true)
			return
		}
		k.save(false)
	}
}

// close stores what is left, while the log still takes it.
func (k *keeper) close() {
	close(k.stop)
	select {
	case <-k.stopped:
	case <-time.After(lastGrace):
		k.sys.logger.Error("the state of the servers was not stored in time")
	}
}

// save stores the states that changed, and then how far in the log that is: a
// change is marked as unsaved before its event is given to the log (cell.step),
// so that no event up to the position tells of one that this save does not see.
// What cannot be stored is tried again.
func (k *keeper) save(last bool) {
	now, position, failed, stored := time.Now(), k.sys.opts.Store.LastPosition(), false, false
	counting := last || now.Sub(k.counters) >= countersInterval
	if counting {
		k.counters = now
	}
	var batch []*cell
	flush := func() {
		stored = true
		if err := k.commit(batch); err != nil {
			failed = true
			for _, c := range batch {
				c.unsaved.Store(true)
			}
			k.tell(false)
			if !errors.Is(err, supervisor.ErrReadOnly) {
				k.sys.logger.Warn("state of servers not stored", "servers", len(batch), "err", err)
			}
		}
		batch = nil // the log may still read it after the end of this runtime
	}
	for _, c := range k.sys.fleet.Load().order {
		moved := c.counters.Calls.Load() != c.savedCalls
		if moved && !counting {
			k.tell(false)
		}
		if c.leaving.Load() || !c.unsaved.Swap(false) && !(moved && counting) {
			continue
		}
		if batch = append(batch, c); len(batch) == saveBatch {
			flush()
		}
	}
	if len(batch) > 0 {
		flush()
	}
	if !failed && k.loaded.Load() && (!k.told || stored && position > k.savedTo || counting && position >= k.savedTo+tailEvents) {
		doc, err := savedTo(position)
		if err == nil && k.write(doc) == nil {
			k.savedTo, k.told = position, true
		}
	}
}

// commit stores the states as they are when the log takes them: an operator's
// stop that is stored meanwhile (cell.answerStored) is not overwritten by a state
// of before.
func (k *keeper) commit(cells []*cell) error {
	for _, c := range cells {
		c.savedCalls = c.counters.Calls.Load()
	}
	return k.send(commit{docs: func() []persistence.Doc {
		docs := make([]persistence.Doc, 0, len(cells))
		for _, c := range cells {
			doc, err := c.keptDoc()
			if err != nil {
				k.sys.logger.Error("state of a server not stored", "server", c.id, "err", err)
				continue
			}
			docs = append(docs, doc)
		}
		return docs
	}})
}

func (k *keeper) write(docs ...persistence.Doc) error {
	return k.send(commit{batch: persistence.Batch{Docs: docs}})
}

// send waits until the log has written a commit.
func (k *keeper) send(m commit) error {
	done := make(chan error, 1)
	m.done = func(err error) { answer(done, err) }
	k.sys.tell(k.sys.eventlog, m)
	select {
	case err := <-done:
		return err
	case <-k.sys.living.Done(): // nobody may be left to answer
		return supervisor.ErrClosing
	}
}
