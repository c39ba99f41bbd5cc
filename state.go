package hangar

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"

	"github.com/aabb9013/hangar/actors"
	"github.com/aabb9013/hangar/persistence"
	"github.com/aabb9013/hangar/supervisor"
)

// The types that describe a data directory and its backups.
type (
	// BackupInfo describes a finished backup.
	BackupInfo = persistence.BackupInfo
	// StateReport is what Verify found in a data directory.
	StateReport = persistence.Report
	// StateFault is one thing that is wrong with a data directory.
	StateFault = persistence.Fault
	// Restored describes a directory that was made of a backup.
	Restored = persistence.Restored
)

// Errors of Backup and Restore, for errors.Is.
var (
	// ErrInMemory: the state is not on disk.
	ErrInMemory = supervisor.ErrInMemory
	// ErrNotEmpty: a backup is not restored over data unless that is forced.
	ErrNotEmpty = persistence.ErrNotEmpty
	// ErrNotBackup: the file that is to be restored is no backup.
	ErrNotBackup = persistence.ErrNotBackup
	// ErrNoState: no runtime has kept its state there.
	ErrNoState = errors.New("no state of a runtime is there")
)

// Backup writes everything that is stored, calls just answered included, to a
// new file in the directory "backups" of the data directory and keeps the newest
// five. Calls and changes go on meanwhile; one backup runs at a time. ErrInMemory,
// ErrReadOnly without room for it, ErrOverloaded while another one runs.
func (rt *Runtime) Backup(ctx context.Context) (BackupInfo, error) {
	sys, err := rt.system()
	if err != nil {
		return BackupInfo{}, err
	}
	store, ok := rt.store.(*persistence.Badger)
	if !ok {
		return BackupInfo{}, fmt.Errorf("%w: there is nothing to back up; give the runtime a data directory", ErrInMemory)
	}
	if !rt.backingUp.CompareAndSwap(false, true) {
		return BackupInfo{}, errBackingUp{}
	}
	defer rt.backingUp.Store(false)
	if err := sys.Flush(ctx); err != nil {
		return BackupInfo{}, err
	}
	info, err := store.BackupHere(ctx)
	switch {
	case errors.Is(err, persistence.ErrClosed):
		return BackupInfo{}, fmt.Errorf("%w: %w", ErrClosing, err)
	case errors.Is(err, persistence.ErrReadOnly), errors.Is(err, persistence.ErrUnwritable):
		return BackupInfo{}, fmt.Errorf("%w: %w", ErrReadOnly, err)
	}
	return info, err
}

// errBackingUp refuses a second backup. It is ErrOverloaded, whose own text is
// about calls.
type errBackingUp struct{}

func (errBackingUp) Error() string        { return "another backup is under way; try again when it is done" }
func (errBackingUp) Is(target error) bool { return target == ErrOverloaded }

// BackupDir backs up a data directory that no runtime has open. An empty path
// chooses a new file in its directory "backups". ErrLocked, ErrUnwritable,
// ErrForeign, ErrNoState, ErrNoSpace, ErrCorrupt, fs.ErrExist for a path that
// exists.
func BackupDir(ctx context.Context, dir, path string) (info BackupInfo, err error) {
	if dir, err = existing(dir); err != nil {
		return BackupInfo{}, err
	}
	// How much is kept is for the runtime to say: a backup drops nothing.
	store, err := persistence.Open(persistence.Options{Dir: dir, MaxLogBytes: math.MaxInt64})
	if err != nil {
		return BackupInfo{}, err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	if path == "" {
		return store.BackupHere(ctx)
	}
	return store.BackupTo(ctx, path)
}

// Restore makes a data directory of a backup, which is checked before and after.
// What stands in the directory stays untouched if anything fails; with force it
// is moved aside, without it ErrNotEmpty. ErrNotBackup, ErrCorrupt, ErrLocked,
// ErrNoSpace, ErrUnwritable.
func Restore(backup, dir string, force bool) (*Restored, error) {
	return persistence.Restore(backup, dir, force, actors.NewAudit())
}

// Verify reads a data directory that no runtime has open, changes nothing, and
// reports what is wrong with it: checksums, the chain of the log's blocks, the
// journal, and whether documents and log agree. Damage is not an error:
// ErrLocked, ErrForeign, ErrNoState, ErrUnwritable.
func Verify(dir string) (*StateReport, error) {
	dir, err := existing(dir)
	if err != nil {
		return nil, err
	}
	return persistence.Verify(dir, actors.NewAudit())
}

// existing keeps a mistyped path from becoming a new, empty directory.
func existing(dir string) (string, error) {
	_, err := os.Stat(filepath.Join(dir, "MANIFEST"))
	switch {
	case errors.Is(err, fs.ErrPermission):
		return "", fmt.Errorf("cannot open %s: %w: %w", dir, ErrUnwritable, err)
	case err != nil:
		return "", fmt.Errorf("cannot open %s: %w", dir, ErrNoState)
	}
	return dir, nil
}
