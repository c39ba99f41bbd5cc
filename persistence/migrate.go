package persistence

import (
	"encoding/binary"

	"github.com/dgraph-io/badger/v4"
)

// migrations bring a directory from one version to the next, each in one
// transaction with the new number. They write what that version had, whatever
// became of it since.
var migrations = map[int]func(txn *badger.Txn) error{
	1: addEnds,
	2: splitClasses,
}

// migrate brings the directory from a version to the present one. A process
// that dies on the way leaves one of the versions between.
func (s *Badger) migrate(version int) error {
	for ; version < formatVersion; version++ {
		s.logger.Info("migrating the data directory", "dir", s.opts.Dir, "from", version, "to", version+1)
		err := s.db.Update(func(txn *badger.Txn) error {
			if err := migrations[version](txn); err != nil {
				return err
			}
			return setFormat(txn, version+1)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// addEnds is the step from format 1, which had neither the mark of the end nor
// the anchor of the chain.
func addEnds(txn *badger.Txn) error {
	position, checksum, err := lastBlock(txn)
	if err != nil {
		return err
	}
	end := binary.BigEndian.AppendUint64(nil, position)
	end = binary.BigEndian.AppendUint32(end, checksum)
	end = append(end, make([]byte, 16)...) // nothing of a journal
	if err := txn.Set([]byte(keyEnd), end); err != nil {
		return err
	}
	v, found, err := getCopy(txn, []byte(keyFirst))
	if err != nil || !found {
		return err
	}
	if len(v) < 16 {
		return corrupt(0, "the mark of the oldest block is malformed")
	}
	var anchor uint32
	// A damaged oldest block has no readable anchor; it is found by its own checksum.
	if b, err := readBlock(txn, binary.BigEndian.Uint64(v)); err == nil {
		anchor = b.previous
	}
	return txn.Set([]byte(keyFirst), binary.BigEndian.AppendUint32(v[:16:16], anchor))
}

// splitClasses is the step from format 2, which counted all blocks together. Their
// offsets begin anew at 0.
func splitClasses(txn *badger.Txn) error {
	var end logEnd
	v, found, err := getCopy(txn, []byte(keyEnd))
	if err != nil {
		return err
	}
	if found {
		r := reader{rest: v}
		end.position, end.checksum = r.uint64(), r.uint32()
		if end.mark = (journalMark{r.uint64(), r.uint64()}); r.failed {
			return corrupt(0, "the mark of the end of the log is malformed")
		}
	}
	start := logStart{position: 1}
	if v, found, err = getCopy(txn, []byte(keyFirst)); err != nil {
		return err
	}
	if found {
		r := reader{rest: v}
		start.position, _, start.checksum = r.uint64(), r.uint64(), r.uint32()
		if r.failed {
			return corrupt(0, "the mark of the oldest block is malformed")
		}
	}
	if end.offset, err = bytesOfClasses(txn); err != nil {
		return err
	}
	if err := txn.Set([]byte(keyEnd), end.append(nil)); err != nil {
		return err
	}
	return txn.Set([]byte(keyFirst), start.append(nil))
}

// bytesOfClasses adds up the blocks that are there; damaged ones count for nothing.
func bytesOfClasses(txn *badger.Txn) (bytes [classCount]uint64, err error) {
	it := txn.NewIterator(badger.IteratorOptions{Prefix: []byte(prefixBlock)})
	defer it.Close()
	for it.Rewind(); it.Valid(); it.Next() {
		first, _ := parseBlockKey(it.Item().Key())
		err := it.Item().Value(func(v []byte) error {
			if b, err := openBlock(first, v); err == nil {
				bytes[b.class] += storedBytes(b.size, b.dir)
			}
			return nil
		})
		if err != nil {
			return bytes, err
		}
	}
	return bytes, nil
}
