package persistence_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dgraph-io/badger/v4"
	"golang.org/x/sys/unix"

	"github.com/aabb9013/hangar/persistence"
)

// childHold keeps the directory until its standard input ends.
func childHold(dir string) error {
	s, err := persistence.Open(persistence.Options{Dir: dir, MinFreeBytes: 1})
	if err != nil {
		return err
	}
	fmt.Println("open")
	_, _ = bufio.NewReader(os.Stdin).ReadString('\n')
	return s.Close()
}

func TestLockedDirectoryNamesItsHolder(t *testing.T) {
	dir := t.TempDir()
	cmd := child("hold", dir)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(stdout).ReadString('\n'); line != "open\n" {
		t.Fatalf("child says %q, %v", line, err)
	}
	wantLocked(t, dir, cmd.Process.Pid)
	stdin.Close()
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	s := open(t, persistence.Options{Dir: dir})
	wantLocked(t, dir, os.Getpid())
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	open(t, persistence.Options{Dir: dir})
}

func wantLocked(t *testing.T, dir string, pid int) {
	t.Helper()
	start := time.Now()
	_, err := persistence.Open(persistence.Options{Dir: dir})
	if took := time.Since(start); took > time.Second {
		t.Errorf("refused after %v", took)
	}
	var locked *persistence.LockedError
	if !errors.Is(err, persistence.ErrLocked) || !errors.As(err, &locked) {
		t.Fatalf("got %v, want ErrLocked", err)
	}
	if locked.PID != pid || locked.Dir != dir || !strings.Contains(err.Error(), dir) || !strings.Contains(err.Error(), fmt.Sprint(pid)) {
		t.Errorf("got %+v (%v), want pid %d and %s", locked, err, pid, dir)
	}
}

func TestUnwritableDirectoryIsRefused(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	dirs := map[string]struct {
		path string
		want error
	}{
		"a file":       {file, unix.ENOTDIR},
		"below a file": {filepath.Join(file, "log"), unix.ENOTDIR},
	}
	readOnly := t.TempDir()
	if os.Getuid() != 0 {
		if err := os.Chmod(readOnly, 0o500); err != nil {
			t.Fatal(err)
		}
		dirs["no permission"] = struct {
			path string
			want error
		}{readOnly, unix.EACCES}
	} else if err := unix.Mount("tmpfs", readOnly, "tmpfs", unix.MS_RDONLY, "size=1m"); err == nil {
		t.Cleanup(func() { _ = unix.Unmount(readOnly, unix.MNT_DETACH) })
		dirs["read-only mount"] = struct {
			path string
			want error
		}{readOnly, unix.EROFS}
	} else {
		t.Logf("no read-only mount here, not tested: %v", err)
	}
	for name, c := range dirs {
		start := time.Now()
		_, err := persistence.Open(persistence.Options{Dir: c.path})
		if took := time.Since(start); took > time.Second {
			t.Errorf("%s: refused after %v", name, took)
		}
		if !errors.Is(err, persistence.ErrUnwritable) || !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.path) {
			t.Errorf("%s: got %v, want ErrUnwritable, %v and the path", name, err, c.want)
		}
	}
}

func TestDirectoryIsCreatedPrivate(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "log")
	open(t, persistence.Options{Dir: dir})
	info, err := os.Stat(dir)
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("got mode %v, err %v, want 0700", info.Mode(), err)
	}
}

func TestDirectoryThatOthersMayReadIsTold(t *testing.T) {
	for mode, told := range map[os.FileMode]bool{0o700: false, 0o750: false, 0o755: true} {
		dir := t.TempDir()
		if err := os.Chmod(dir, mode); err != nil {
			t.Fatal(err)
		}
		var log bytes.Buffer
		s, err := persistence.Open(persistence.Options{Dir: dir, MinFreeBytes: 1, Logger: slog.New(slog.NewTextHandler(&log, nil))})
		if err != nil || s.Close() != nil {
			t.Fatal(err)
		}
		if got := strings.Contains(log.String(), "other users may read"); got != told {
			t.Errorf("mode %o: told %v, want %v: %s", mode, got, told, &log)
		}
	}
}

func TestForeignDirectoryIsRefused(t *testing.T) {
	for name, entry := range map[string][2]string{
		"newer format":      {"m/format", "hangar-log 4"},
		"another program's": {"whatever", "x"},
	} {
		dir := t.TempDir()
		rawUpdate(t, dir, func(txn *badger.Txn) error { return txn.Set([]byte(entry[0]), []byte(entry[1])) })
		_, err := persistence.Open(persistence.Options{Dir: dir})
		if !errors.Is(err, persistence.ErrForeign) || !strings.Contains(err.Error(), dir) {
			t.Errorf("%s: got %v, want ErrForeign and the path", name, err)
		}
		// Refusing must not have changed or kept anything.
		rawUpdate(t, dir, func(txn *badger.Txn) error {
			_, err := txn.Get([]byte(entry[0]))
			return err
		})
	}
}

// rawUpdate changes a closed store behind its back.
func rawUpdate(t *testing.T, dir string, fn func(txn *badger.Txn) error) {
	t.Helper()
	db, err := badger.Open(badger.DefaultOptions(dir).WithLogger(nil).WithMemTableSize(16 << 20))
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Update(fn); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}

// badger truncates a write-ahead file before it removes it, and makes one before
// it gives it a length: a process can die in between.
func TestEmptyWriteAheadFilesAreNoObstacle(t *testing.T) {
	dir := t.TempDir()
	killedWriter(t, dir, 0)
	for _, name := range []string{"00000.mem", "00123.mem"} {
		path := filepath.Join(dir, name)
		if _, err := os.Stat(path); err == nil {
			continue // in use
		}
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	wantSound(t, dir)
	s := open(t, persistence.Options{Dir: dir})
	if s.LastPosition() == 0 {
		t.Error("the log is empty")
	}
}

func TestOptionsAreValidated(t *testing.T) {
	if _, err := persistence.Open(persistence.Options{}); err == nil {
		t.Error("opened without a directory")
	}
	if _, err := persistence.Open(persistence.Options{Dir: t.TempDir(), Durability: 9}); err == nil {
		t.Error("opened with an unknown durability")
	}
}
