package persistence_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/aabb9013/hangar/persistence"
	"github.com/aabb9013/hangar/persistence/storetest"
)

// filledStore has events of all kinds, calls, gaps between them, and documents.
func filledStore(t *testing.T, dir string) *persistence.Badger {
	t.Helper()
	s := open(t, persistence.Options{Dir: dir, Calls: persistence.Retention{MaxBytes: 50000}})
	storetest.Fill(t, s, rand.New(rand.NewPCG(11, 12)), 80)
	if s.Stats().DroppedBlocks == 0 {
		t.Fatal("nothing was dropped")
	}
	big := bytes.Repeat([]byte("x"), 2<<20) // goes to the value log
	err := s.Commit(persistence.Batch{Docs: []persistence.Doc{{Kind: "server", ID: "a", Body: []byte("{}")}, {Kind: "server", ID: "big", Body: big}}})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestRestoredBackupIsTheStoreOfThatMoment(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	s := filledStore(t, dir)
	want := storetest.CheckRetained(t, s)
	wantDocs, err := s.Docs("server")
	if err != nil {
		t.Fatal(err)
	}
	info, err := s.BackupHere(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if info.Position != s.LastPosition() || info.SHA256 == "" {
		t.Errorf("got %+v", info)
	}
	if st, err := os.Stat(info.Path); err != nil || st.Mode().Perm() != 0o600 || st.Size() != info.Bytes {
		t.Errorf("the file: %v, %v", st, err)
	}
	// What comes later is not in it.
	if err := s.Commit(persistence.Batch{Docs: []persistence.Doc{{Kind: "server", ID: "a"}}, Events: []persistence.Event{{Kind: "Later"}}}); err != nil {
		t.Fatal(err)
	}
	if _, err := persistence.Restore(info.Path, dir, true, nil); !errors.Is(err, persistence.ErrLocked) {
		t.Errorf("over a directory in use: got %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := persistence.Restore(info.Path, dir, false, nil); !errors.Is(err, persistence.ErrNotEmpty) {
		t.Errorf("over data: got %v", err)
	}
	empty := t.TempDir()
	for _, target := range []string{filepath.Join(t.TempDir(), "new"), empty, dir} {
		r, err := persistence.Restore(info.Path, target, target == dir, nil)
		if err != nil {
			t.Fatalf("into %s: %v", target, err)
		}
		if (r.Replaced != "") != (target == dir) || r.Report.Last != info.Position {
			t.Errorf("into %s: %+v", target, r)
		}
		if r.Replaced != "" {
			old := open(t, persistence.Options{Dir: r.Replaced})
			if old.LastPosition() != info.Position+1 {
				t.Errorf("what was moved aside ends at %d", old.LastPosition())
			}
		}
		again := open(t, persistence.Options{Dir: target})
		if diff := storetest.Diff(want, storetest.CheckRetained(t, again)); diff != "" {
			t.Errorf("into %s: the log (-want +got):\n%s", target, diff)
		}
		docs, err := again.Docs("server")
		if err != nil || len(docs) != len(wantDocs) || !bytes.Equal(docs[1].Body, wantDocs[1].Body) {
			t.Errorf("into %s: %d documents, %v", target, len(docs), err)
		}
		// It is a whole store: new calls come after the old ones.
		again.CallBuffer().Record(recorded(1, 1))
		if err := again.FlushCalls(0); err != nil || again.LastPosition() != info.Position+1 {
			t.Errorf("into %s: the next call at %d, %v", target, again.LastPosition(), err)
		}
		if err := again.Close(); err != nil {
			t.Fatal(err)
		}
		wantSound(t, target)
	}
}

func TestBackupUnderLoadIsOneMoment(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	s := open(t, persistence.Options{Dir: dir})
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for n := 1; ; n++ {
			select {
			case <-stop:
				return
			default:
			}
			body := fmt.Appendf(nil, `{"n":%d}`, n)
			for i := range uint64(20) {
				s.CallBuffer().Record(recorded(int(i%3), i))
			}
			err := errors.Join(s.FlushCalls(0), s.Commit(persistence.Batch{
				Docs:   []persistence.Doc{{Kind: "n", ID: "x", Body: body}, {Kind: "n", ID: "y", Body: body}},
				Events: []persistence.Event{{Stream: "n", Kind: "K", Data: body}},
			}))
			if err != nil {
				t.Error(err)
				return
			}
		}
	})
	var paths []string
	for range persistence.MaxBackups + 2 {
		info, err := s.BackupHere(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		paths = append(paths, info.Path)
	}
	close(stop)
	wg.Wait()
	left, err := filepath.Glob(filepath.Join(dir, persistence.BackupDir, "*"))
	if err != nil || len(left) != persistence.MaxBackups || left[0] != paths[2] {
		t.Errorf("left are %v, want the last %d of %v", left, persistence.MaxBackups, paths)
	}
	for _, path := range left {
		target := filepath.Join(t.TempDir(), "data")
		if _, err := persistence.Restore(path, target, false, nil); err != nil {
			t.Fatal(err)
		}
		again := open(t, persistence.Options{Dir: target})
		storetest.CheckRetained(t, again)
		x, _, _ := again.Doc("n", "x")
		y, _, _ := again.Doc("n", "y")
		events, err := again.StreamEvents("n", 1, 1<<20)
		if err != nil || !bytes.Equal(x.Body, y.Body) || len(events) > 0 && !bytes.Equal(events[len(events)-1].Data, x.Body) {
			t.Errorf("half a batch: documents %s and %s, %d events, %v", x.Body, y.Body, len(events), err)
		}
	}
}

// A restored directory is known as ours by its names alone, however large it is.
func TestRestoredDirectoryIsOurs(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	path := filepath.Join(t.TempDir(), "b")
	if _, err := filledStore(t, dir).BackupTo(t.Context(), path); err != nil {
		t.Fatal(err)
	}
	restored := filepath.Join(t.TempDir(), "restored")
	if _, err := persistence.Restore(path, restored, false, nil); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"MANIFEST", "calls.journal"} {
		if _, err := os.Stat(filepath.Join(restored, name)); err != nil {
			t.Error(err)
		}
	}
	if r, err := persistence.Verify(restored, nil); err != nil || !r.Sound() {
		t.Errorf("%+v, %v", r, err)
	}
	open(t, persistence.Options{Dir: restored})
}

func TestDamagedBackupChangesNothing(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	s := filledStore(t, dir)
	path := filepath.Join(t.TempDir(), "b")
	if _, err := s.BackupTo(t.Context(), path); err != nil {
		t.Fatal(err)
	}
	if _, err := s.BackupTo(t.Context(), path); !errors.Is(err, fs.ErrExist) {
		t.Errorf("over a file: got %v", err)
	}
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewPCG(1, 1))
	edit := map[string][]byte{
		"empty": {}, "another file": []byte("hello"), "longer": append(bytes.Clone(good), 0),
		"a newer version": bytes.Replace(good, []byte("hangar-backup 1"), []byte("hangar-backup 9"), 1),
		"without its end": good[:len(good)-33],
	}
	for i := range 60 {
		flipped := bytes.Clone(good)
		flipped[random.IntN(len(flipped))] ^= byte(1 + random.IntN(255))
		edit[fmt.Sprint("flipped ", i)] = flipped
		edit[fmt.Sprint("cut ", i)] = good[:random.IntN(len(good))]
	}
	parent := t.TempDir()
	for name, content := range edit {
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := persistence.Restore(path, filepath.Join(parent, "new"), false, nil)
		if !errors.Is(err, persistence.ErrCorrupt) && !errors.Is(err, persistence.ErrNotBackup) || errors.Is(err, persistence.ErrForeign) {
			t.Errorf("%s: got %v", name, err)
		} else if !strings.Contains(err.Error(), path) {
			t.Errorf("%s: the error %v does not name the file", name, err)
		}
	}
	if left, err := os.ReadDir(parent); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestBackupThatIsGivenUpLeavesNoFile(t *testing.T) {
	dir := t.TempDir()
	s := filledStore(t, dir)
	for range 30 { // enough entries to notice
		var b persistence.Batch
		for i := range 100 {
			b.Docs = append(b.Docs, persistence.Doc{Kind: "k", ID: fmt.Sprint(rand.Uint64(), i), Body: []byte("{}")})
		}
		if err := s.Commit(b); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.BackupHere(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, persistence.BackupDir, "*")); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
	// A link out of the directory is not followed.
	if err := errors.Join(os.Remove(filepath.Join(dir, persistence.BackupDir)), os.Symlink(t.TempDir(), filepath.Join(dir, persistence.BackupDir))); err != nil {
		t.Fatal(err)
	}
	if _, err := s.BackupHere(t.Context()); !errors.Is(err, persistence.ErrUnwritable) {
		t.Errorf("through a link: got %v", err)
	}
}

// A link to a directory stays one, and what it leads to stays on its volume.
func TestRestoreOverALinkReplacesWhatItLeadsTo(t *testing.T) {
	volume, link := t.TempDir(), filepath.Join(t.TempDir(), "data")
	dir := filepath.Join(volume, "data")
	s := filledStore(t, dir)
	info, err := s.BackupHere(t.Context())
	if err = errors.Join(err, s.Close(), os.Symlink(dir, link)); err != nil {
		t.Fatal(err)
	}
	r, err := persistence.Restore(info.Path, link, true, nil)
	if err != nil || filepath.Dir(r.Replaced) != volume {
		t.Errorf("%+v, %v", r, err)
	}
	if to, err := os.Readlink(link); err != nil || to != dir {
		t.Errorf("the link leads to %q, %v", to, err)
	}
	if _, err := os.Stat(info.Path); err != nil {
		t.Errorf("the backups did not stay: %v", err)
	}
	wantSound(t, link)
}

// A mount point cannot be replaced: the text says so, and what to do.
func TestRestoreOverAMountPointIsRefused(t *testing.T) {
	s := filledStore(t, filepath.Join(t.TempDir(), "data"))
	info, err := s.BackupHere(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	volume := filepath.Join(t.TempDir(), "volume")
	if err := os.Mkdir(volume, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", volume, "tmpfs", 0, "size=400m"); err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(volume, unix.MNT_DETACH) })
	if _, err := persistence.Restore(info.Path, volume, false, nil); !errors.Is(err, persistence.ErrUnwritable) || !strings.Contains(err.Error(), "mounted there") {
		t.Errorf("got %v", err)
	}
	if _, err := persistence.Restore(info.Path, filepath.Join(volume, "data"), false, nil); err != nil {
		t.Error(err)
	}
}

// What another backup is writing, or left when it was killed, is not taken away.
func TestBackupLeavesTheFileOfAnotherAlone(t *testing.T) {
	s := filledStore(t, filepath.Join(t.TempDir(), "data"))
	path := filepath.Join(t.TempDir(), "x.backup")
	if err := os.WriteFile(path+".part", []byte("theirs"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := s.BackupTo(t.Context(), path); !errors.Is(err, fs.ErrExist) || !strings.Contains(err.Error(), path+".part") {
		t.Errorf("got %v", err)
	}
	if b, err := os.ReadFile(path + ".part"); err != nil || string(b) != "theirs" {
		t.Errorf("it has %q, %v", b, err)
	}
}
