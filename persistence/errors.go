package persistence

import (
	"errors"
	"fmt"
)

// Conditions that callers branch on, with errors.Is.
var (
	// ErrLocked: another process, or another store of this one, has the
	// directory. The error is a *LockedError.
	ErrLocked = errors.New("directory is locked")
	// ErrUnwritable: the directory cannot be created or written. The error
	// names the path and wraps the errno.
	ErrUnwritable = errors.New("directory is not writable")
	// ErrForeign: the directory holds data of another format version, or of
	// another program, which is a *ForeignError.
	ErrForeign = errors.New("directory holds another format")
	// ErrNotBackup: the file that is to be restored is no backup, or one of a
	// newer version.
	ErrNotBackup = errors.New("no backup of Hangar that this version reads")
	// ErrReadOnly: the store refuses writes and still answers reads. It is
	// wrapped by ErrNoSpace, which heals by itself, and by the failure of an
	// earlier write, which only reopening heals.
	ErrReadOnly = errors.New("store is read-only")
	// ErrNoSpace: free space is below the floor. The error is a *NoSpaceError
	// and is ErrReadOnly too.
	ErrNoSpace = errors.New("not enough free space")
	// ErrTooLarge: an event, a document or a batch exceeds a limit.
	ErrTooLarge = errors.New("too large")
	// ErrInvalid: an event or a packed record is malformed; a fault of the caller.
	ErrInvalid = errors.New("invalid record")
	// ErrClosed: the store was closed.
	ErrClosed = errors.New("store is closed")
	// ErrCorrupt: stored bytes do not match their checksum or their place.
	// The error is a *CorruptError.
	ErrCorrupt = errors.New("damaged data")
)

// LockedError says who holds the directory.
type LockedError struct {
	Dir string
	PID int // 0 when the holder could not be found out
}

func (e *LockedError) Error() string {
	holder := "an unknown process"
	if e.PID != 0 {
		holder = fmt.Sprintf("process %d", e.PID)
	}
	return fmt.Sprintf("cannot open %s: %v by %s", e.Dir, ErrLocked, holder)
}

// Is makes it ErrLocked.
func (e *LockedError) Is(target error) bool { return target == ErrLocked }

// NoSpaceError says how much space is missing. Bytes.
type NoSpaceError struct {
	Dir   string
	Free  uint64
	Floor uint64 // what must stay free
	Need  uint64 // what was to be written
}

func (e *NoSpaceError) Error() string {
	return fmt.Sprintf("cannot write to %s: %v: %d bytes free, %d must stay free and %d are needed",
		e.Dir, ErrNoSpace, e.Free, e.Floor, e.Need)
}

// Is makes it ErrNoSpace and ErrReadOnly.
func (e *NoSpaceError) Is(target error) bool { return target == ErrNoSpace || target == ErrReadOnly }

// CorruptError names the block, or the index entry's block, that is damaged.
type CorruptError struct {
	Position uint64 // first position of the block
	Reason   string
}

func (e *CorruptError) Error() string {
	return fmt.Sprintf("%v in the block at position %d: %s", ErrCorrupt, e.Position, e.Reason)
}

// Is makes it ErrCorrupt.
func (e *CorruptError) Is(target error) bool { return target == ErrCorrupt }

// PartialError says that the first Applied batches of a Commit are stored and
// the others are not.
type PartialError struct {
	Applied int
	Err     error
}

func (e *PartialError) Error() string {
	return fmt.Sprintf("only the first %d batches are stored: %v", e.Applied, e.Err)
}

// Unwrap returns the failure of the first batch that is not stored.
func (e *PartialError) Unwrap() error { return e.Err }
