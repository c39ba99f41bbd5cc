package persistence

import (
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"sync/atomic"
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
		offset = s.writtenBytes[classCalls].Load()
		if most = max(most, onDisk(t, dir)); most > s.Stats().MaxDiskBytes {
			t.Fatalf("the directory takes %d bytes, its bound is %d; %d were written", most, s.Stats().MaxDiskBytes, offset)
		}
	}
	st := s.Stats()
	if st.Calls.Bytes > st.Calls.MaxBytes*5/4 || st.LogBytes > bound || st.DroppedBlocks == 0 {
		t.Errorf("the log keeps %d bytes, bound %d", st.LogBytes, bound)
	}
	t.Logf("wrote %d MiB, log %.1f MiB of %d, at most %.1f MiB on disk, bound %.1f MiB",
		offset>>20, float64(st.LogBytes)/(1<<20), bound>>20, float64(most)/(1<<20), float64(st.MaxDiskBytes)/(1<<20))
}

// Calls are far beyond their bound, the other events are not: of them all stay,
// the first ones too, and the directory is as small as it must be.
func TestCallsNeverPushOutOtherEvents(t *testing.T) {
	const bound = 2 << 20
	dir := t.TempDir()
	small := func(string) (free, total uint64, err error) { return 200 << 20, 256 << 20, nil }
	s, err := Open(Options{Dir: dir, MaxLogBytes: bound, statfs: small})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var most uint64
	n := 0
	for i := 0; s.writtenBytes[classCalls].Load() < 8*bound; i++ {
		for range 10 {
			data := fmt.Appendf(nil, `{"n":%d,"reason":"exited with code 1"}`, n)
			if err := s.Commit(Batch{Events: []Event{{Stream: fmt.Sprint("server-", n%50), Kind: "McpServerCrashed", Data: data}}}); err != nil {
				t.Fatal(err)
			}
			n++
			for j := range 600 {
				s.CallBuffer().Record(&CallRecord{
					Server: fmt.Sprint("server-", j%20), Tool: "search", CallID: uint64(i*5000 + j), Start: int64(i) << 30, Outcome: Completed,
				})
			}
			if err := s.FlushCalls(0); err != nil {
				t.Fatal(err)
			}
		}
		if most = max(most, onDisk(t, dir)); most > s.Stats().MaxDiskBytes {
			t.Fatalf("the directory takes %d bytes, its bound is %d", most, s.Stats().MaxDiskBytes)
		}
	}
	st := s.Stats()
	if st.Calls.Bytes > st.Calls.MaxBytes || st.LogBytes > bound || st.DroppedBlocks == 0 || st.FirstPosition != 1 {
		t.Errorf("stats: %+v", st)
	}
	crashes := 0
	for from := uint64(1); ; {
		events, err := s.Events(from, 1000)
		if err != nil {
			t.Fatal(err)
		}
		if len(events) == 0 {
			break
		}
		for _, e := range events {
			if e.Kind == "McpServerCrashed" {
				if want := fmt.Sprintf(`{"n":%d,`, crashes); !strings.HasPrefix(string(e.Data), want) {
					t.Fatalf("crash %d: got %s", crashes, e.Data)
				}
				crashes++
			}
		}
		from = events[len(events)-1].Position + 1
	}
	if crashes != n {
		t.Errorf("%d crashes of %d are left", crashes, n)
	}
	t.Logf("%d crashes kept, %.1f MiB of %.1f MiB of calls, at most %.1f MiB on disk, bound %.1f MiB", crashes,
		float64(st.Calls.Bytes)/(1<<20), float64(s.writtenBytes[classCalls].Load())/(1<<20), float64(most)/(1<<20), float64(st.MaxDiskBytes)/(1<<20))
}

func TestOldEventsGo(t *testing.T) {
	now := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	var clock atomic.Pointer[time.Time] // the store looks at it by itself too
	clock.Store(&now)
	pass := func(d time.Duration) {
		later := clock.Load().Add(d)
		clock.Store(&later)
	}
	s, err := Open(Options{Dir: t.TempDir(), MinFreeBytes: 1, MaxLogAge: time.Hour, Now: func() time.Time { return *clock.Load() }})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for range 10 { // one every ten minutes
		if err := s.Commit(Batch{Events: []Event{{Stream: "a", Kind: "K"}}}); err != nil {
			t.Fatal(err)
		}
		pass(10 * time.Minute)
	}
	for _, c := range []struct {
		later time.Duration
		first uint64
	}{{0, 5}, {time.Minute, 6}, {time.Minute, 6}, {10 * time.Minute, 7}, {1000 * time.Hour, 10}} {
		pass(c.later)
		s.retainAge()
		events, err := s.StreamEvents("a", 1, 100)
		if err != nil || s.Stats().FirstPosition != c.first || len(events) != int(11-c.first) || events[0].Version != c.first {
			t.Errorf("%s later: the log begins at %d with %d events, %v; want %d (the newest block stays)",
				c.later, s.Stats().FirstPosition, len(events), err, c.first)
		}
	}
}
