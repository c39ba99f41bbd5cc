package persistence

import (
	"bytes"
	"encoding/binary"
	"math"

	"github.com/dgraph-io/badger/v4"
)

// sweep is one transaction of retention: it goes from block to block, passes those
// of the other class, and drops those of its own that are due. What it drops in
// front of all that stays moves the start of the log; elsewhere it leaves a gap.
// Each block is passed once, since the next search begins where this one ends.
//
// What is damaged or missing has no class: it goes when either class comes by and
// drops what is younger, and its index entries stay behind.
type sweep struct {
	s     *Badger
	txn   *badger.Txn
	class class
	due   func(b *block, dropped uint64) bool
	start logStart

	// What stands before the entry that is looked at.
	next     uint64 // position that is due
	checksum uint32 // that the entry is to name
	stays    bool   // a block before it stays
	gap      *block // that ends right before it
	grown    bool   // gap is not stored as it is

	damaged [][]byte // keys from next on that lead to nothing readable
	dropped int
	entries int // of the transaction
	changed bool
}

func (w *sweep) run() error {
	if err := w.begin(); err != nil {
		return err
	}
	it := w.txn.NewIterator(badger.IteratorOptions{Prefix: []byte(prefixBlock)})
	defer it.Close()
	for it.Seek(blockKey(w.next)); it.Valid(); it.Next() {
		more, err := w.visit(it.Item())
		if err != nil {
			return err
		}
		if !more {
			break
		}
	}
	return w.storeGap()
}

// begin stands behind the entry that the search begins with. Where that is not
// sound any more it begins with the oldest block.
func (w *sweep) begin() error {
	w.next, w.checksum = w.start.position, w.start.checksum
	search := w.start.classes[w.class].search
	if search <= w.start.position {
		return nil
	}
	b, err := readBlock(w.txn, search)
	switch {
	case err == nil:
		w.pass(b)
		return nil
	case isDamage(err):
		return nil
	}
	return err
}

// visit looks at one entry; false ends the sweep.
func (w *sweep) visit(item *badger.Item) (more bool, err error) {
	first, _ := parseBlockKey(item.Key())
	var b *block
	err = item.Value(func(v []byte) (err error) {
		if b, err = openHeader(first, v); err != nil || b.class != w.class && b.first == w.next {
			return err
		}
		b.records = bytes.Clone(b.records) // it is judged, or dropped
		return b.openDirectory()
	})
	if isDamage(err) {
		w.damaged = append(w.damaged, item.KeyCopy(nil))
		return true, nil
	}
	if err != nil {
		return false, err
	}
	if b.first < w.next {
		return false, corrupt(b.first, "it overlaps the block before it")
	}
	if b.first > w.next {
		if w.full() || !w.due(b, w.start.classes[w.class].offset) {
			return false, nil
		}
		if err := w.dropDamaged(b); err != nil {
			return false, err
		}
	}
	switch {
	case b.isGap():
		return true, w.join(b)
	case b.last() >= w.s.position.Load():
		return false, nil
	case b.class != w.class:
		if err := w.storeGap(); err != nil {
			return false, err
		}
		w.pass(b)
		return true, nil
	case w.full() || !w.due(b, w.start.classes[w.class].offset):
		return false, nil
	}
	return true, w.drop(b)
}

// full reports whether the transaction is to hold no further block.
func (w *sweep) full() bool {
	return w.dropped >= retainBlocks || w.entries >= w.s.sizing.entries/2
}

// pass goes on behind a block that stays, or a gap.
func (w *sweep) pass(b *block) {
	w.stays, w.gap, w.grown = true, nil, false
	if b.isGap() {
		w.gap = b
	}
	w.next, w.checksum = b.last()+1, b.checksum
	w.start.classes[w.class].search = b.first
}

// join takes up a gap that another sweep left.
func (w *sweep) join(b *block) error {
	if w.stays && w.gap == nil {
		w.pass(b)
		return nil
	}
	return w.leaveOut(b.first, b)
}

func (w *sweep) drop(b *block) error {
	for _, d := range b.dir {
		if err := w.dropIndexEntry(d); err != nil {
			return err
		}
	}
	of := &w.start.classes[w.class]
	if b.form != formMixed {
		of.offset = b.offset // also what was damaged before it is gone now
	}
	of.offset += storedBytes(b.size, b.dir)
	w.dropped++
	return w.leaveOut(b.first, b)
}

// dropDamaged drops all from next to a sound block.
func (w *sweep) dropDamaged(before *block) error {
	w.s.logger.Warn("damaged block dropped", "dir", w.s.opts.Dir, "position", w.next, "before", before.first)
	for _, key := range w.damaged {
		w.entries++
		if err := w.txn.Delete(key); err != nil {
			return err
		}
	}
	w.damaged = nil
	w.dropped++
	return w.leaveOut(w.next, &block{first: w.next, count: before.first - w.next, checksum: before.previous, previous: w.checksum})
}

// leaveOut drops an entry: the start of the log or the gap before it moves behind it.
func (w *sweep) leaveOut(first uint64, b *block) error {
	w.changed = true
	w.entries++
	if err := w.txn.Delete(blockKey(first)); err != nil {
		return err
	}
	switch {
	case !w.stays:
		w.start.position, w.start.checksum = b.last()+1, b.checksum
	case w.gap == nil:
		w.gap = &block{form: formGap, first: b.first, count: b.count, checksum: b.checksum, previous: w.checksum}
		w.start.classes[w.class].search = b.first
		w.grown = true
	default:
		w.gap.count, w.gap.checksum = b.last()-w.gap.first+1, b.checksum
		w.grown = true
	}
	w.next, w.checksum = b.last()+1, b.checksum
	return nil
}

func (w *sweep) storeGap() error {
	if !w.grown {
		return nil
	}
	w.grown = false
	w.entries++
	return w.txn.Set(blockKey(w.gap.first), w.gap.gapValue())
}

// dropIndexEntry deletes a stream's entry for a block that goes. If it was the
// newest one, the stream's last version moves to a key of its own.
func (w *sweep) dropIndexEntry(d dirEntry) error {
	last, err := w.s.ledger.version(d.stream)
	if err != nil {
		return err
	}
	if dropped := d.first + d.count - 1; dropped >= last && dropped < math.MaxUint64 {
		if err := w.txn.Set(versionKey(d.stream), binary.BigEndian.AppendUint64(nil, dropped)); err != nil {
			return err
		}
	}
	w.entries += 2
	return w.txn.Delete(indexKey(d.stream, d.first))
}
