package persistence_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/aabb9013/hangar/persistence"
	"github.com/aabb9013/hangar/persistence/storetest"
)

func verified(t *testing.T, dir string) *persistence.Report {
	t.Helper()
	report, err := persistence.Verify(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	return report
}

func wantSound(t *testing.T, dir string) *persistence.Report {
	t.Helper()
	report := verified(t, dir)
	if !report.Sound() {
		t.Errorf("a sound directory: got %v", report.Faults)
	}
	return report
}

// fingerprint is what stands in a directory, the access times aside.
func fingerprint(t *testing.T, dir string) string {
	t.Helper()
	sum := sha256.New()
	err := filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		fmt.Fprintln(sum, path, len(b))
		sum.Write(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return string(sum.Sum(nil))
}

func TestVerifyFindsNothingInASoundDirectory(t *testing.T) {
	dir := t.TempDir()
	s := open(t, persistence.Options{Dir: dir, MaxLogBytes: 20000})
	storetest.Fill(t, s, rand.New(rand.NewPCG(5, 6)), 200)
	commit := persistence.Batch{Docs: []persistence.Doc{{Kind: "k\x00x", ID: "d", Body: []byte("{}")}}}
	if err := s.Commit(commit); err != nil {
		t.Fatal(err)
	}
	if s.Stats().DroppedBlocks == 0 {
		t.Fatal("retention dropped nothing: the anchor is not tested")
	}
	if log := storetest.CheckRetained(t, s); uint64(len(log)) == s.LastPosition()-log[0].Position+1 {
		t.Fatal("there is no gap: the chain over it is not tested")
	}
	want := s.Stats()
	if _, err := persistence.Verify(dir, nil); !errors.Is(err, persistence.ErrLocked) || !strings.Contains(err.Error(), fmt.Sprint(os.Getpid())) {
		t.Errorf("a directory in use: got %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	before := fingerprint(t, dir)
	report := wantSound(t, dir)
	if report.First != want.FirstPosition || report.Last != want.LastPosition || report.Events+report.Dropped != want.LastPosition-want.FirstPosition+1 ||
		report.Documents != 1 || report.Format != 3 {
		t.Errorf("got %+v, want what the store says: %+v", report, want)
	}
	if fingerprint(t, dir) != before {
		t.Error("Verify changed the directory")
	}
}

func TestVerifyReadsWhatAKilledProcessLeft(t *testing.T) {
	dir := t.TempDir()
	killedWriter(t, dir, 50*time.Millisecond)
	before := fingerprint(t, dir)
	if report := wantSound(t, dir); report.Events == 0 {
		t.Error("no events")
	}
	if err := child("record-and-die", dir).Run(); err == nil {
		t.Fatal("the recorder ended well")
	}
	if fingerprint(t, dir) == before {
		t.Error("the fingerprint sees no change")
	}
	if report := wantSound(t, dir); report.Waiting != 10 {
		t.Errorf("%d calls wait in the journal, want 10", report.Waiting)
	}
}

// A directory that was left by killed processes has tables that badger would
// merge as soon as it opens them, and it truncates what it has merged.
func TestVerifyLeavesTheTablesOfADirectoryAlone(t *testing.T) {
	dir := t.TempDir()
	for range 4 {
		killedWriter(t, dir, 5*time.Millisecond)
		before := fingerprint(t, dir)
		for range 2 {
			wantSound(t, dir)
		}
		if fingerprint(t, dir) != before {
			t.Fatal("Verify changed the directory")
		}
	}
}

func reseal(txn *badger.Txn, key, v []byte) error {
	v[len(v)-1] ^= 1
	sum := crc32.MakeTable(crc32.Castagnoli)
	c := crc32.Update(0, sum, key[2:])
	c = crc32.Update(c, sum, v[:13])
	binary.BigEndian.PutUint32(v[13:], crc32.Update(c, sum, v[17:]))
	return txn.Set(key, v)
}

func TestVerifyNamesTheDamage(t *testing.T) {
	remove := func(txn *badger.Txn, key, _ []byte) error { return txn.Delete(key) }
	for name, c := range map[string]struct {
		block  int
		damage func(*badger.Txn, []byte, []byte) error
		want   persistence.FaultKind
	}{
		"a flipped bit":                        {5, flip, persistence.FaultEdited},
		"half a block":                         {5, func(txn *badger.Txn, k, v []byte) error { return txn.Set(k, v[:len(v)/2]) }, persistence.FaultEdited},
		"an edited record with a new checksum": {5, reseal, persistence.FaultEdited},
		"the first block edited":               {0, reseal, persistence.FaultEdited},
		"a missing block":                      {5, remove, persistence.FaultMissing},
		"the first block missing":              {0, remove, persistence.FaultMissing},
		"half of the newest block":             {9, func(txn *badger.Txn, k, v []byte) error { return txn.Set(k, v[:len(v)/2]) }, persistence.FaultTorn},
		"the newest block missing":             {9, remove, persistence.FaultTorn},
		"the newest block with a new checksum": {9, reseal, persistence.FaultEdited},
		"an index entry that leads to no block": {5, func(txn *badger.Txn, _, _ []byte) error {
			return txn.Set([]byte("i/zz\x00\x00\x00\x00\x00\x00\x00\x00\x01"), []byte{1, 0, 0, 0, 0, 0, 0, 255, 0, 1, 1})
		}, persistence.FaultIndex},
		"a missing index entry": {5, func(txn *badger.Txn, _, _ []byte) error {
			return txn.Delete([]byte("i/only-in-5\x00\x00\x00\x00\x00\x00\x00\x00\x01"))
		}, persistence.FaultIndex},
	} {
		t.Run(name, func(t *testing.T) {
			dir, position := damaged(t, c.block, c.damage)
			report := verified(t, dir)
			for _, f := range report.Faults {
				if f.Kind == c.want && (f.Position == position || c.want == persistence.FaultIndex) {
					return
				}
			}
			t.Errorf("got %v, want a fault %s at position %d", report.Faults, c.want, position)
		})
	}
}

func TestVerifyFindsDamagedCallsInTheJournal(t *testing.T) {
	dir := t.TempDir()
	if err := child("record-and-die", dir).Run(); err == nil {
		t.Fatal("the recorder ended well")
	}
	path := filepath.Join(dir, "calls.journal")
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b[bytes.Index(b, []byte("server-1"))] ^= 1
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	report := verified(t, dir)
	if len(report.Faults) != 1 || report.Faults[0].Kind != persistence.FaultJournal || report.Waiting != 9 {
		t.Errorf("got %+v", report)
	}
}

// unpacked is a directory as the program wrote it in an older format.
func unpacked(t *testing.T, archived string) string {
	t.Helper()
	dir := t.TempDir()
	f, err := os.Open(filepath.Join("testdata", archived))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	unzipped, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	for archive := tar.NewReader(unzipped); ; {
		h, err := archive.Next()
		if err == io.EOF {
			return dir
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Typeflag != tar.TypeReg {
			continue
		}
		b, err := io.ReadAll(archive)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, filepath.Base(h.Name)), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestFormat1IsMigrated(t *testing.T) {
	dir := unpacked(t, "format1.tar.gz")
	if report := wantSound(t, dir); report.Format != 1 || report.Events != 25 {
		t.Errorf("before: %+v", report)
	}
	for again := range 2 {
		s := open(t, persistence.Options{Dir: dir})
		if st := s.Stats(); st.FirstPosition != 126 || st.LastPosition != 150+uint64(again) {
			t.Errorf("opened %d times: %+v", again+1, st)
		}
		storetest.CheckNumbers(t, s, 126)
		if docs, err := s.Docs("server"); err != nil || len(docs) != 3 || string(docs[2].Body) != `{"n":29}` {
			t.Errorf("documents: %v, %v", docs, err)
		}
		if err := s.Commit(persistence.Batch{Events: []persistence.Event{{Kind: "K"}}}); err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if report := wantSound(t, dir); report.Format != 3 || report.Last != 151+uint64(again) {
			t.Errorf("after: %+v", report)
		}
	}
}

// The directory has 60 rounds of a commit and four calls, some with a note of lost
// ones in the same block, what retention left of them, and three calls in the
// journal.
func TestFormat2IsMigrated(t *testing.T) {
	dir := unpacked(t, "format2.tar.gz")
	before := wantSound(t, dir)
	if before.Format != 2 || before.First != 108 || before.Last != 306 || before.Events != 199 || before.Waiting != 3 {
		t.Errorf("before: %+v", before)
	}
	calls := persistence.Retention{MaxBytes: 4000}
	s := open(t, persistence.Options{Dir: dir})
	log := storetest.CheckNumbers(t, s, 108)
	if len(log) != 202 || s.Stats().Events.Bytes < 39*100 || s.Stats().Calls.Bytes < 39*150 {
		t.Errorf("opened: %d events, %+v", len(log), s.Stats())
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if report := wantSound(t, dir); report.Format != 3 || report.Events != 202 || report.Waiting != 0 {
		t.Errorf("after: %+v", report)
	}
	// From now on old calls go by themselves.
	s = open(t, persistence.Options{Dir: dir, Calls: calls})
	if err := s.Commit(persistence.Batch{Events: []persistence.Event{{Stream: "control", Kind: "K"}}}); err != nil {
		t.Fatal(err)
	}
	storetest.CheckRetained(t, s)
	control, err := s.StreamEvents("control", 1, 1000)
	if err != nil || len(control) != 40 || string(control[0].Data) != `{"n":21}` {
		t.Errorf("events: %d, %v, from %+v", len(control), err, control[0])
	}
	if st := s.Stats(); st.Calls.Bytes > calls.MaxBytes || st.DroppedBlocks == 0 {
		t.Errorf("calls: %+v", st)
	}
	if docs, err := s.Docs("server"); err != nil || len(docs) != 3 || string(docs[2].Body) != `{"n":59}` {
		t.Errorf("documents: %v, %v", docs, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if report := wantSound(t, dir); report.Dropped == 0 || report.Last != 310 {
		t.Errorf("with gaps: %+v", report)
	}
}

// A gap holds the chain together: without it, or with another one, what it joins
// is no longer proved.
func TestVerifyFindsDamagedGaps(t *testing.T) {
	gapped := func() (dir string, key []byte) {
		dir = t.TempDir()
		s := open(t, persistence.Options{Dir: dir, Calls: persistence.Retention{MaxBytes: 5000}})
		storetest.Fill(t, s, rand.New(rand.NewPCG(5, 6)), 60)
		log := storetest.CheckRetained(t, s)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		for i, e := range log[1:] {
			if e.Position > log[i].Position+1 {
				return dir, binary.BigEndian.AppendUint64([]byte("g/"), log[i].Position+1)
			}
		}
		t.Fatal("there is no gap")
		return "", nil
	}
	for name, damage := range map[string]func(*badger.Txn, []byte, []byte) error{
		"a flipped bit":       flip,
		"a missing gap":       func(txn *badger.Txn, key, _ []byte) error { return txn.Delete(key) },
		"with a new checksum": reseal,
	} {
		t.Run(name, func(t *testing.T) {
			dir, key := gapped()
			wantSound(t, dir)
			rawUpdate(t, dir, func(txn *badger.Txn) error {
				item, err := txn.Get(key)
				if err != nil {
					return err
				}
				v, err := item.ValueCopy(nil)
				if err != nil {
					return err
				}
				return damage(txn, key, v)
			})
			if report := verified(t, dir); report.Sound() {
				t.Error("the damage is not found")
			}
			s := open(t, persistence.Options{Dir: dir})
			if _, err := s.Events(1, 1<<20); !errors.Is(err, persistence.ErrCorrupt) {
				t.Errorf("reading over it: %v", err)
			}
		})
	}
}
