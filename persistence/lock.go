package persistence

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// pidFile is where the holder of a directory writes its pid. The lock itself
// is a flock on the directory, the one badger's own tools take, so it ends
// with the process however that ends.
const pidFile = "LOCK"

// probePattern names the file that shows whether a directory can be written.
const probePattern = ".probe-*"

// dirLock holds a directory until release.
type dirLock struct {
	dir  *os.File
	path string // of the pid file
}

// prepareDir creates the directory if it is missing and proves that files can
// be created in it.
func prepareDir(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("cannot open %s: %w: %w", dir, ErrUnwritable, err)
	}
	f, err := os.CreateTemp(dir, probePattern)
	if err != nil {
		return fmt.Errorf("cannot open %s: %w: %w", dir, ErrUnwritable, err)
	}
	return errors.Join(f.Close(), os.Remove(f.Name()))
}

// lockDir never waits for the holder; it looks up to half a second for its pid,
// which a holder writes just after it has the lock.
func lockDir(dir string) (*dirLock, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("cannot open %s: %w: %w", dir, ErrUnwritable, err)
	}
	l := &dirLock{dir: f, path: filepath.Join(dir, pidFile)}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		f.Close()
		return nil, &LockedError{Dir: dir, PID: holder(l.path)}
	}
	if err == nil {
		err = os.WriteFile(l.path, fmt.Appendf(nil, "%d\n", os.Getpid()), 0o600)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("cannot open %s: %w: %w", dir, ErrUnwritable, err)
	}
	return l, nil
}

// holder reads the pid of the process that has the lock. A pid left by a killed
// holder is overwritten by the next one, and taken for nothing until then.
func holder(path string) int {
	for range 10 {
		b, _ := os.ReadFile(path)
		pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
		if err == nil && pid > 0 && !errors.Is(unix.Kill(pid, 0), unix.ESRCH) {
			return pid
		}
		time.Sleep(50 * time.Millisecond)
	}
	return 0
}

// sync makes new names in the directory durable.
func (l *dirLock) sync() error { return l.dir.Sync() }

func (l *dirLock) release() error {
	return errors.Join(os.Remove(l.path), l.dir.Close())
}
