package persistence

import (
	"fmt"
	"time"

	"github.com/dgraph-io/badger/v4"
)

const (
	// maxBlockStreams bounds the index entries of a block, so that one always
	// fits in a transaction.
	maxBlockStreams = 1024
	// packedRoom is kept in a block for one more call record.
	packedRoom = maxPackedCall + 32
	// minPackedCall is less than the smallest packed record.
	minPackedCall = 16
)

// begin admits a writer, who then holds state for reading and write.
func (s *Badger) begin(disk uint64) error {
	s.state.RLock()
	if s.closed {
		s.state.RUnlock()
		return ErrClosed
	}
	s.write.Lock()
	err := s.broken
	if err == nil {
		err = s.space.admit(disk)
	}
	if err != nil {
		s.end()
	}
	return err
}

func (s *Badger) end() {
	s.write.Unlock()
	s.state.RUnlock()
}

// Commit stores documents and control events; see Store.
func (s *Badger) Commit(batches ...Batch) error {
	costs, disk, err := measureAll(batches, s.sizing)
	if err != nil {
		return err
	}
	if disk == 0 {
		return s.alive()
	}
	if err := s.begin(disk); err != nil {
		return err
	}
	defer s.end()
	now := s.opts.Now()
	before := s.ledger.committed
	for done := 0; done < len(batches); {
		n := firstFit(costs[done:], s.sizing)
		err := s.commitGroup(batches[done:done+n], now)
		if err != nil && done > 0 {
			return &PartialError{Applied: done, Err: err}
		}
		if err != nil {
			return err
		}
		done += n
	}
	if err := s.flush(); err != nil {
		return err
	}
	s.retain(before)
	return nil
}

func (s *Badger) alive() error {
	s.state.RLock()
	defer s.state.RUnlock()
	if s.closed {
		return ErrClosed
	}
	return nil
}

// commitGroup is one transaction.
func (s *Badger) commitGroup(batches []Batch, now time.Time) error {
	w := s.newTransaction()
	defer w.discard()
	for i := range batches {
		for _, d := range batches[i].Docs {
			if err := w.putDoc(d); err != nil {
				return err
			}
		}
		if err := addEvents(s.builder, batches[i].Events, now, func() error { return w.makeRoom(classEvents) }); err != nil {
			return err
		}
	}
	return w.commit()
}

// AppendCalls stores packed call records; see Store.
func (s *Badger) AppendCalls(records []byte, lost uint64) error {
	n, err := checkPacked(records)
	if err != nil {
		return err
	}
	if n == 0 && lost == 0 {
		return s.alive()
	}
	return s.writeCalls(len(records), lost, func(yield packedCall) error {
		return eachFrame(records, func(frame []byte) error { return yield(frame, s.opts.RunID, s.mark) })
	})
}

// CallBuffer is the buffer in front of the log; see Store. Its memory is the journal.
func (s *Badger) CallBuffer() *CallBuffer { return s.calls }

// FlushCalls moves the buffer into the log; see Store. The mark behind the last
// record goes with each transaction, so that a record is never stored twice.
func (s *Badger) FlushCalls(lost uint64) error {
	b := s.calls
	b.drain.Lock()
	defer b.drain.Unlock()
	b.take()
	lost += b.lost
	if len(b.taken) == 0 && lost == 0 {
		return s.alive()
	}
	err := s.writeCalls(b.takenBytes(), lost, func(yield packedCall) error { return b.each(s.mark, yield) })
	if err == nil {
		b.release()
	}
	return err
}

// packedCall takes one frame of a CallBuffer, the run that recorded it and the
// mark that stands behind it.
type packedCall func(frame []byte, owner uint64, at journalMark) error

// writeCalls stores what source yields, at most bytes of it.
func (s *Badger) writeCalls(bytes int, lost uint64, source func(packedCall) error) error {
	if err := s.begin(uint64(bytes) + uint64(bytes/minPackedCall)*recordOverhead/4 + 1024); err != nil {
		return err
	}
	defer s.end()
	now := s.opts.Now()
	before := s.ledger.committed
	if err := s.appendCalls(source, lost, now); err != nil {
		return err
	}
	if err := s.flush(); err != nil {
		return err
	}
	s.retain(before)
	return nil
}

