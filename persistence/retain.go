package persistence

import (
	"errors"
	"fmt"
	"time"

	"github.com/dgraph-io/badger/v4"
)

// retainBlocks is how many blocks of a class an append may always drop.
const retainBlocks = 64

// keptBytes is what the blocks of a class take that are there.
func (s *Badger) keptBytes(c class) uint64 {
	dropped := s.droppedBytes[c].Load() // before what was written, which is never less
	return s.writtenBytes[c].Load() - dropped
}

// retain drops the oldest blocks of a class while it is too large, after an append
// at the end that the log had before; see the package comment for how many.
// Positions and versions survive their blocks.
func (s *Badger) retain(before tail) {
	for c := range classCount {
		s.retainBytes(c, s.ledger.committed.offset[c]-before.offset[c])
	}
}

func (s *Badger) retainBytes(c class, appended uint64) {
	limit := s.sizing.maxLog[c]
	var blocks int
	var bytes uint64
	for s.keptBytes(c) > limit && (blocks < retainBlocks || bytes < 2*appended) {
		before := s.droppedBytes[c].Load()
		written := s.writtenBytes[c].Load()
		n, err := s.dropOldest(c, func(_ *block, dropped uint64) bool { return written-dropped > limit })
		if err != nil {
			// What was to be stored is stored; the next append tries again.
			s.logger.Warn("oldest events not dropped", "dir", s.opts.Dir, "of", c.String(), "err", err)
			return
		}
		if n == 0 {
			return
		}
		blocks += n
		bytes += s.droppedBytes[c].Load() - before
	}
}

// retainAge drops blocks whose newest event is too old, at most retainBlocks of a
// class at a time, so that a clock that was set forward by mistake empties the log
// slowly.
func (s *Badger) retainAge() {
	for c := range classCount {
		if age := s.opts.maxAge(c); age > 0 {
			s.retainNewer(c, s.opts.Now().Add(-age))
		}
	}
}

func (s *Badger) retainNewer(c class, limit time.Time) {
	if s.begin(0) != nil {
		return
	}
	defer s.end()
	_, err := s.dropOldest(c, func(b *block, _ uint64) bool {
		at, ok := b.newest()
		return !ok || at.Before(limit)
	})
	if err != nil {
		s.logger.Warn("old events not dropped", "dir", s.opts.Dir, "of", c.String(), "err", err)
	}
}

// newest is the time of the block's last event; false if it cannot be read.
func (b *block) newest() (time.Time, bool) {
	events, err := b.scan(nil, selection{whole: true, from: b.last(), limit: 1})
	if err != nil || len(events) == 0 {
		return time.Time{}, false
	}
	return events[0].At, true
}

// dropOldest drops blocks of a class that are due, at most retainBlocks and never
// the newest of the log, in one transaction, and says how many. due also gets the
// bytes of the class that were dropped before the block.
func (s *Badger) dropOldest(c class, due func(b *block, dropped uint64) bool) (int, error) {
	txn := s.db.NewTransaction(true)
	defer txn.Discard()
	w := &sweep{s: s, txn: txn, class: c, due: due, start: s.start}
	if err := w.run(); err != nil {
		return 0, err
	}
	if !w.changed {
		s.start = w.start // the next search begins where this one ended
		return 0, nil
	}
	if err := txn.Set([]byte(keyFirst), w.start.append(nil)); err != nil {
		return 0, err
	}
	// The mark moves first: a reader that then misses a block knows why.
	s.setStart(w.start)
	if err := txn.Commit(); err != nil {
		return 0, s.breakDown(fmt.Errorf("cannot write to %s: %w", s.opts.Dir, err))
	}
	s.dropped.Add(uint64(w.dropped))
	return w.dropped, nil
}

// readBlock opens the block or gap that begins at the position; what it refers to
// is a copy. badger.ErrKeyNotFound or a *CorruptError.
func readBlock(txn *badger.Txn, position uint64) (*block, error) {
	item, err := txn.Get(blockKey(position))
	if err != nil {
		return nil, err
	}
	v, err := item.ValueCopy(nil)
	if err != nil {
		return nil, err
	}
	return openBlock(position, v)
}

// isDamage reports whether an error means that an entry is not there or not sound.
func isDamage(err error) bool {
	return errors.Is(err, badger.ErrKeyNotFound) || errors.Is(err, ErrCorrupt)
}
