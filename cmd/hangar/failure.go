package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"

	"github.com/spf13/pflag"

	"github.com/aabb9013/hangar"
	settings "github.com/aabb9013/hangar/internal/config"
)

// Exit codes, as the reference program has them where it has one.
const (
	exitOK          = 0
	exitFailure     = 1 // user or configuration error
	exitSystem      = 2 // system or unexpected error, or a refused unsafe start
	exitUnavailable = 6 // the data directory or port is not to be had
	exitInterrupted = 130
)

// codedError carries the exit code of a failure. Without an err it is an
// answer, and nothing more is said.
type codedError struct {
	code int
	err  error
}

func (e *codedError) Error() string { return fmt.Sprint(e.err) }
func (e *codedError) Unwrap() error { return e.err }

// report tells what failed and what to do next, and returns the exit code.
func report(err error) int {
	if err == nil {
		return exitOK
	}
	var coded *codedError
	if errors.As(err, &coded) && coded.err == nil {
		return coded.code
	}
	fmt.Fprintln(os.Stderr, "hangar:", err)
	if next := advice(err); next != "" {
		fmt.Fprintln(os.Stderr, "hangar: next:", next)
	}
	return exitCode(err)
}

func exitCode(err error) int {
	var coded *codedError
	if errors.As(err, &coded) {
		return coded.code
	}
	for _, unavailable := range []error{
		hangar.ErrLocked, hangar.ErrUnwritable, hangar.ErrForeign, hangar.ErrNoSpace, hangar.ErrCorrupt,
		hangar.ErrNoState,
	} {
		if errors.Is(err, unavailable) {
			return exitUnavailable
		}
	}
	return exitFailure
}

// advice is what to do next about a failure whose own text does not say so.
func advice(err error) string {
	config := errors.Is(err, hangar.ErrConfig)
	switch {
	case config && errors.Is(err, fs.ErrNotExist):
		return "check the path after --config (or in MCP_CONFIG); README tells what the file looks like"
	case config && errors.Is(err, fs.ErrPermission):
		return "let this user read the file, or name another one with --config"
	case errors.Is(err, settings.ErrUnreadable):
		return "name a file with --config (or in MCP_CONFIG)"
	case config && errors.Is(err, hangar.ErrNotBuilt):
		return "take what is listed out of the file, or switch it off; nothing was started"
	case config:
		return "mend the lines above; nothing was started"
	case errors.Is(err, hangar.ErrLocked):
		return "stop that process, or give this one a directory of its own with --data-dir"
	case errors.Is(err, hangar.ErrUnwritable):
		return "name a directory that this user may write with --data-dir"
	case errors.Is(err, hangar.ErrForeign):
		return "name another directory with --data-dir; this one was left as it is"
	case errors.Is(err, hangar.ErrNoSpace):
		return "make room on the volume, or name a directory on another with --data-dir"
	case errors.Is(err, hangar.ErrNoState):
		return "check the path after --data-dir (or in HANGAR_DATA_DIR)"
	case errors.Is(err, hangar.ErrNotBackup):
		return "name a file that \"hangar backup create\" wrote; the data directory was left as it is"
	case errors.Is(err, hangar.ErrNotEmpty):
		return "name an empty directory with --data-dir, or move what is there aside with --force"
	case errors.Is(err, errDamaged):
		return "keep a copy of the directory; \"hangar backup restore\" makes a sound one of a backup"
	case errors.Is(err, hangar.ErrCorrupt):
		return "keep a copy of the directory; \"hangar verify\" tells what is damaged, \"hangar backup restore\" makes a new one of a backup"
	}
	return ""
}

// cause is what pflag found wrong, without the flag's name, which the caller
// tells together with where the value came from.
func cause(err error) error {
	var invalid *pflag.InvalidValueError
	if errors.As(err, &invalid) {
		err = invalid.Unwrap()
	}
	var number *strconv.NumError
	if errors.As(err, &number) {
		err = number.Err
	}
	return err
}
