package persistence

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// spaceMaxAge is how long a look at the volume may serve when free space is
	// far above the floor; near it every write looks again (about 1 µs).
	spaceMaxAge  = 250 * time.Millisecond
	maxAutoFloor = 4 << 30
	ballastFile  = "ballast"
	gateInterval = 20 * time.Millisecond
	// level0Stall is how many level 0 tables stop the writer until some are
	// compacted.
	level0Stall = 12
)

// sizing is what follows from the size of the volume. A small volume gets
// small memtables, since what badger may still have to write is a multiple of them.
type sizing struct {
	memtable  int64
	threshold int64 // longer values go to the value log
	block     int   // records in one block, bytes
	budget    int   // one transaction, bytes; below badger's 15 % of a memtable
	entries   int   // of one transaction
	floor     uint64
	maxLog    [classCount]uint64
	journal   int // bytes of the call buffer
	// still keeps badger from compacting, which truncates the tables that it
	// has merged: what they are linked to must not change.
	still bool
}

func sizeFor(total uint64, opts Options) sizing {
	s := sizing{memtable: 16 << 20, block: 256 << 10, journal: DefaultCallBufferBytes}
	switch {
	case total < 512<<20:
		s.memtable, s.block, s.journal = 2<<20, 48<<10, DefaultCallBufferBytes/4
	case total < 2<<30:
		s.memtable, s.block = 8<<20, 128<<10
	}
	limit := s.memtable * 15 / 100
	s.threshold = int64(s.block) + MaxEventData + 16<<10
	s.budget = int(limit * 3 / 4)
	s.entries = int(limit / 160)
	s.maxLog = opts.shares(min(DefaultMaxLogBytes, total/8))
	s.floor = opts.MinFreeBytes
	if s.floor == 0 {
		s.floor = min(max(256<<20, min(total/20, maxAutoFloor)), total/4)
	}
	// An active memtable that fills, one that is flushed and a compaction of
	// level 0 can be under way when the last write is let through.
	s.floor = max(s.floor, 6*uint64(s.memtable))
	return s
}

// diskSlack is how many memtables a directory may take besides the log: three
// write-ahead files of a memtable and a quarter, and the level 0 tables at which
// badger stops its writer.
const diskSlack = 4 + level0Stall

// diskBound is what the directory takes at most: the log, as much again that is
// dropped and not compacted away yet, the output of a compaction beside its input,
// badger's own slack, and the journal.
func (s sizing) diskBound() uint64 {
	return 3*(s.maxLog[classCalls]+s.maxLog[classEvents]) + diskSlack*uint64(s.memtable) + uint64(s.journal)
}

func statfs(path string) (free, total uint64, err error) {
	var st unix.Statfs_t
	for {
		err = unix.Statfs(path, &st)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err != nil {
		return 0, 0, err
	}
	return st.Bavail * uint64(st.Bsize), st.Blocks * uint64(st.Bsize), nil
}

// spaceGuard stands before every write. Safe for concurrent use.
type spaceGuard struct {
	dir     string
	floor   uint64
	ballast uint64
	hard    uint64 // no table of a compaction is begun below it
	statfs  func(string) (free, total uint64, err error)
	logger  *slog.Logger

	gate    sync.Mutex // holds back compactions, one table at a time
	passed  time.Time
	held    atomic.Bool   // a compaction waits for space
	gated   atomic.Uint64 // tables that came to the gate
	leaving atomic.Bool   // Close has found the room it needs

	mu       sync.Mutex
	looked   time.Time
	free     uint64 // when looked at, less what was written since
	readOnly bool
	reason   error // of readOnly
}

// admit lets a write of need bytes pass or returns a *NoSpaceError.
func (g *spaceGuard) admit(need uint64) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.free < 4*g.floor+need || time.Since(g.looked) > spaceMaxAge {
		if err := g.look(); err != nil {
			return err
		}
	}
	if g.readOnly || g.free < g.floor+need {
		return &NoSpaceError{Dir: g.dir, Free: g.free, Floor: g.floor, Need: need}
	}
	g.free -= need
	return nil
}

// state looks at the volume now.
func (g *spaceGuard) state() (free uint64, readOnly error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if err := g.look(); err != nil {
		return 0, err
	}
	return g.free, g.reason
}

