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
	formatVersion = 2
)

// migrations bring a directory from one version to the next, each in one
// transaction with the new number.
var migrations = map[int]func(txn *badger.Txn) error{
	1: addEnds,
}

// logEnd is the content of m/end, which goes with every transaction that adds to
// the log: it shows when the newest block is missing, and how far the journal
// is in the log.
type logEnd struct {
	position uint64
	checksum uint32
	mark     journalMark
}

func (e logEnd) append(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint64(dst, e.position)
	dst = binary.BigEndian.AppendUint32(dst, e.checksum)
	dst = binary.BigEndian.AppendUint64(dst, e.mark.sequence)
	return binary.BigEndian.AppendUint64(dst, e.mark.offset)
}

func readEnd(txn *badger.Txn) (e logEnd, err error) {
	v, found, err := getCopy(txn, []byte(keyEnd))
	if err != nil || !found {
		return logEnd{}, err
	}
	r := reader{rest: v}
	e = logEnd{r.uint64(), r.uint32(), journalMark{r.uint64(), r.uint64()}}
	if r.failed {
		return logEnd{}, corrupt(0, "the mark of the end of the log is malformed")
	}
	return e, nil
}

// logEnd is what m/end says of the committed log. The writer's own.
func (s *Badger) logEnd() logEnd {
	t := s.ledger.committed
	return logEnd{t.position, t.checksum, s.mark}
}

// logStart is the content of m/first, which retention writes. The checksum is
// that of the block before the oldest one: the anchor of the chain.
type logStart struct {
	position, offset uint64
	checksum         uint32
}

func (a logStart) append(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint64(dst, a.position)
	dst = binary.BigEndian.AppendUint64(dst, a.offset)
	return binary.BigEndian.AppendUint32(dst, a.checksum)
}

func readStart(txn *badger.Txn) (logStart, error) {
	v, found, err := getCopy(txn, []byte(keyFirst))
	if err != nil || !found {
		return logStart{position: 1}, err
	}
	r := reader{rest: v}
	a := logStart{r.uint64(), r.uint64(), r.uint32()}
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

func (s *Badger) loadEnds(txn *badger.Txn) error {
	first, err := readStart(txn)
	if err != nil {
		return err
	}
	end, err := readEnd(txn)
	if err != nil {
		return err
	}
	last, err := lastBlock(txn)
	if err != nil {
		return err
	}
	if last.position != end.position || last.checksum != end.checksum {
		return corrupt(last.position+1, fmt.Sprintf("the log should end at position %d", end.position))
	}
	s.firstPosition.Store(first.position)
	s.firstOffset.Store(first.offset)
	s.firstChecksum = first.checksum
	s.mark = end.mark
	s.ledger = newLedger(last, s.storedVersion)
	s.position.Store(last.position)
	s.endOffset.Store(last.offset)
	return nil
}

// lastBlock reads the newest block; the offset after it counts its index entries.
func lastBlock(txn *badger.Txn) (tail, error) {
	it := txn.NewIterator(badger.IteratorOptions{Reverse: true, Prefix: []byte(prefixBlock)})
	defer it.Close()
	it.Seek(blockKey(math.MaxUint64))
	if !it.Valid() {
		return tail{}, nil
	}
	first, ok := parseBlockKey(it.Item().Key())
	if !ok {
		return tail{}, corrupt(0, "a block has a malformed key")
	}
	var t tail
	err := it.Item().Value(func(v []byte) error {
		b, err := openBlock(first, v)
		if err != nil {
			return err
		}
		t = tail{position: b.last(), checksum: b.checksum, offset: b.offset + storedBytes(v, b.dir)}
		return nil
	})
	return t, err
}

func isEmpty(txn *badger.Txn) bool {
	it := txn.NewIterator(badger.IteratorOptions{})
	defer it.Close()
	it.Rewind()
	return !it.Valid()
}

// addEnds is the step from format 1, which had neither the mark of the end nor
// the anchor of the chain.
func addEnds(txn *badger.Txn) error {
	last, err := lastBlock(txn)
	if err != nil {
		return err
	}
	if err := txn.Set([]byte(keyEnd), logEnd{position: last.position, checksum: last.checksum}.append(nil)); err != nil {
		return err
	}
	v, found, err := getCopy(txn, []byte(keyFirst))
	if err != nil || !found {
		return err
	}
	r := reader{rest: v}
	start := logStart{position: r.uint64(), offset: r.uint64()}
	if r.failed {
		return corrupt(0, "the mark of the oldest block is malformed")
	}
	// A damaged oldest block has no readable anchor; it is found by its own checksum.
	if b, err := readBlock(txn, start.position); err == nil {
		start.checksum = b.previous
	}
	return txn.Set([]byte(keyFirst), start.append(nil))
}

// readBlock opens the block that begins at the position; what it refers to is
// a copy. badger.ErrKeyNotFound or a *CorruptError.
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
