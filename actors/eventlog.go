package actors

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/aabb9013/hangar/persistence"
	"github.com/aabb9013/hangar/supervisor"
)

const (
	// FlushInterval is how long a finished call may wait for its block. Until
	// then it is in the store's call buffer, which for one on disk survives kill
	// -9 as well.
	FlushInterval = 100 * time.Millisecond
	// flushAgain is when a flush that failed is tried again.
	flushAgain = time.Second
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
	told    []commit // written, the askers not yet answered
	toldErr []error  // of each
	calls   bool     // the call buffer wants to be flushed
	writing bool
	flushes []flushAll
	dropped uint64 // events refused for want of room, not yet on record
	owed    uint64 // of them, those that the last flush failed to put on record
}

func (l *eventLog) receive(ctx actor.Context) {
	switch m := ctx.Message().(type) {
	case commit:
		if len(l.waiting) >= MaxCommits {
			if m.done == nil { // nobody is told: the log itself says so later
				l.dropped += uint64(len(m.batch.Events))
				l.sys.eventsLost.Add(uint64(len(m.batch.Events)))
			}
			m.fail(fmt.Errorf("%w: %d changes wait for the event log", supervisor.ErrOverloaded, len(l.waiting)))
			return
		}
		l.waiting = append(l.waiting, m)
		l.write()
		if len(m.batch.Events) > 0 {
			l.sys.keeper.tell(false) // the log moves on
		}
	case resumeLog:
		l.tellWriters()
		l.write()
	case flushCalls:
		l.calls = true
		l.write()
		l.sys.keeper.tell(false) // counters have moved
	case flushAll:
		l.flushes = append(l.flushes, m)
		l.calls = true
		l.write()
	case written:
		l.onWritten(m)
	}
}

func (l *eventLog) onWritten(m written) {
	l.writing = false
	l.told, l.toldErr = m.commits, m.errs
	if m.callErr != nil {
		l.sys.callLogFailed(m.callErr)
		l.owed = m.dropped
		if !l.sys.closing.Load() {
			l.sys.flushTimer.Reset(flushAgain)
		}
	}
	l.tellWriters()
	l.write()
}

// tellWriters answers those whose commits were written, each once even if
// telling one of them panics.
func (l *eventLog) tellWriters() {
	for len(l.told) > 0 {
		c, err := l.told[0], l.toldErr[0]
		l.told, l.toldErr = l.told[1:], l.toldErr[1:]
		if c.done != nil {
			c.done(err)
		} else if err != nil {
			l.sys.eventsLost.Add(uint64(len(c.batch.Events)))
			l.sys.logger.Error("events not written", "err", err, "events", len(c.batch.Events))
		}
	}
	l.told, l.toldErr = nil, nil
}

// panicked takes up what receive left half done: the writer must not rest
// while something waits for it.
func (l *eventLog) panicked(msg any, err error) {
	defer l.sys.tell(l.sys.eventlog, resumeLog{})
	if m, ok := msg.(written); ok && l.writing {
		l.onWritten(m)
		return
	}
	failMessage(msg, err)
}

// write starts the writer goroutine if there is work and none runs.
func (l *eventLog) write() {
	if l.writing {
		return
	}
	if len(l.waiting) == 0 && !l.calls && l.dropped == 0 {
		for _, f := range l.flushes {
			answer(f.reply, nil)
		}
		l.flushes = nil
		return
	}
	n := min(len(l.waiting), maxGroup)
	group := l.waiting[:n:n]
	l.waiting = l.waiting[n:]
	calls, dropped := l.calls || l.dropped > 0, uint64(0)
	if calls {
		dropped = l.dropped + l.owed
		l.dropped, l.owed = 0, 0
	}
	l.calls, l.writing = false, true
	l.sys.goes.Add(1)
	go func() {
		defer l.sys.goes.Done()
		w := written{commits: group, errs: make([]error, len(group)), dropped: dropped}
		defer func() { l.sys.tell(l.sys.eventlog, w) }()
		defer l.sys.contained("eventlog writer", func(err error) {
			w.callErr = err
			fill(w.errs, err)
		})
		if len(group) > 0 {
			batches := make([]persistence.Batch, len(group))
			for i, c := range group {
				batches[i] = c.batch
				if c.docs != nil {
					batches[i].Docs = c.docs()
				}
			}
			commitEach(l.store, batches, w.errs)
			if slices.Contains(w.errs, nil) {
				l.sys.feed.advance()
			}
		}
		if calls {
			if w.callErr = l.store.FlushCalls(dropped); w.callErr == nil {
				l.sys.feed.advance()
			}
		}
	}()
}

// commitEach writes the batches of a group and puts the error of each into errs.
// One that the store can never take fails alone, not with those of others which
// came at the same moment.
func commitEach(store persistence.Store, batches []persistence.Batch, errs []error) {
	err := store.Commit(batches...)
	n := len(batches)
	if n > 1 && (errors.Is(err, persistence.ErrTooLarge) || errors.Is(err, persistence.ErrInvalid)) {
		commitEach(store, batches[:n/2], errs[:n/2])
		commitEach(store, batches[n/2:], errs[n/2:])
		return
	}
	stored := 0
	var partial *persistence.PartialError
	if errors.As(err, &partial) {
		stored = partial.Applied
	}
	fill(errs[stored:], storeError(err))
}

func fill(errs []error, err error) {
	for i := range errs {
		errs[i] = err
	}
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
