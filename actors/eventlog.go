package actors

import (
	"errors"
	"fmt"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/aabb9013/hangar/persistence"
	"github.com/aabb9013/hangar/supervisor"
)

const (
	// FlushInterval is how long a finished call may wait for its block: what
	// was answered longer ago survives kill -9.
	FlushInterval = 50 * time.Millisecond
	// MaxCommits bounds the commits that wait for the writer; one more is
	// refused with supervisor.ErrOverloaded.
	MaxCommits = 10000
	// maxGroup bounds the commits of one transaction.
	maxGroup = 512
)

// eventLog is the only writer of the store. While one write runs everything
// that arrives waits and goes into the next: group commit. It holds nothing
// but what waits, so a restart over the same struct loses nothing.
type eventLog struct {
	sys     *System
	store   persistence.Store
	waiting []commit
	calls   bool // the call buffer wants to be flushed
	writing bool
	flushes []flushAll
	spare   []byte // the drained buffer of the last flush
}

func (l *eventLog) receive(ctx actor.Context) {
	switch m := ctx.Message().(type) {
	case commit:
		if len(l.waiting) >= MaxCommits {
			m.fail(fmt.Errorf("%w: %d changes wait for the event log", supervisor.ErrOverloaded, len(l.waiting)))
			return
		}
		l.waiting = append(l.waiting, m)
		l.write()
	case flushCalls:
		l.calls = true
		l.write()
	case flushAll:
		l.flushes = append(l.flushes, m)
		l.calls = true
		l.write()
	case written:
		l.writing = false
		for _, c := range m.commits {
			if c.done != nil {
				c.done(m.err)
			} else if m.err != nil {
				l.sys.logger.Error("events not written", "err", m.err, "events", len(c.batch.Events))
			}
		}
		if m.callErr != nil {
			l.sys.callLogFailed(m.callErr)
		}
		l.write()
	}
}

// write starts the writer goroutine if there is work and none runs.
func (l *eventLog) write() {
	if l.writing {
		return
	}
	if len(l.waiting) == 0 && !l.calls {
		for _, f := range l.flushes {
			f.reply <- nil
		}
		l.flushes = nil
		return
	}
	n := min(len(l.waiting), maxGroup)
	group := l.waiting[:n:n]
	l.waiting = l.waiting[n:]
	calls := l.calls
	l.calls, l.writing = false, true
	pid := l.sys.eventlog
	go func() {
		w := written{commits: group}
		if len(group) > 0 {
			batches := make([]persistence.Batch, len(group))
			for i, c := range group {
				batches[i] = c.batch
			}
			w.err = storeError(l.store.Commit(batches...))
		}
		if calls {
			w.callErr = l.writeCalls()
		}
		l.sys.tell(pid, w)
	}()
}

// writeCalls moves the call buffer into the log; only the one writer
// goroutine runs it.
func (l *eventLog) writeCalls() error {
	records, lost := l.sys.callBuffer.Drain(l.spare[:0])
	l.spare = records
	if cap(l.spare) > 1<<20 {
		l.spare = nil
	}
	if len(records) == 0 && lost == 0 {
		return nil
	}
	return l.store.AppendCalls(records, lost)
}

// storeError gives the store's refusals the name that the API answers with.
func storeError(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, persistence.ErrClosed):
		return fmt.Errorf("%w: %w", supervisor.ErrClosing, err)
	}
	return fmt.Errorf("%w: %w", supervisor.ErrReadOnly, err)
}
