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
)

// manifestFile is the first that badger makes, in one step: no other file of
// its is there without it.
const manifestFile = "MANIFEST"

// registryFile has the keys of an encrypted store, and is there without any.
const registryFile = "KEYREGISTRY"

// Names of a data directory: what a store writes, or a volume has by itself.
var (
	tableFiles = []string{"*.sst", "*.mem", "*.vlog"}
	otherFiles = []string{
		pidFile, journalFile, ballastFile, BackupDir, probePattern, "lost+found",
		manifestFile, "MANIFEST-REWRITE", registryFile, "REWRITE-KEYREGISTRY", "DISCARD",
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
// into it. One that an interrupted first Open left is ours. A directory that
// cannot be read is left to those who open it.
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
		return checkStore(dir, foreign)
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

// maxPeek bounds the write-ahead files that checkStore copies, holes aside. Those
// of a store of ours take less than half of it.
const maxPeek = 256 << 20

// peekFiles are what badger needs to find our mark, which is too short for the
// value log. A mark in the tables is found however many they are: nothing of them
// is copied.
var peekFiles = []string{manifestFile, registryFile, "*.mem", "*.sst"}

// checkStore looks for our mark in a store that has no journal: an interrupted
// first Open leaves one, and earlier versions had none. Badger changes what it
// opens, so it gets a copy. Damage in a store with no names but ours is left to
// those who open it.
func checkStore(dir string, foreign []string) error {
	lock, err := shareDir(dir)
	if err != nil {
		return nil // as whoever opens it will tell
	}
	defer lock.Close()
	all, largest := walBytes(dir)
	if all > maxPeek {
		return fmt.Errorf("cannot open %s: cannot look whose it is: it has %d MiB of write-ahead files, and at most %d MiB are looked at; name a new or an empty directory", dir, all>>20, maxPeek>>20)
	}
	copied, err := shadow(dir, peekFiles)
	if err != nil {
		return fmt.Errorf("cannot open %s: cannot look whose it is: %w; name a directory for a copy of its write-ahead files in TMPDIR", dir, err)
	}
	defer os.RemoveAll(copied)
	version, err := peek(copied, dir, largest)
	var theirs *ForeignError
	switch {
	case errors.As(err, &theirs):
		return &ForeignError{Dir: dir, Entries: foreign}
	case errors.Is(err, ErrForeign):
		return err
	case len(foreign) > 0 && (err != nil || version == 0):
		return &ForeignError{Dir: dir, Entries: foreign}
	}
	return nil
}

// peek reads the format mark in the copy of a store. It is a *ForeignError if
// badger itself cannot read it as a store of ours.
func peek(copied, dir string, largest uint64) (version int, err error) {
	opts := Options{Dir: copied}.withDefaults()
	size := sizeFor(2<<30, opts)
	size.still = true
	// In memory the entries of a write-ahead file take up to three times as much,
	// and badger ends the process over one that does not fit.
	size.memtable = max(size.memtable, 3*int64(largest))
	space := &spaceGuard{dir: copied, statfs: statfs, logger: opts.Logger}
	space.leaving.Store(true)
	db, err := openBadger(opts, size, space)
	if errors.Is(err, ErrForeign) {
		return 0, &ForeignError{Dir: dir}
	}
	if err != nil {
		return 0, err
	}
	defer db.Close() // nothing of it is kept
	err = db.View(func(txn *badger.Txn) (err error) {
		version, err = readFormat(txn, dir)
		return err
	})
	return version, err
}
