package persistence

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/dgraph-io/badger/v4"
)

// retainBlocks is how many blocks an append may always drop.
const retainBlocks = 64

// retain drops the oldest blocks while the log is too large; see the package
// comment for how many. Positions and versions survive their blocks.
func (s *Badger) retain(appended uint64) error {
	var blocks int
	var bytes uint64
	for s.endOffset.Load()-s.firstOffset.Load() > s.sizing.maxLog &&
		(blocks < retainBlocks || bytes < 2*appended) {
		before := s.firstOffset.Load()
		limit := s.endOffset.Load() - s.sizing.maxLog
		n, err := s.dropOldest(func(_ *oldBlock, begin uint64) bool { return begin < limit })
		if err != nil {
			// What was to be stored is stored; the next append tries again.
			s.logger.Warn("oldest events not dropped", "dir", s.opts.Dir, "err", err)
			return nil
		}
		if n == 0 {
			return nil
		}
		blocks += n
		bytes += s.firstOffset.Load() - before
	}
	return nil
}

// retainAge drops blocks whose newest event is too old, at most retainBlocks at
// a time, so that a clock that was set forward by mistake empties the log slowly.
func (s *Badger) retainAge() {
	if s.opts.MaxLogAge <= 0 || s.begin(0) != nil {
		return
	}
	defer s.end()
	limit := s.opts.Now().Add(-s.opts.MaxLogAge)
	_, err := s.dropOldest(func(b *oldBlock, _ uint64) bool {
		at, ok := b.newest()
		return !ok || at.Before(limit)
	})
	if err != nil {
		s.logger.Warn("old events not dropped", "dir", s.opts.Dir, "err", err)
	}
}

// newest is the time of the block's last event; false for a damaged block.
func (b *oldBlock) newest() (time.Time, bool) {
	if len(b.dir) == 0 {
		return time.Time{}, false
	}
	events, err := b.scan(nil, selection{whole: true, from: b.last(), limit: 1})
	if err != nil || len(events) == 0 {
		return time.Time{}, false
	}
	return events[0].At, true
}

// dropOldest drops blocks that are due, at most retainBlocks and never the
// newest, in one transaction. due also gets the log offset of the block.
func (s *Badger) dropOldest(due func(b *oldBlock, begin uint64) bool) (int, error) {
	txn := s.db.NewTransaction(true)
	defer txn.Discard()
	first, begin, anchor := s.firstPosition.Load(), s.firstOffset.Load(), s.firstChecksum
	var n, entries int
	for n < retainBlocks && entries < s.sizing.entries/2 {
		old, err := s.oldest(txn, first)
		if err != nil {
			return 0, err
		}
		if old == nil || old.last() >= s.position.Load() || !due(old, begin) {
			break
		}
		if err := txn.Delete(blockKey(old.first)); err != nil {
			return 0, err
		}
		for _, d := range old.dir {
			if err := s.dropIndexEntry(txn, d); err != nil {
				return 0, err
			}
		}
		n++
		entries += 2 * (1 + len(old.dir))
		first, begin, anchor = old.last()+1, old.end, old.checksum
	}
	if n == 0 {
		return 0, nil
	}
	if err := txn.Set([]byte(keyFirst), logStart{first, begin, anchor}.append(nil)); err != nil {
		return 0, err
	}
	// The mark moves first: a reader that then misses a block knows why.
	s.firstPosition.Store(first)
	s.firstOffset.Store(begin)
	s.firstChecksum = anchor
	if err := txn.Commit(); err != nil {
		return 0, s.breakDown(fmt.Errorf("cannot write to %s: %w", s.opts.Dir, err))
	}
	s.dropped.Add(uint64(n))
	return n, nil
}

// oldBlock is what retention needs of a block.
type oldBlock struct {
	*block
	end uint64 // log offset behind it
}

// oldest reads the block at first. A damaged one is stood in for by what the
// block after it says, without a directory: its index entries stay behind.
func (s *Badger) oldest(txn *badger.Txn, first uint64) (*oldBlock, error) {
	item, err := txn.Get(blockKey(first))
	if err != nil && !errors.Is(err, badger.ErrKeyNotFound) {
		return nil, err
	}
	var old *oldBlock
	if err == nil {
		var v []byte
		if v, err = item.ValueCopy(nil); err != nil {
			return nil, err
		}
		var b *block
		if b, err = openBlock(first, v); err == nil {
			old = &oldBlock{block: b, end: b.offset + storedBytes(v, b.dir)}
		}
		if err == nil || !errors.Is(err, ErrCorrupt) {
			return old, err
		}
	}
	next, err := nextBlock(txn, first)
	if err != nil || next == nil {
		return nil, err
	}
	s.logger.Warn("damaged block dropped", "dir", s.opts.Dir, "position", first)
	return &oldBlock{
		block: &block{first: first, count: uint32(next.first - first), checksum: next.previous},
		end:   next.offset,
	}, nil
}

// nextBlock opens the first readable block behind a position.
func nextBlock(txn *badger.Txn, position uint64) (*block, error) {
	it := txn.NewIterator(badger.IteratorOptions{Prefix: []byte(prefixBlock)})
	defer it.Close()
	for it.Seek(blockKey(position + 1)); it.Valid(); it.Next() {
		first, _ := parseBlockKey(it.Item().Key())
		var b *block
		err := it.Item().Value(func(v []byte) (err error) {
			b, err = openBlock(first, v)
			return err
		})
		if err == nil {
			return b, nil
		}
		if !errors.Is(err, ErrCorrupt) {
			return nil, err
		}
	}
	return nil, nil
}

// dropIndexEntry deletes a stream's entry for a block that goes. If it was the
// newest one, the stream's last version moves to a key of its own.
func (s *Badger) dropIndexEntry(txn *badger.Txn, d dirEntry) error {
	last, err := s.ledger.version(d.stream)
	if err != nil {
		return err
	}
	if dropped := d.first + d.count - 1; dropped >= last && dropped < math.MaxUint64 {
		if err := txn.Set(versionKey(d.stream), binary.BigEndian.AppendUint64(nil, dropped)); err != nil {
			return err
		}
	}
	return txn.Delete(indexKey(d.stream, d.first))
}
