package limits

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// claim makes a directory of this runtime and locks it: the lock goes with the
// process, however that ends, and no process id has to be believed.
func (m *Manager) claim(dir string) error {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	lock, err := lockDir(dir)
	if err != nil {
		os.Remove(dir)
		return err
	}
	m.locks = append(m.locks, lock)
	return nil
}

// lockDir takes the lock of a directory, or fails at once if another process
// has it.
func lockDir(dir string) (*os.File, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		return nil, fmt.Errorf("cannot lock %s: %w", dir, err)
	}
	return f, nil
}

// removeLeftovers ends what runtimes that are dead left in dir: whatever still
// runs in a group of theirs is an orphan.
func removeLeftovers(dir string) {
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		if !e.IsDir() || !strings.HasPrefix(e.Name(), groupPrefix) {
			continue
		}
		base := filepath.Join(dir, e.Name())
		lock, err := lockDir(base)
		if err != nil {
			continue // its runtime lives
		}
		groups, _ := os.ReadDir(base)
		for _, g := range groups {
			if g.IsDir() {
				removeGroup(filepath.Join(base, g.Name()))
			}
		}
		os.Remove(base)
		lock.Close()
	}
}