// appendCalls keeps the records of one run in blocks of their own: a block
// names the run. So is the note of lost ones, which is no call.
func (s *Badger) appendCalls(source func(packedCall) error, lost uint64, now time.Time) error {
	w := s.newTransaction()
	defer func() { w.discard() }()
	// Another block, with an index entry for each of its records at worst, must
	// still fit.
	roomy := func(err error) error {
		if err != nil || s.builder.count > 0 || w.roomForBlock() {
			return err
		}
		if err := w.commit(); err != nil {
			return err
		}
		w = s.newTransaction()
		return nil
	}
	err := source(func(frame []byte, owner uint64, at journalMark) error {
		err := w.makeRoom(classCalls)
		if owner != w.owner && err == nil {
			err = w.seal()
		}
		if err := roomy(err); err != nil {
			return err
		}
		if !s.builder.addPacked(frame) {
			return ErrInvalid // checkPacked or a checksum has let it pass: not reached
		}
		w.owner, w.mark = owner, at
		return nil
	})
	if err != nil {
		return err
	}
	if lost > 0 {
		if err := roomy(w.makeRoom(classEvents)); err != nil {
			return err
		}
		event := droppedEvent(lost, now)
		s.builder.addEvent(&event)
	}
	return w.commit()
}

// flush makes acknowledged writes as durable as asked for. After a failed sync
// nobody knows what is on disk, so the store refuses further writes.
func (s *Badger) flush() error {
	if s.opts.Durability != Power {
		return nil
	}
	if err := s.db.Sync(); err != nil {
		return s.breakDown(fmt.Errorf("cannot sync %s: %w", s.opts.Dir, err))
	}
	// A new write-ahead file must not lose its name.
	if err := s.lock.sync(); err != nil {
		return s.breakDown(fmt.Errorf("cannot sync %s: %w", s.opts.Dir, err))
	}
	return nil
}

func (s *Badger) breakDown(err error) error {
	s.broken = fmt.Errorf("%w since an earlier write failed: %w", ErrReadOnly, err)
	reason := s.broken.Error()
	s.brokenReason.Store(&reason)
	s.logger.Error("log is read-only until reopened", "dir", s.opts.Dir, "err", err)
	return err
}

// transaction collects entries and sealed blocks. One at a time, by the writer.
type transaction struct {
	s     *Badger
	txn   *badger.Txn
	used  cost
	owner uint64      // run id of the block under way
	mark  journalMark // behind the last record from the journal
	done  bool
}

func (s *Badger) newTransaction() *transaction {
	return &transaction{s: s, txn: s.db.NewTransaction(true), owner: s.opts.RunID, mark: s.mark}
}

// discard forgets what was not committed, numbers included.
func (w *transaction) discard() {
	w.txn.Discard()
	if !w.done {
		w.s.ledger.rollback()
		w.s.builder.reset()
	}
}

func (w *transaction) set(key, value []byte) error {
	w.used.add(cost{bytes: len(key) + len(value) + entryOverhead, entries: 1})
	return w.txn.Set(key, value)
}

func (w *transaction) putDoc(d Doc) error {
	key := docKey(d.Kind, d.ID)
	if d.Body == nil {
		return w.txn.Delete(key)
	}
	return w.set(key, d.Body)
}

// roomForBlock says whether one more block fits. Its index entries take at most
// three times its own size: a stream has at least one record in it.
func (w *transaction) roomForBlock() bool {
	c := w.used
	c.add(cost{bytes: 4 * w.s.sizing.block, entries: maxBlockStreams + 2})
	return c.fits(w.s.sizing)
}

// makeRoom seals the block when another record, of a class, may not go into it.
func (w *transaction) makeRoom(c class) error {
	if w.s.builder.takes(c, w.s.sizing.block) {
		return nil
	}
	return w.seal()
}

func (w *transaction) seal() error {
	s := w.s
	if s.builder.count == 0 {
		return nil
	}
	block, err := s.builder.seal(s.ledger, w.owner)
	if err != nil {
		return err
	}
	if err := w.set(blockKey(block.first), block.value); err != nil {
		return err
	}
	for _, p := range block.index {
		if err := w.set(indexKey(p.stream, p.first), p.value); err != nil {
			return err
		}
	}
	return nil
}

// commit writes everything. A failure of badger itself leaves open what its
// memtable holds, so the store then refuses further writes.
func (w *transaction) commit() error {
	s := w.s
	if err := w.seal(); err != nil {
		return err
	}
	if end := (logEnd{s.ledger.tail(), w.mark}); end != s.logEnd() {
		if err := w.set([]byte(keyEnd), end.append(nil)); err != nil {
			return err
		}
	}
	if err := w.txn.Commit(); err != nil {
		return s.breakDown(fmt.Errorf("cannot write to %s: %w", s.opts.Dir, err))
	}
	w.done = true
	s.wal.renew()
	s.ledger.commit()
	s.mark = w.mark
	s.setEnd(s.ledger.tail())
	s.commits.Add(1)
	return nil
}
