package persistence

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"sort"

	"github.com/dgraph-io/badger/v4"
	"golang.org/x/sys/unix"

	"github.com/aabb9013/hangar/persistence/journal"
)

// FaultKind says what is wrong with a directory.
type FaultKind string

// The kinds. Torn is damage at the very end of the log, as an interrupted write
// of the volume leaves it; Edited and Missing are in the middle of it, where no
// interruption reaches.
const (
	FaultTorn     FaultKind = "torn"
	FaultEdited   FaultKind = "edited"
	FaultMissing  FaultKind = "missing"
	FaultIndex    FaultKind = "index"    // an index entry does not fit its block
	FaultJournal  FaultKind = "journal"  // call records that were complete once
	FaultDocument FaultKind = "document" // a document and the log disagree
	FaultStore    FaultKind = "store"    // files of the store itself
)

// Fault is one thing that is wrong.
type Fault struct {
	Kind     FaultKind
	Position uint64 // in the log; of the block's first event, 0 if it has none
	Stream   string // "" when all or none is meant
	Text     string
}

func (f Fault) String() string {
	text := string(f.Kind)
	if f.Position > 0 {
		text += fmt.Sprintf(" at position %d", f.Position)
	}
	if f.Stream != "" {
		text += fmt.Sprintf(" in stream %q", f.Stream)
	}
	return text + ": " + f.Text
}

// MaxFaults bounds the faults of a report; the rest is only counted.
const MaxFaults = 1000

// Report is what Verify found.
type Report struct {
	Format      int    // of the directory, before any migration
	First, Last uint64 // positions, 0 in an empty log
	Blocks      int
	Events      uint64
	Dropped     uint64 // calls or other events between First and Last that retention dropped
	Documents   int
	Waiting     int // calls in the journal that are not in a block yet
	Torn        int // calls whose record was cut off by the end of the process: no fault
	Faults      []Fault
	More        int // faults beyond MaxFaults
}

// Sound reports whether nothing is wrong.
func (r *Report) Sound() bool { return len(r.Faults) == 0 }

func (r *Report) add(faults ...Fault) {
	for _, f := range faults {
		if len(r.Faults) == MaxFaults {
			r.More++
			continue
		}
		r.Faults = append(r.Faults, f)
	}
}

// Auditor judges whether the documents agree with the log. Verify gives it all
// events, oldest first, then all documents, and asks for its faults.
type Auditor interface {
	Event(e Event)
	Document(d Doc)
	Faults() []Fault
}

// Verify reads a directory that nobody has open and reports what is wrong with
// it: every checksum, also of the write-ahead files, the chain of the blocks from
// its anchor to its end, the numbers, the index, the journal, and what the auditor
// finds (nil: nothing).
// The directory is not changed; the temporary directory takes a copy of badger's
// write-ahead files. Errors: ErrLocked, ErrForeign, ErrUnwritable when it
// cannot be read. Damage is no error.
func Verify(dir string, audit Auditor) (*Report, error) {
	if err := checkOwner(dir); errors.Is(err, ErrForeign) {
		return nil, err // before any of it is copied
	}
	lock, err := shareDir(dir)
	if err != nil {
		return nil, err
	}
	defer lock.Close()
	copied, err := shadow(dir, append([]string{manifestFile, registryFile, "DISCARD"}, tableFiles...))
	if err != nil {
		return nil, fmt.Errorf("cannot verify %s: %w", dir, err)
	}
	defer os.RemoveAll(copied)
	lost, err := damagedWAL(copied) // before it is opened, which cuts the damage off
	if err != nil {
		return nil, fmt.Errorf("cannot verify %s: %w", dir, err)
	}
	report, err := verify(dir, copied, audit)
	if report != nil {
		report.add(lost...)
	}
	return report, err
}

func verify(dir, copied string, audit Auditor) (report *Report, err error) {
	report = &Report{}
	opts := Options{Dir: copied}.withDefaults()
	_, total, err := statfs(copied)
	if err != nil {
		return nil, err
	}
	size := sizeFor(max(total, 2<<30), opts)
	size.still = true
	space := &spaceGuard{dir: copied, statfs: statfs, logger: opts.Logger}
	space.leaving.Store(true)
	db, err := openBadger(opts, size, space)
	if errors.Is(err, ErrForeign) {
		return nil, fmt.Errorf("cannot verify %s: %w", dir, err)
	}
	if err != nil {
		report.add(Fault{Kind: FaultStore, Text: err.Error()})
		return report, nil
	}
	s := &Badger{opts: opts, sizing: size, space: space, logger: opts.Logger, db: db}
	defer func() { err = errors.Join(err, db.Close()) }()
	defer func() { // badger panics over some damaged tables
		if p := recover(); p != nil {
			report.add(Fault{Kind: FaultStore, Text: fmt.Sprint(p)})
		}
	}()
	err = db.View(func(txn *badger.Txn) (err error) {
		report.Format, err = readFormat(txn, dir)
		return err
	})
	if err != nil || report.Format == 0 {
		return report, err
	}
	if err := s.migrate(report.Format); err != nil && !errors.Is(err, ErrCorrupt) {
		return nil, err
	}
	v := verifier{Report: report, audit: audit, next: make(map[string]due), blocks: make(map[uint64]bool)}
	if err := db.View(v.run); err != nil {
		report.add(Fault{Kind: FaultStore, Text: err.Error()})
	}
	report.add(v.checkJournal(filepath.Join(dir, journalFile))...)
	if audit != nil {
		report.add(audit.Faults()...)
	}
	return report, nil
}