// look renews what is known. Leaving the read-only state needs an eighth more
// than the floor, so that a volume at the edge does not flap. Callers hold mu.
func (g *spaceGuard) look() error {
	free, _, err := g.statfs(g.dir)
	if err != nil {
		g.looked = time.Time{}
		return err
	}
	g.looked, g.free = time.Now(), free
	switch {
	case free < g.floor:
		g.reason = &NoSpaceError{Dir: g.dir, Free: free, Floor: g.floor}
		if !g.readOnly {
			g.readOnly = true
			g.logger.Warn("log is read-only", "dir", g.dir, "free", free, "floor", g.floor)
		}
	case g.readOnly && free >= g.floor+g.floor/8:
		g.readOnly, g.reason = false, nil
		g.logger.Info("log is writable again", "dir", g.dir, "free", free)
	}
	if free < g.floor/2 {
		g.dropBallast()
	}
	return nil
}

// holdTable stands before every table a compaction writes: badger compacts in
// the background, for seconds after the last write was let through. Below the
// floor it lets one table pass in a while, so that the next look sees it; below
// the hard limit it waits for space. It is called by badger's goroutines.
func (g *spaceGuard) holdTable() {
	g.gated.Add(1)
	g.gate.Lock()
	defer g.gate.Unlock()
	for !g.leaving.Load() {
		free, _, err := g.statfs(g.dir)
		if err != nil || free >= g.floor {
			break
		}
		if free >= g.hard && time.Since(g.passed) > 5*gateInterval {
			g.passed = time.Now()
			break
		}
		g.held.Store(true)
		time.Sleep(gateInterval)
	}
	g.held.Store(false)
}

// keepBallast makes the ballast file when there is ample room for it. A file
// system without fallocate goes without.
func (g *spaceGuard) keepBallast() {
	g.mu.Lock()
	defer g.mu.Unlock()
	path := filepath.Join(g.dir, ballastFile)
	if _, err := os.Stat(path); err == nil || g.look() != nil || g.free < 2*g.floor+g.ballast {
		return
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return
	}
	err = unix.Fallocate(int(f.Fd()), 0, 0, int64(g.ballast))
	if errors.Join(err, f.Close()) != nil {
		os.Remove(path)
	}
	g.looked = time.Time{}
}

// dropBallast gives the room to badger's flushes and compactions.
func (g *spaceGuard) dropBallast() {
	if os.Remove(filepath.Join(g.dir, ballastFile)) == nil {
		g.logger.Warn("ballast given up", "dir", g.dir, "bytes", g.ballast)
	}
}

// roomToFlush fails when badger's write-ahead files could not be turned into
// tables: then neither opening nor closing is safe, leaving the files is.
func (g *spaceGuard) roomToFlush() error {
	wal, _ := walBytes(g.dir)
	need := wal*9/8 + 2<<20
	if g.held.Load() {
		need += g.hard
	}
	free, _, err := g.statfs(g.dir)
	if err != nil {
		return err
	}
	if free >= need {
		return nil
	}
	g.mu.Lock()
	g.dropBallast()
	g.mu.Unlock()
	if free, _, err = g.statfs(g.dir); err != nil {
		return err
	}
	if free < need {
		return &NoSpaceError{Dir: g.dir, Free: free, Need: need}
	}
	return nil
}

// walReserve allocates the pages of badger's active write-ahead file, which is
// sparse, so that a write that was let through cannot miss one. badger begins a
// new file when a memtable is full; the first transaction in it goes unreserved.
type walReserve struct {
	dir  string
	size int64
	next int // number of the first file not seen yet
}

// renew costs one look for a file when there is no new one. Only the writer
// calls it.
func (w *walReserve) renew() {
	for {
		path := filepath.Join(w.dir, fmt.Sprintf("%05d.mem", w.next))
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			return
		}
		// A file system that cannot do it leaves us with the guard alone.
		_ = unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_KEEP_SIZE, 0, w.size)
		f.Close()
		w.next++
	}
}

// start finds the active file, the one with the greatest number.
func (w *walReserve) start() {
	names, _ := filepath.Glob(filepath.Join(w.dir, "*.mem"))
	for _, name := range names {
		n, err := strconv.Atoi(strings.TrimSuffix(filepath.Base(name), ".mem"))
		if err == nil {
			w.next = max(w.next, n)
		}
	}
	w.renew()
}

// walBytes is what the sparse memtable files, and the largest of them, really hold.
func walBytes(dir string) (all, largest uint64) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return 0, 0
	}
	for _, e := range entries {
		var st unix.Stat_t
		if strings.HasSuffix(e.Name(), ".mem") && unix.Stat(filepath.Join(dir, e.Name()), &st) == nil {
			n := uint64(st.Blocks) * 512
			all, largest = all+n, max(largest, n)
		}
	}
	return all, largest
}
