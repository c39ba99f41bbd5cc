package persistence_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dgraph-io/badger/v4"

	"github.com/aabb9013/hangar/persistence"
)

// contents is every file of a directory with its bytes and times.
func contents(t *testing.T, dir string) (all string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		var body []byte
		if d.Type().IsRegular() {
			if body, err = os.ReadFile(path); err != nil {
				return err
			}
		}
		all += fmt.Sprintf("%s %v %v %x\n", path, info.Mode(), info.ModTime(), sha256.Sum256(body))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func writeFiles(t *testing.T, dir string, names ...string) {
	t.Helper()
	for _, name := range names {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte("theirs"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestDirectoryOfAnotherProgramIsRefusedUnchanged(t *testing.T) {
	for name, c := range map[string]struct {
		files []string
		named int // of the error's entries
	}{
		"a home":              {[]string{".bashrc", "photos/cat.jpg"}, 2},
		"more than are named": {[]string{"a", "b", "c", "d", "e"}, 5},
		"beside known names":  {[]string{"LOCK", "lost+found/x", ".probe-1", "notes"}, 1},
		"an archive of logs":  {[]string{"00001.vlog", "app.log"}, 1},
	} {
		dir := t.TempDir()
		writeFiles(t, dir, c.files...)
		before := contents(t, dir)
		_, err := persistence.Open(persistence.Options{Dir: dir})
		var foreign *persistence.ForeignError
		if !errors.Is(err, persistence.ErrForeign) || !errors.As(err, &foreign) || len(foreign.Entries) != c.named {
			t.Errorf("%s: got %#v, want a ForeignError with %d entries", name, err, c.named)
			continue
		}
		if text := err.Error(); !strings.Contains(text, dir) || !strings.Contains(text, foreign.Entries[0]) ||
			strings.Contains(text, "more") != (c.named > 3) {
			t.Errorf("%s: the error says %q", name, text)
		}
		if after := contents(t, dir); after != before {
			t.Errorf("%s: the directory was changed:\n%s\nwas\n%s", name, after, before)
		}
	}
}

// A store of another program is looked at in a copy, for badger changes what it
// opens; also one that its program left in the middle of a write.
func TestStoreOfAnotherProgramIsRefusedUnchanged(t *testing.T) {
	dir := t.TempDir()
	put := func(txn *badger.Txn) error { return txn.Set([]byte("key"), []byte("value")) }
	small := func() *badger.DB {
		db, err := badger.Open(badger.DefaultOptions(dir).WithLogger(nil).WithMemTableSize(1 << 20).WithValueLogFileSize(1 << 20).WithValueThreshold(1 << 10))
		if err != nil {
			t.Fatal(err)
		}
		return db
	}
	db := small()
	if err := errors.Join(db.Update(put), db.Close()); err != nil {
		t.Fatal(err)
	}
	for killed := range 2 {
		before := contents(t, dir)
		_, err := persistence.Open(persistence.Options{Dir: dir})
		if !errors.Is(err, persistence.ErrForeign) || !strings.Contains(err.Error(), dir) {
			t.Errorf("got %v, want ErrForeign and the path", err)
		}
		if _, err := persistence.Verify(dir, nil); !errors.Is(err, persistence.ErrForeign) {
			t.Errorf("Verify: got %v, want ErrForeign", err)
		}
		if contents(t, dir) != before {
			t.Error("the directory was changed")
		}
		if killed == 1 {
			return
		}
		db := small()
		if err := db.Update(put); err != nil {
			t.Fatal(err)
		}
		copied := t.TempDir()
		if err := os.CopyFS(copied, os.DirFS(dir)); err != nil {
			t.Fatal(err)
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		dir = copied // as kill -9 would have left it
	}
}

// theirStore is a store of another program, closed, with the given options.
func theirStore(t *testing.T, change func(badger.Options) badger.Options) (dir string) {
	t.Helper()
	dir = t.TempDir()
	db, err := badger.Open(change(badger.DefaultOptions(dir).WithLogger(nil).WithMemTableSize(1 << 20).WithValueLogFileSize(1 << 20).WithValueThreshold(1 << 10)))
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(db.Update(func(txn *badger.Txn) error { return txn.Set([]byte("key"), []byte("value")) }), db.Close()); err != nil {
		t.Fatal(err)
	}
	return dir
}

// What cannot be read as a store of ours and has more than one has is another
// program's, also one that is encrypted, damaged or empty.
func TestStoreThatCannotBeReadIsRefusedUnchanged(t *testing.T) {
	plain := func(o badger.Options) badger.Options { return o }
	encrypted := theirStore(t, func(o badger.Options) badger.Options {
		return o.WithEncryptionKey([]byte(strings.Repeat("k", 32))).WithIndexCacheSize(1 << 20)
	})
	damaged := theirStore(t, plain)
	tables, err := filepath.Glob(filepath.Join(damaged, "*.sst"))
	if err != nil || len(tables) == 0 {
		t.Fatalf("no tables to lose: %v", err)
	}
	if err := os.Remove(tables[0]); err != nil {
		t.Fatal(err)
	}
	writeFiles(t, damaged, "app.conf")
	empty := t.TempDir()
	db, err := badger.Open(badger.DefaultOptions(empty).WithLogger(nil))
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	writeFiles(t, empty, "app.conf")
	for name, dir := range map[string]string{"encrypted": encrypted, "damaged": damaged, "empty": empty} {
		before := contents(t, dir)
		_, err := persistence.Open(persistence.Options{Dir: dir})
		var foreign *persistence.ForeignError
		if !errors.As(err, &foreign) || !strings.Contains(err.Error(), dir) {
			t.Errorf("%s: got %v, want a ForeignError and the path", name, err)
		}
		if contents(t, dir) != before {
			t.Errorf("%s: the directory was changed", name)
		}
	}
}

func TestStoreThatCannotBeLookedAtIsLeftAlone(t *testing.T) {
	dir := theirStore(t, func(o badger.Options) badger.Options { return o })
	before := contents(t, dir)
	temp := os.TempDir()
	t.Setenv("TMPDIR", filepath.Join(t.TempDir(), "missing"))
	_, err := persistence.Open(persistence.Options{Dir: dir})
	if err == nil || !strings.Contains(err.Error(), dir) || !strings.Contains(err.Error(), "TMPDIR") {
		t.Errorf("got %v, want an error with the path that names TMPDIR", err)
	}
	t.Setenv("TMPDIR", temp)
	if err := os.WriteFile(filepath.Join(dir, "99999.mem"), bytes.Repeat([]byte{1}, 257<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := persistence.Open(persistence.Options{Dir: dir}); err == nil || !strings.Contains(err.Error(), "whose it is") {
		t.Errorf("got %v, want an error over much to look at", err)
	}
	if err := os.Remove(filepath.Join(dir, "99999.mem")); err != nil {
		t.Fatal(err)
	}
	if after := contents(t, dir); withoutTimeOf(dir, after) != withoutTimeOf(dir, before) {
		t.Errorf("the directory was changed:\n%s\nwas\n%s", after, before)
	}
}

// withoutTimeOf leaves the line of the directory itself out of contents.
func withoutTimeOf(dir, contents string) string {
	_, files, _ := strings.Cut(strings.TrimPrefix(contents, dir), "\n")
	return files
}

// A write-ahead file of another program may be greater than any of ours: badger
// would end this process over what does not fit into its memory.
func TestLargeWriteAheadFileOfAnotherProgramIsLookedAt(t *testing.T) {
	live := t.TempDir()
	db, err := badger.Open(badger.DefaultOptions(live).WithLogger(nil))
	if err != nil {
		t.Fatal(err)
	}
	value := bytes.Repeat([]byte{7}, 64<<10)
	for i := range 30 << 20 / len(value) {
		if err := db.Update(func(txn *badger.Txn) error { return txn.Set(fmt.Appendf(nil, "key %d", i), value) }); err != nil {
			t.Fatal(err)
		}
	}
	dir := t.TempDir()
	for _, name := range []string{"MANIFEST", "KEYREGISTRY", "00001.mem"} { // as kill -9 would have left it
		body, err := os.ReadFile(filepath.Join(live, name))
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), bytes.TrimRight(body, "\x00"), 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	before := contents(t, dir)
	if _, err := persistence.Open(persistence.Options{Dir: dir}); !errors.Is(err, persistence.ErrForeign) {
		t.Errorf("got %v, want ErrForeign", err)
	}
	if contents(t, dir) != before {
		t.Error("the directory was changed")
	}
}

// However large a log of the first format is, and whatever lies beside it, it is
// ours.
func TestLargeLogOfTheFirstFormatIsOpened(t *testing.T) {
	dir := unpacked(t, "format1.tar.gz")
	for i := range 300 {
		writeFiles(t, dir, fmt.Sprintf("9%05d.sst", i)) // badger removes what its manifest does not know
	}
	if err := os.WriteFile(filepath.Join(dir, "900300.sst"), bytes.Repeat([]byte{1}, 97<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := persistence.Open(persistence.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	if s.LastPosition() == 0 {
		t.Error("its log is empty")
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// A process can die at any moment of its first Open: between two files, or in
// the middle of one. The next Open begins anew with what is there.
func TestInterruptedFirstOpenIsTakenUp(t *testing.T) {
	whole := t.TempDir()
	s := open(t, persistence.Options{Dir: whole})
	files := t.TempDir() // all that is there before anything is stored
	if err := os.CopyFS(files, os.DirFS(whole)); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(files)
	if err != nil {
		t.Fatal(err)
	}
	// In the order in which they are made; those of a name that is not listed come last.
	order := []string{"LOCK", "MANIFEST", "KEYREGISTRY", "00001.mem", "000001.vlog", "DISCARD", "calls.journal", "ballast"}
	for _, e := range entries {
		known := false
		for _, name := range order {
			known = known || name == e.Name()
		}
		if !known {
			t.Errorf("the file %s is not among those that this test knows", e.Name())
		}
	}
	started := func(dir string) {
		t.Helper()
		s, err := persistence.Open(persistence.Options{Dir: dir})
		if err != nil {
			t.Errorf("not taken up: %v\n%.300s", err, listed(t, dir))
			return
		}
		if err := s.Commit(persistence.Batch{Docs: []persistence.Doc{{Kind: "k", ID: "a", Body: []byte("1")}}}); err != nil {
			t.Error(err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	for n := range order {
		for _, cut := range []bool{false, true} {
			dir := t.TempDir()
			for i, name := range order[:n+1] {
				body, err := os.ReadFile(filepath.Join(files, name))
				if errors.Is(err, fs.ErrNotExist) {
					continue
				}
				if err != nil {
					t.Fatal(err)
				}
				if cut && i == n {
					body = nil
					switch name {
					case "MANIFEST": // badger gives these their names when they are whole
						name = "MANIFEST-REWRITE"
					case "KEYREGISTRY":
						name = "REWRITE-KEYREGISTRY"
					}
				}
				if err := os.WriteFile(filepath.Join(dir, name), body, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			started(dir)
		}
	}
	probed := t.TempDir()
	writeFiles(t, probed, ".probe-1234", "LOCK")
	started(probed)
}

func listed(t *testing.T, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// Badger would begin a new store over the tables of the old one and remove them.
func TestTablesWithoutTheirManifestAreDamage(t *testing.T) {
	dir := t.TempDir()
	s := open(t, persistence.Options{Dir: dir})
	if err := s.Commit(persistence.Batch{Docs: []persistence.Doc{{Kind: "k", ID: "a", Body: []byte("1")}}}); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(dir, "MANIFEST"), filepath.Join(t.TempDir(), "MANIFEST")); err != nil {
		t.Fatal(err)
	}
	before := contents(t, dir)
	if _, err := persistence.Open(persistence.Options{Dir: dir}); !errors.Is(err, persistence.ErrCorrupt) || !strings.Contains(err.Error(), dir) {
		t.Errorf("got %v, want ErrCorrupt and the path", err)
	}
	if contents(t, dir) != before {
		t.Error("the directory was changed")
	}
}
