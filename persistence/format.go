package persistence

import (
	"encoding/binary"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/dgraph-io/badger/v4"
)

// The content of m/format is formatName and a number. Raise formatVersion, and
// add a migration, when an older program must not open the directory; new record
// types do not need that.
const (
	formatName    = "hangar-log "
	formatVersion = 3
)

// logEnd is the content of m/end, which goes with every transaction that adds to
// the log: it shows when the newest block is missing, how far the journal is in
// the log, and what was ever written of each class.
type logEnd struct {
	tail
	mark journalMark
}

func (e logEnd) append(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint64(dst, e.position)
	dst = binary.BigEndian.AppendUint32(dst, e.checksum)
	dst = binary.BigEndian.AppendUint64(dst, e.mark.sequence)
	dst = binary.BigEndian.AppendUint64(dst, e.mark.offset)
	for _, offset := range e.offset {
		dst = binary.BigEndian.AppendUint64(dst, offset)
	}
	return dst
}

func readEnd(txn *badger.Txn) (e logEnd, err error) {
	v, found, err := getCopy(txn, []byte(keyEnd))
	if err != nil || !found {
		return logEnd{}, err
	}
	r := reader{rest: v}
	e.position, e.checksum = r.uint64(), r.uint32()
	e.mark = journalMark{r.uint64(), r.uint64()}
	for c := range e.offset {
		e.offset[c] = r.uint64()
	}
	if r.failed {
		return logEnd{}, corrupt(0, "the mark of the end of the log is malformed")
	}
	return e, nil
}

// logEnd is what m/end says of the committed log. The writer's own.
func (s *Badger) logEnd() logEnd { return logEnd{s.ledger.committed, s.mark} }

// logStart is the content of m/first, which retention writes.
type logStart struct {
	position uint64 // of the oldest block
	checksum uint32 // of the block before it: the anchor of the chain
	classes  [classCount]classStart
}

// classStart is where retention goes on with a class.
type classStart struct {
	// search is the position of a block or gap that nothing of the class stands
	// before: there the search for its oldest block begins. At most the
	// position of the oldest block of all means there.
	search uint64
	offset uint64 // bytes of the class that were dropped
}

func (a logStart) append(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint64(dst, a.position)
	dst = binary.BigEndian.AppendUint32(dst, a.checksum)
	for _, c := range a.classes {
		dst = binary.BigEndian.AppendUint64(dst, c.search)
		dst = binary.BigEndian.AppendUint64(dst, c.offset)
	}
	return dst
}

func readStart(txn *badger.Txn) (logStart, error) {
	v, found, err := getCopy(txn, []byte(keyFirst))
	if err != nil || !found {
		return logStart{position: 1}, err
	}
	r := reader{rest: v}
	a := logStart{position: r.uint64(), checksum: r.uint32()}
	for c := range a.classes {
		a.classes[c] = classStart{search: r.uint64(), offset: r.uint64()}
	}
	if r.failed {
		return logStart{}, corrupt(0, "the mark of the oldest block is malformed")
	}
	return a, nil
}

// readFormat returns the version, 0 for an empty directory; ErrForeign.
func readFormat(txn *badger.Txn, dir string) (int, error) {
	v, found, err := getCopy(txn, []byte(keyFormat))
	if err != nil {
		return 0, err
	}
	if !found {
		if !isEmpty(txn) {
			return 0, fmt.Errorf("cannot open %s: %w: it has no format mark", dir, ErrForeign)
		}
		return 0, nil
	}
	number, ours := strings.CutPrefix(string(v), formatName)
	version, err := strconv.Atoi(number)
	switch {
	case !ours || err != nil || version < 1:
		return 0, fmt.Errorf("cannot open %s: %w: it says %.40q", dir, ErrForeign, v)
	case version > formatVersion:
		return 0, fmt.Errorf("cannot open %s: %w: a newer version wrote it, in format %d, and this one reads up to %d",
			dir, ErrForeign, version, formatVersion)
	}
	return version, nil
}

func setFormat(txn *badger.Txn, version int) error {
	return txn.Set([]byte(keyFormat), []byte(formatName+strconv.Itoa(version)))
}

// load brings the directory to the present format and finds the ends of the log.
func (s *Badger) load() error {
	var version int
	err := s.db.View(func(txn *badger.Txn) (err error) {
		version, err = readFormat(txn, s.opts.Dir)
		return err
	})
	if err != nil {
		return err
	}
	if version < formatVersion {
		if err := s.space.admit(4096); err != nil {
			return err
		}
	}
	if version == 0 {
		version = formatVersion
		err = s.db.Update(func(txn *badger.Txn) error { return setFormat(txn, formatVersion) })
	}
	if err == nil {
		err = s.migrate(version)
	}
	if err != nil {
		return fmt.Errorf("cannot open %s: %w", s.opts.Dir, err)
	}
	return s.db.View(s.loadEnds)
}

func (s *Badger) loadEnds(txn *badger.Txn) error {
	first, err := readStart(txn)
	if err != nil {
		return err
	}
	end, err := readEnd(txn)
	if err != nil {
		return err
	}
	position, checksum, err := lastBlock(txn)
	if err != nil {
		return err
	}
	if position != end.position || checksum != end.checksum {
		return corrupt(position+1, fmt.Sprintf("the log should end at position %d", end.position))
	}
	s.setStart(first)
	s.mark = end.mark
	s.ledger = newLedger(end.tail, s.storedVersion)
	s.setEnd(end.tail)
	return nil
}

// setStart and setEnd move the ends of the log; readers see them at once.
func (s *Badger) setStart(start logStart) {
	s.start = start
	s.firstPosition.Store(start.position)
	for c, of := range start.classes {
		s.droppedBytes[c].Store(of.offset)
	}
}

func (s *Badger) setEnd(end tail) {
	for c, offset := range end.offset {
		s.writtenBytes[c].Store(offset)
	}
	s.position.Store(end.position)
}

// lastBlock reads the newest block and returns where it ends.
func lastBlock(txn *badger.Txn) (position uint64, checksum uint32, err error) {
	it := txn.NewIterator(badger.IteratorOptions{Reverse: true, Prefix: []byte(prefixBlock)})
	defer it.Close()
	it.Seek(blockKey(math.MaxUint64))
	if !it.Valid() {
		return 0, 0, nil
	}
	first, ok := parseBlockKey(it.Item().Key())
	if !ok {
		return 0, 0, corrupt(0, "a block has a malformed key")
	}
	err = it.Item().Value(func(v []byte) error {
		b, err := openBlock(first, v)
		if err == nil {
			position, checksum = b.last(), b.checksum
		}
		return err
	})
	return position, checksum, err
}

func isEmpty(txn *badger.Txn) bool {
	it := txn.NewIterator(badger.IteratorOptions{})
	defer it.Close()
	it.Rewind()
	return !it.Valid()
}