// shareDir keeps writers out of the directory, not other readers.
func shareDir(dir string) (*os.File, error) {
	f, err := os.Open(dir)
	if err == nil {
		err = unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB)
	}
	if errors.Is(err, unix.EWOULDBLOCK) {
		return nil, errors.Join(&LockedError{Dir: dir, PID: holder(filepath.Join(dir, pidFile))}, f.Close())
	}
	if err != nil {
		return nil, fmt.Errorf("cannot open %s: %w: %w", dir, ErrUnwritable, err)
	}
	return f, nil
}

// shadow makes a directory that badger may open for writing, which it must to
// read what a killed process left: of the files with such names tables are linked
// and everything else is copied.
// It must be opened still.
func shadow(dir string, patterns []string) (string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return "", err
	}
	copied, err := os.MkdirTemp("", "hangar-verify-")
	if err != nil {
		return "", err
	}
	for _, e := range entries {
		from, to := filepath.Join(dir, e.Name()), filepath.Join(copied, e.Name())
		switch {
		case !e.Type().IsRegular() || !matches(patterns, e.Name()):
		case filepath.Ext(e.Name()) == ".sst":
			err = errors.Join(err, os.Symlink(from, to))
		default:
			err = errors.Join(err, copyFile(from, to))
		}
	}
	if err != nil {
		return "", errors.Join(err, os.RemoveAll(copied))
	}
	return copied, nil
}

// verifier is one pass over the store.
type verifier struct {
	*Report
	audit  Auditor
	start  logStart
	end    logEnd
	at     uint64 // position that is due
	before uint64 // first position of the block before
	sum    uint32 // its checksum
	known  bool   // sum can be trusted
	next   map[string]due
	blocks map[uint64]bool
	gaps   []*block
	index  int
}

// due is what the next block with records of a stream is to begin with: that
// version, or a later one if there was a gap since.
type due struct {
	version uint64
	gaps    int // that had been passed
}

func (v *verifier) fault(kind FaultKind, position uint64, stream, format string, args ...any) {
	v.add(Fault{kind, position, stream, fmt.Sprintf(format, args...)})
}

func (v *verifier) run(txn *badger.Txn) (err error) {
	if v.start, err = readStart(txn); err != nil {
		v.fault(FaultEdited, 0, "", "%v", err)
	}
	if v.end, err = readEnd(txn); err != nil {
		v.fault(FaultEdited, 0, "", "%v", err)
	}
	v.at, v.sum, v.known = v.start.position, v.start.checksum, true
	if v.end.position > 0 {
		v.First, v.Last = v.start.position, v.end.position
	}
	if err := v.checkBlocks(txn); err != nil {
		return err
	}
	if err := v.checkIndex(txn); err != nil {
		return err
	}
	return v.readDocuments(txn)
}

func (v *verifier) checkBlocks(txn *badger.Txn) error {
	it := txn.NewIterator(badger.IteratorOptions{Prefix: []byte(prefixBlock)})
	defer it.Close()
	for it.Rewind(); it.Valid(); it.Next() {
		first, ok := parseBlockKey(it.Item().Key())
		if !ok {
			v.fault(FaultEdited, 0, "", "a block has the malformed key %q", it.Item().Key())
			continue
		}
		value, err := it.Item().ValueCopy(nil)
		if err != nil {
			v.fault(FaultStore, first, "", "the block cannot be read: %v", err)
			v.known, v.at, v.before = false, 0, first
			continue
		}
		v.blocks[first] = true
		v.Blocks++
		if err := v.checkBlock(txn, first, value); err != nil {
			return err
		}
	}
	switch {
	case v.at != 0 && v.at <= v.end.position:
		v.fault(FaultTorn, v.at, "", "the log ends before it, and should reach position %d", v.end.position)
	case v.at != 0 && v.known && v.Blocks > 0 && v.sum != v.end.checksum:
		v.fault(FaultEdited, v.before, "", "the newest block is not the one that was written")
	}
	return nil
}

