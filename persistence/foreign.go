package persistence

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/dgraph-io/badger/v4"
	"golang.org/x/sys/unix"
)

// manifestFile is the first that badger makes, in one step: no other file of
// its is there without it.
const manifestFile = "MANIFEST"

// Names of a data directory: what a store writes, or a volume has by itself.
var (
	tableFiles = []string{"*.sst", "*.mem", "*.vlog"}
	otherFiles = []string{
		pidFile, journalFile, ballastFile, BackupDir, probePattern, "lost+found",
		manifestFile, "MANIFEST-REWRITE", "KEYREGISTRY", "REWRITE-KEYREGISTRY", "DISCARD",
	}
)

// ForeignError says whose a directory is not. It is ErrForeign.
type ForeignError struct {
	Dir     string
	Entries []string // what does not belong there; none in the store of another program
}

// maxNamedEntries bounds the names in a ForeignError's text.
const maxNamedEntries = 3

func (e *ForeignError) Error() string {
	why := "it holds the store of another program"
	if n := len(e.Entries); n > 0 {
		named := make([]string, min(n, maxNamedEntries))
		for i := range named {
			named[i] = fmt.Sprintf("%.100q", e.Entries[i])
		}
		why = "it holds " + strings.Join(named, ", ")
		if more := n - len(named); more > 0 {
			why += fmt.Sprintf(" and %d more", more)
		}
	}
	return fmt.Sprintf("cannot open %s: it is no data directory of Hangar: %s; a new or an empty directory is wanted", e.Dir, why)
}

// Is makes it ErrForeign.
func (e *ForeignError) Is(target error) bool { return target == ErrForeign }

// maxEntries bounds the names that are looked at in a directory which is not
// known to be ours.
const maxEntries = 10_000

// checkOwner refuses a directory that is not ours, before anything is written
// into it. One that an interrupted first Open left is ours. What cannot be
// looked at is left to those who open it.
func checkOwner(dir string) error {
	hasManifest, hasJournal := exists(dir, manifestFile), exists(dir, journalFile)
	if hasManifest && hasJournal {
		return nil // others may keep files beside ours
	}
	f, err := os.Open(dir)
	if err != nil {
		return nil
	}
	names, err := f.Readdirnames(maxEntries)
	_ = f.Close() // nothing was written
	if err != nil && !errors.Is(err, io.EOF) {
		return nil
	}
	slices.Sort(names)
	var foreign []string
	tables := false
	for _, name := range names {
		if matches(tableFiles, name) {
			tables = true
		} else if !matches(otherFiles, name) {
			foreign = append(foreign, name)
		}
	}
	switch {
	case hasManifest:
		return checkStore(dir, names)
	case len(foreign) > 0 && !hasJournal:
		return &ForeignError{Dir: dir, Entries: foreign}
	case tables:
		// Badger would begin anew and remove the tables.
		return fmt.Errorf("cannot open %s: %w: its file %s is missing", dir, ErrCorrupt, manifestFile)
	}
	return nil
}

func exists(dir, name string) bool {
	_, err := os.Lstat(filepath.Join(dir, name))
	return err == nil
}

func matches(patterns []string, name string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool {
		ok, _ := path.Match(p, name)
		return ok
	})
}

// maxPeek and maxPeekEntries bound what checkStore looks at. A first Open that
// was interrupted has left far less.
const (
	maxPeek        = 96 << 20
	maxPeekEntries = 200
)

// checkStore looks for our mark in a store that has no journal, which only an
// interrupted first Open leaves without. Badger changes what it opens, so it
// gets a copy.
func checkStore(dir string, names []string) error {
	lock, err := shareDir(dir)
	if err != nil {
		return nil // as whoever opens it will tell
	}
	defer lock.Close()
	if len(names) > maxPeekEntries || bytesOnDisk(dir, names) > maxPeek {
		return &ForeignError{Dir: dir}
	}
	copied, err := shadow(dir)
	if err != nil {
		return nil
	}
	defer os.RemoveAll(copied)
	peek := Options{Dir: copied}.withDefaults()
	size := sizeFor(2<<30, peek)
	size.still = true
	space := &spaceGuard{dir: copied, statfs: statfs, logger: peek.Logger}
	space.leaving.Store(true)
	db, err := openBadger(peek, size, space)
	if errors.Is(err, ErrForeign) {
		return &ForeignError{Dir: dir}
	}
	if err != nil {
		return nil
	}
	err = db.View(func(txn *badger.Txn) error {
		_, err := readFormat(txn, dir)
		return err
	})
	_ = db.Close()
	if errors.Is(err, ErrForeign) {
		return err
	}
	return nil
}

// bytesOnDisk is what files take, holes aside.
func bytesOnDisk(dir string, names []string) (n uint64) {
	for _, name := range names {
		var stat unix.Stat_t
		if unix.Lstat(filepath.Join(dir, name), &stat) == nil && stat.Mode&unix.S_IFMT == unix.S_IFREG && name != ballastFile {
			n += uint64(stat.Blocks) * 512
		}
	}
	return n
}
