package persistence

import (
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"
)

const (
	spaceCheckInterval = time.Second
	valueLogGCInterval = 10 * time.Minute
	valueLogGCRatio    = 0.5
)

// Badger is the Store on disk.
type Badger struct {
	opts   Options
	sizing sizing
	lock   *dirLock
	space  *spaceGuard
	logger *slog.Logger

	// state guards db against Close: every use of db holds it for reading.
	state  sync.RWMutex
	db     *badger.DB
	closed bool // no further calls
	shut   bool // db and lock are released

	write   sync.Mutex // one writer; guards the rest
	ledger  *ledger
	builder *blockBuilder
	wal     walReserve
	start   logStart
	mark    journalMark // in the log
	broken  error       // an earlier write failed half way

	calls *CallBuffer

	position      atomic.Uint64
	firstPosition atomic.Uint64 // where the oldest retained block begins
	writtenBytes  [classCount]atomic.Uint64
	droppedBytes  [classCount]atomic.Uint64 // of those written
	commits       atomic.Uint64
	dropped       atomic.Uint64
	damaged       atomic.Uint64
	brokenReason  atomic.Pointer[string]

	stop, stopped chan struct{}
}

var _ Store = (*Badger)(nil)

// Open opens or creates the directory. It fails within a second with ErrLocked
// when it is in use, with ErrUnwritable, ErrForeign (another format or, as a
// *ForeignError, what is not ours; nothing is changed in it, nor when it cannot be
// told whose it is), ErrNoSpace (no room
// to flush what an earlier run left, or too little to begin a new log) or
// ErrCorrupt (the newest block). The caller closes what it gets.
func Open(opts Options) (*Badger, error) {
	if err := opts.Validate(); err != nil {
		return nil, err
	}
	opts = opts.withDefaults()
	if err := checkOwner(opts.Dir); err != nil {
		return nil, err
	}
	if err := prepareDir(opts.Dir); err != nil {
		return nil, err
	}
	lock, err := lockDir(opts.Dir)
	if err != nil {
		return nil, err
	}
	s, err := openLocked(opts, lock)
	if err != nil {
		return nil, errors.Join(err, lock.release())
	}
	tellIfReadable(opts.Dir, opts.Logger)
	return s, nil
}

func openLocked(opts Options, lock *dirLock) (*Badger, error) {
	free, total, err := opts.statfs(opts.Dir)
	if err != nil {
		return nil, fmt.Errorf("cannot open %s: %w: %w", opts.Dir, ErrUnwritable, err)
	}
	size := sizeFor(total, opts)
	s := &Badger{
		opts: opts, sizing: size, lock: lock, logger: opts.Logger, builder: newBlockBuilder(),
		space: &spaceGuard{
			dir: opts.Dir, floor: size.floor, ballast: 2 * uint64(size.memtable), hard: 3 * uint64(size.memtable),
			statfs: opts.statfs, logger: opts.Logger, free: free,
		},
		stop: make(chan struct{}), stopped: make(chan struct{}),
	}
	if err := s.space.roomToFlush(); err != nil {
		return nil, err
	}
	s.tellDamagedWAL()
	if s.db, err = openBadger(opts, size, s.space); err != nil {
		return nil, err
	}
	s.wal = walReserve{dir: opts.Dir, size: size.memtable * 5 / 4}
	s.wal.start()
	if err := s.recover(); err != nil {
		s.space.leaving.Store(true)
		return nil, errors.Join(err, s.db.Close())
	}
	s.space.keepBallast()
	go s.maintain()
	return s, nil
}

// recover finds the ends of the log and takes over what an earlier run left in
// the journal.
func (s *Badger) recover() error {
	if err := s.load(); err != nil {
		return err
	}
	err := s.openJournal()
	if err == nil {
		return s.lock.sync()
	}
	return err
}