// checkBlock verifies one block and where it stands.
func (v *verifier) checkBlock(txn *badger.Txn, first uint64, value []byte) error {
	b, err := openBlock(first, value)
	var events []Event
	if err == nil {
		events, err = b.scan(nil, selection{whole: true, limit: math.MaxInt})
	}
	if v.at != 0 && first > v.at {
		v.fault(FaultMissing, v.at, "", "positions %d to %d are not there", v.at, first-1)
		v.known = false
	}
	if err != nil {
		kind := FaultEdited
		if first+uint64(max(len(events), 1)) > v.end.position || isLast(txn, first) {
			kind = FaultTorn
		}
		var c *CorruptError
		errors.As(err, &c)
		v.fault(kind, first, "", "the block is damaged: %s", c.Reason)
		v.known, v.at, v.before = false, 0, first
		clear(v.next)
		return nil
	}
	if v.known && b.previous != v.sum {
		position := v.before
		if position == 0 {
			position = first
		}
		v.fault(FaultEdited, position, "", "the chain breaks: the block at position %d followed another one", first)
	}
	v.at, v.sum, v.known, v.before = b.last()+1, b.checksum, true, first
	if b.isGap() {
		v.Blocks--
		v.Dropped += b.count
		v.gaps = append(v.gaps, b)
		return nil
	}
	v.Events += b.count
	for _, d := range b.dir {
		next, ok := v.next[d.stream]
		if ok && d.first != next.version && (d.first < next.version || next.gaps == len(v.gaps)) {
			v.fault(FaultMissing, first, d.stream, "version %d is due, the block has %d", next.version, d.first)
		}
		v.next[d.stream] = due{d.first + d.count, len(v.gaps)}
		v.index++
		raw, found, err := getCopy(txn, indexKey(d.stream, d.first))
		if err != nil {
			return err
		}
		if e, ok := decodeIndexEntry(raw); !found || !ok || e.block != first || e.count != d.count {
			v.fault(FaultIndex, first, d.stream, "the index does not lead to version %d", d.first)
		}
	}
	if v.audit != nil {
		for _, e := range events {
			v.audit.Event(e)
		}
	}
	return nil
}

func isLast(txn *badger.Txn, first uint64) bool {
	key, err := seekAtOrBefore(txn, []byte(prefixBlock), blockKey(math.MaxUint64))
	last, _ := parseBlockKey(key)
	return err == nil && last == first
}

// inGap reports whether retention dropped the position from the middle of the log.
func (v *verifier) inGap(position uint64) bool {
	i := sort.Search(len(v.gaps), func(i int) bool { return v.gaps[i].last() >= position })
	return i < len(v.gaps) && v.gaps[i].first <= position
}

// checkIndex looks for entries that lead nowhere. Those of a damaged block that
// retention dropped may be left.
func (v *verifier) checkIndex(txn *badger.Txn) error {
	it := txn.NewIterator(badger.IteratorOptions{Prefix: []byte(prefixIndex), PrefetchValues: true, PrefetchSize: 256})
	defer it.Close()
	for it.Rewind(); it.Valid(); it.Next() {
		raw, err := it.Item().ValueCopy(nil)
		if err != nil {
			return err
		}
		e, ok := decodeIndexEntry(raw)
		if !ok || e.block >= v.start.position && !v.blocks[e.block] && !v.inGap(e.block) {
			v.fault(FaultIndex, e.block, "", "an entry of the index leads to no block")
		}
	}
	return nil
}

func (v *verifier) readDocuments(txn *badger.Txn) error {
	it := txn.NewIterator(badger.IteratorOptions{Prefix: []byte(prefixDoc)})
	defer it.Close()
	for it.Rewind(); it.Valid(); it.Next() {
		v.Documents++
		kind, id, ok := parseDocKey(it.Item().Key())
		body, err := it.Item().ValueCopy([]byte{})
		if err != nil || !ok {
			v.fault(FaultStore, 0, id, "the document %q cannot be read: %v", kind, err)
			continue
		}
		if v.audit != nil {
			v.audit.Document(Doc{Kind: kind, ID: id, Body: body})
		}
	}
	return nil
}

// checkJournal counts what waits in the journal; without one nothing does.
func (v *verifier) checkJournal(path string) (faults []Fault) {
	b, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return []Fault{{Kind: FaultJournal, Text: err.Error()}}
	}
	for ; len(b) >= maxSegmentBytes; b = b[maxSegmentBytes:] {
		s, state := segment{mem: b[:maxSegmentBytes]}, journalState{}
		if !s.load(v.end.mark, &state) {
			continue
		}
		from := journal.HeaderSize
		if s.Sequence == v.end.mark.sequence {
			from = int(v.end.mark.offset)
		}
		_ = journal.Each(s.mem, from, s.used, s.seed, func([]byte, int) error { v.Waiting++; return nil })
		v.Torn += state.torn
		if state.damaged > 0 {
			faults = append(faults, Fault{Kind: FaultJournal, Text: fmt.Sprintf("%d call records are damaged", state.damaged)})
		}
	}
	return faults
}
