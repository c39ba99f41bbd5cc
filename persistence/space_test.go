package persistence_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/aabb9013/hangar/persistence"
	"github.com/aabb9013/hangar/persistence/storetest"
)

// childFill runs a store on a small volume in a process of its own, since what
// it proves is that the process survives.
func childFill(dir string) error {
	s, err := persistence.Open(persistence.Options{Dir: filepath.Join(dir, "log"), RunID: 1})
	if err != nil {
		return err
	}
	for round := range 3 {
		if err := fillAndFree(s, dir, 2*round); err != nil {
			return fmt.Errorf("round %d: %w", round, err)
		}
	}
	// Closing must flush a memtable: it refuses on a full volume, and works after.
	if err := write(s); err != nil {
		return err
	}
	_ = os.Remove(filepath.Join(dir, "log", "ballast"))
	filler, err := takeAll(dir)
	if err != nil {
		return err
	}
	if err := s.Close(); err != nil && !errors.Is(err, persistence.ErrNoSpace) {
		return fmt.Errorf("close on a full volume: %w", err)
	}
	if err := os.Remove(filler); err != nil {
		return err
	}
	return s.Close()
}

func write(s *persistence.Badger) error {
	records := make([]persistence.CallRecord, 500)
	for i := range records {
		records[i] = persistence.CallRecord{Server: fmt.Sprint("s", i%20), Tool: "tool", CallID: uint64(i), Outcome: persistence.Completed}
	}
	return errors.Join(
		s.Commit(persistence.Batch{Events: []persistence.Event{{Kind: "K"}}}),
		s.AppendCalls(storetest.Pack(records...), 0),
	)
}

// fillAndFree writes until the store refuses because another one takes the
// volume, then frees it and waits for the store to recover.
func fillAndFree(s *persistence.Badger, dir string, round int) error {
	filled := make(chan error, 1)
	var filler string
	go func() {
		time.Sleep(time.Duration(round*40) * time.Millisecond)
		var err error
		filler, err = takeAll(dir)
		filled <- err
	}()
	refused := false
	for end := time.Now().Add(3 * time.Second); time.Now().Before(end); {
		err := write(s)
		if err != nil && !errors.Is(err, persistence.ErrNoSpace) {
			return err
		}
		if err != nil {
			refused = true
			time.Sleep(time.Millisecond)
		}
	}
	if err := <-filled; err != nil {
		return err
	}
	before := s.LastPosition()
	if err := write(s); !errors.Is(err, persistence.ErrNoSpace) || !errors.Is(err, persistence.ErrReadOnly) || !refused {
		return fmt.Errorf("on a full volume: got %w, want ErrNoSpace", err)
	}
	if st := s.Stats(); !st.ReadOnly || st.Reason == "" || st.FreeBytes > st.MinFreeBytes || s.LastPosition() != before {
		return fmt.Errorf("stats on a full volume: %+v", st)
	}
	if _, err := s.Events(1, 10); err != nil {
		return fmt.Errorf("reading on a full volume: %w", err)
	}
	if err := os.Remove(filler); err != nil {
		return err
	}
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		err := write(s)
		if err == nil {
			break
		}
		if time.Now().After(end) {
			return fmt.Errorf("after space returned: %w, %+v", err, s.Stats())
		}
	}
	if st := s.Stats(); st.ReadOnly {
		return fmt.Errorf("stats after space returned: %+v", st)
	}
	return nil
}

// takeAll fills the volume to its last page.
func takeAll(dir string) (string, error) {
	f, err := os.CreateTemp(dir, "filler-*")
	if err != nil {
		return "", err
	}
	defer f.Close()
	chunk := make([]byte, 1<<20)
	for len(chunk) > 0 {
		time.Sleep(20 * time.Millisecond) // as fast as a disk; see the package comment

		if _, err := f.Write(chunk); errors.Is(err, unix.ENOSPC) {
			chunk = chunk[:len(chunk)/2]
		} else if err != nil {
			return "", err
		}
	}
	return f.Name(), nil
}

func TestFullVolumeMakesTheStoreReadOnly(t *testing.T) {
	if testing.Short() {
		t.Skip("takes 15 seconds")
	}
	if os.Getuid() != 0 {
		t.Skip("needs root to mount a small volume")
	}
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=64m"); err != nil {
		t.Skipf("cannot mount a small volume: %v", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	if err := child("fill", dir).Run(); err != nil {
		t.Fatalf("store on a full volume: %v", err)
	}
	s := open(t, persistence.Options{Dir: filepath.Join(dir, "log")})
	st := s.Stats()
	log := storetest.CheckRetained(t, s)
	t.Logf("%d events, %d retained, floor %d MiB", st.LastPosition, len(log), st.MinFreeBytes>>20)
}