// openBadger turns badger's panics over damaged files into errors.
func openBadger(opts Options, size sizing, space *spaceGuard) (db *badger.DB, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("cannot open %s: %w: %v", opts.Dir, ErrCorrupt, p)
		}
	}()
	if err := dropEmptyFiles(opts.Dir); err != nil {
		return nil, fmt.Errorf("cannot open %s: %w: %w", opts.Dir, ErrUnwritable, err)
	}
	db, err = badger.Open(badgerOptions(opts, size).WithLogger(badgerLogger{opts.Logger, space}))
	if err == nil {
		return db, nil
	}
	return nil, fmt.Errorf("cannot open %s: %w: %w", opts.Dir, classify(err.Error()), err)
}

// dropEmptyFiles removes the write-ahead and value files of no length, which
// badger refuses to open. A process that dies while it makes one, or while it
// removes a write-ahead file whose content is in a table, which badger does by
// truncating it first, leaves such a file; it holds nothing in any case.
func dropEmptyFiles(dir string) error {
	var err error
	for _, pattern := range []string{"*.mem", "*.vlog"} {
		names, globErr := filepath.Glob(filepath.Join(dir, pattern))
		err = errors.Join(err, globErr)
		for _, name := range names {
			if info, statErr := os.Stat(name); statErr == nil && info.Size() == 0 {
				err = errors.Join(err, os.Remove(name))
			}
		}
	}
	return err
}

// classify says what an error of badger.Open means; badger loses the chain of
// its errors.
func classify(text string) error {
	for _, c := range []struct {
		err   error
		texts []string
	}{
		{ErrForeign, []string{"unsupported version", "external magic", "bad magic", "Encryption key mismatch"}},
		{ErrUnwritable, []string{"permission denied", "read-only file system"}},
		{ErrNoSpace, []string{"no space left"}},
	} {
		for _, t := range c.texts {
			if strings.Contains(text, t) {
				return c.err
			}
		}
	}
	return ErrCorrupt
}

// badgerOptions keep a node with little to store small: about 10 MiB resident
// when idle, three memtables at most, no caches (tables are mapped and not
// compressed). Blocks stay inline: the value log is collected only after
// compactions of a tree that would hardly grow, so it would not honour MaxLogBytes.
func badgerOptions(opts Options, size sizing) badger.Options {
	small := size.memtable < 8<<20
	tables := int64(2 << 20)
	if small {
		tables = 1 << 20
	}
	compactors, stall := 2, level0Stall
	if size.still {
		compactors, stall = 0, math.MaxInt32
	}
	return badger.DefaultOptions(opts.Dir).
		WithBypassLockGuard(true). // lockDir has it
		WithSyncWrites(false).     // Power syncs once per commit instead
		WithDetectConflicts(false).
		WithMetricsEnabled(false).
		WithMemTableSize(size.memtable).
		WithNumMemtables(2).
		WithBaseTableSize(tables).
		WithBaseLevelSize(4 * size.memtable).
		WithNumLevelZeroTables(2).
		WithNumLevelZeroTablesStall(stall).
		WithNumCompactors(compactors).
		WithNumGoroutines(2).
		WithCompression(options.None).
		WithBlockCacheSize(0).
		WithIndexCacheSize(0).
		WithValueThreshold(size.threshold).
		WithValueLogFileSize(16 << 20)
}

// storedVersion finds the last version of a stream: that of its newest index
// entry, or what retention left behind when it dropped a newer one.
func (s *Badger) storedVersion(stream string) (uint64, error) {
	var last uint64
	err := s.db.View(func(txn *badger.Txn) error {
		v, found, err := getCopy(txn, versionKey(stream))
		if err == nil && found && len(v) == 8 {
			last = binary.BigEndian.Uint64(v)
		}
		it := txn.NewIterator(badger.IteratorOptions{Reverse: true, Prefix: indexPrefix(stream)})
		defer it.Close()
		it.Seek(indexKey(stream, math.MaxUint64))
		if it.Valid() && err == nil {
			first := indexVersion(it.Item().Key())
			return it.Item().Value(func(v []byte) error {
				e, ok := decodeIndexEntry(v)
				if !ok {
					return corrupt(0, fmt.Sprintf("an index entry of stream %q is malformed", stream))
				}
				last = max(last, first+e.count-1)
				return nil
			})
		}
		return err
	})
	return last, err
}

