package persistence

import (
	"fmt"
	"io/fs"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// onDisk is what the files of a directory take of the volume, the ballast aside.
func onDisk(t *testing.T, dir string) (bytes uint64) {
	t.Helper()
	err := filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || e.Name() == ballastFile {
			return nil // a file may go while it is looked at
		}
		if info, err := e.Info(); err == nil {
			bytes += uint64(info.Sys().(*syscall.Stat_t).Blocks) * 512
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return bytes
}

// Eight times the bound is written, as fast as the store takes it.
func TestDirectoryStaysWithinItsBound(t *testing.T) {
	const bound = 4 << 20
	dir := t.TempDir()
	// A small volume: small memtables make the bound one that can be missed.
	small := func(string) (free, total uint64, err error) { return 200 << 20, 256 << 20, nil }
	s, err := Open(Options{Dir: dir, MaxLogBytes: bound, statfs: small})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var most, offset uint64
	for i := 0; offset < 8*bound; i++ {
		for j := range 5000 {
			s.CallBuffer().Record(&CallRecord{
				Server: fmt.Sprint("server-", j%200), Tool: "search", CallID: uint64(i*5000 + j), Start: int64(i) << 30, Outcome: Completed,
			})
		}
		if err := s.FlushCalls(0); err != nil {
			t.Fatal(err)
		}
		offset = s.endOffset.Load()
		if most = max(most, onDisk(t, dir)); most > s.Stats().MaxDiskBytes {
			t.Fatalf("the directory takes %d bytes, its bound is %d; %d were written", most, s.Stats().MaxDiskBytes, offset)
		}
	}
	st := s.Stats()
	if st.LogBytes > bound+bound/4 || st.DroppedBlocks == 0 {
		t.Errorf("the log keeps %d bytes, bound %d", st.LogBytes, bound)
	}
	t.Logf("wrote %d MiB, log %.1f MiB of %d, at most %.1f MiB on disk, bound %.1f MiB",
		offset>>20, float64(st.LogBytes)/(1<<20), bound>>20, float64(most)/(1<<20), float64(st.MaxDiskBytes)/(1<<20))
}

func TestOldEventsGo(t *testing.T) {
	now := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	s, err := Open(Options{Dir: t.TempDir(), MinFreeBytes: 1, MaxLogAge: time.Hour, Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for range 10 { // one every ten minutes
		if err := s.Commit(Batch{Events: []Event{{Stream: "a", Kind: "K"}}}); err != nil {
			t.Fatal(err)
		}
		now = now.Add(10 * time.Minute)
	}
	for _, c := range []struct {
		later time.Duration
		first uint64
	}{{0, 5}, {time.Minute, 6}, {time.Minute, 6}, {10 * time.Minute, 7}, {1000 * time.Hour, 10}} {
		now = now.Add(c.later)
		s.retainAge()
		events, err := s.StreamEvents("a", 1, 100)
		if err != nil || s.Stats().FirstPosition != c.first || len(events) != int(11-c.first) || events[0].Version != c.first {
			t.Errorf("%s later: the log begins at %d with %d events, %v; want %d (the newest block stays)",
				c.later, s.Stats().FirstPosition, len(events), err, c.first)
		}
	}
}