func getCopy(txn *badger.Txn, key []byte) (value []byte, found bool, err error) {
	item, err := txn.Get(key)
	if errors.Is(err, badger.ErrKeyNotFound) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	value, err = item.ValueCopy([]byte{})
	return value, err == nil, err
}

// LastPosition is the position of the newest event.
func (s *Badger) LastPosition() uint64 { return s.position.Load() }

func (s *Badger) share(c class) LogShare {
	return LogShare{Bytes: s.keptBytes(c), MaxBytes: s.sizing.maxLog[c]}
}

// Stats returns the state as of now, with a fresh look at the volume.
func (s *Badger) Stats() Stats {
	s.state.RLock()
	defer s.state.RUnlock()
	st := Stats{
		LastPosition:  s.position.Load(),
		Calls:         s.share(classCalls),
		Events:        s.share(classEvents),
		MaxDiskBytes:  s.sizing.diskBound(),
		MinFreeBytes:  s.sizing.floor,
		Commits:       s.commits.Load(),
		DroppedBlocks: s.dropped.Load(),
		Damaged:       s.damaged.Load(),
	}
	st.LogBytes, st.MaxLogBytes = st.Calls.Bytes+st.Events.Bytes, st.Calls.MaxBytes+st.Events.MaxBytes
	if st.LastPosition > 0 {
		st.FirstPosition = s.firstPosition.Load()
	}
	if s.closed {
		st.ReadOnly, st.Reason = true, ErrClosed.Error()
		return st
	}
	lsm, vlog := s.db.Size()
	st.DiskBytes = uint64(lsm + vlog)
	free, readOnly := s.space.state()
	st.FreeBytes = free
	if readOnly != nil {
		st.ReadOnly, st.Reason = true, readOnly.Error()
	}
	if reason := s.brokenReason.Load(); reason != nil {
		st.ReadOnly, st.Reason = true, *reason
	}
	return st
}

// Close refuses further calls, flushes and releases the directory. On a volume
// too full to flush it returns a *NoSpaceError and keeps the directory: nothing
// is lost when the process ends then, or call it again when there is room.
func (s *Badger) Close() error {
	s.state.Lock()
	defer s.state.Unlock()
	if s.shut {
		return nil
	}
	if !s.closed {
		s.closed = true
		close(s.stop)
	}
	if err := s.space.roomToFlush(); err != nil {
		return err
	}
	s.space.leaving.Store(true)
	<-s.stopped
	s.shut = true
	err := s.db.Close()
	if err != nil {
		err = fmt.Errorf("cannot close %s: %w", s.opts.Dir, err)
	}
	return errors.Join(err, s.calls.close(), s.lock.release())
}

// maintain watches the space and collects the value log, until stop.
func (s *Badger) maintain() {
	defer close(s.stopped)
	tick := time.NewTicker(spaceCheckInterval)
	defer tick.Stop()
	collected := time.Now()
	for {
		select {
		case <-s.stop:
			return
		case <-tick.C:
		}
		free, readOnly := s.space.state()
		if readOnly == nil {
			s.space.keepBallast()
			s.retainAge()
		}
		if time.Since(collected) < valueLogGCInterval || free < s.sizing.floor+32<<20 {
			continue
		}
		collected = time.Now()
		s.collectValueLog()
	}
}

// collectValueLog rewrites at most one file of long documents. It holds off
// writers, so that the sync of a Power commit meets the memtable it wrote to.
func (s *Badger) collectValueLog() {
	s.write.Lock()
	defer s.write.Unlock()
	if s.broken != nil {
		return
	}
	err := s.db.RunValueLogGC(valueLogGCRatio)
	if err != nil && !errors.Is(err, badger.ErrNoRewrite) {
		s.logger.Debug("value log not collected", "dir", s.opts.Dir, "err", err)
	}
}
