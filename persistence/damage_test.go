package persistence_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dgraph-io/badger/v4"

	"github.com/aabb9013/hangar/persistence"
	"github.com/aabb9013/hangar/persistence/storetest"
)

// damaged returns a directory with ten blocks, one of them changed by damage
// behind badger's back, and that block's first position.
func damaged(t *testing.T, number int, damage func(txn *badger.Txn, key, value []byte) error) (dir string, position uint64) {
	t.Helper()
	dir = t.TempDir()
	s := open(t, persistence.Options{Dir: dir})
	for i := range 10 {
		if i == number {
			position = s.LastPosition() + 1
		}
		var records []persistence.CallRecord
		for range 20 {
			records = append(records, persistence.CallRecord{Server: "a", Tool: "t", Outcome: persistence.Completed})
		}
		records[0].Server = fmt.Sprint("only-in-", i)
		if err := s.AppendCalls(storetest.Pack(records...), 0); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	key := binary.BigEndian.AppendUint64([]byte("g/"), position)
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
	return dir, position
}

func flip(txn *badger.Txn, key, v []byte) error {
	v[len(v)/2] ^= 4
	return txn.Set(key, v)
}

func wantCorrupt(t *testing.T, what string, err error, position uint64) {
	t.Helper()
	var c *persistence.CorruptError
	if !errors.Is(err, persistence.ErrCorrupt) || !errors.As(err, &c) || c.Position != position ||
		!strings.Contains(err.Error(), fmt.Sprint("position ", position)) {
		t.Errorf("%s: got %v, want ErrCorrupt at position %d", what, err, position)
	}
}

func TestDamagedBlockIsNamed(t *testing.T) {
	for name, damage := range map[string]func(*badger.Txn, []byte, []byte) error{
		"flipped bit": flip,
		"torn":        func(txn *badger.Txn, key, v []byte) error { return txn.Set(key, v[:len(v)/2]) },
		"empty":       func(txn *badger.Txn, key, v []byte) error { return txn.Set(key, nil) },
		"missing":     func(txn *badger.Txn, key, v []byte) error { return txn.Delete(key) },
		"misplaced": func(txn *badger.Txn, key, _ []byte) error {
			item, err := txn.Get(binary.BigEndian.AppendUint64([]byte("g/"), 1))
			if err != nil {
				return err
			}
			other, err := item.ValueCopy(nil)
			if err != nil {
				return err
			}
			return txn.Set(key, other)
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir, position := damaged(t, 5, damage)
			s := open(t, persistence.Options{Dir: dir})
			before, err := s.Events(1, 1000)
			wantCorrupt(t, "Events", err, position)
			if len(before) != int(position-1) {
				t.Errorf("Events: %d before the damage, want %d", len(before), position-1)
			}
			_, err = s.StreamEvents("a", 1, 1000)
			wantCorrupt(t, "StreamEvents", err, position)
			// What does not need the block is not hurt by it.
			if ev, err := s.History("only-in-4", 1, 10); err != nil || len(ev) != 1 {
				t.Errorf("another stream: %v, %v", ev, err)
			}
			if ev, err := s.Events(position+20, 1000); err != nil || len(ev) != 80 {
				t.Errorf("behind the damage: %d events, %v", len(ev), err)
			}
			if err := s.Commit(persistence.Batch{Events: []persistence.Event{{Kind: "K"}}}); err != nil {
				t.Errorf("writing: %v", err)
			}
			if st := s.Stats(); st.Damaged == 0 {
				t.Error("stats do not count the damage")
			}
		})
	}
}

func TestDamagedNewestBlockRefusesToOpen(t *testing.T) {
	dir, position := damaged(t, 9, flip)
	_, err := persistence.Open(persistence.Options{Dir: dir, MinFreeBytes: 1})
	wantCorrupt(t, "Open", err, position)
}

func TestRetentionPassesOverDamage(t *testing.T) {
	dir, _ := damaged(t, 0, flip)
	s := open(t, persistence.Options{Dir: dir, MaxLogBytes: 1})
	for range 3 {
		if err := s.Commit(persistence.Batch{Events: []persistence.Event{{Kind: "K"}}}); err != nil {
			t.Fatal(err)
		}
	}
	storetest.CheckRetained(t, s)
	if st := s.Stats(); st.FirstPosition != st.LastPosition {
		t.Errorf("not dropped: %+v", st)
	}
	if ev, err := s.History("a", 1, 10); err != nil || len(ev) != 0 {
		t.Errorf("dropped history: %v, %v", ev, err)
	}
}

// Bytes flipped in badger's own files are found by its checksums or ours, or hit
// what no one reads; never a panic, never wrong data. The reading is done by
// another process, since badger leaves goroutines behind when it cannot open.
func TestFlippedBytesInFilesNeverBecomeData(t *testing.T) {
	dir := t.TempDir()
	s := open(t, persistence.Options{Dir: filepath.Join(dir, "good")})
	storetest.Fill(t, s, rand.New(rand.NewPCG(7, 8)), 60)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	out, err := child("flip", dir).Output()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	t.Logf("%s", out)
}

func childFlip(dir string) error {
	source := filepath.Join(dir, "good")
	want, err := readLog(source)
	if err != nil {
		return err
	}
	tables, err := filepath.Glob(filepath.Join(source, "*.sst"))
	if err != nil || len(tables) == 0 {
		return fmt.Errorf("no tables in %s: %v", source, err)
	}
	random := rand.New(rand.NewPCG(9, 10))
	refused, found, unread := 0, 0, 0
	const rounds = 60
	for round := range rounds {
		copied := filepath.Join(dir, fmt.Sprint("copy-", round))
		if err := os.CopyFS(copied, os.DirFS(source)); err != nil {
			return err
		}
		if err := flipByte(filepath.Join(copied, filepath.Base(tables[random.IntN(len(tables))])), random); err != nil {
			return err
		}
		got, err := readLog(copied)
		switch diff := storetest.Diff(want[:min(len(got), len(want))], got); {
		case diff != "":
			return fmt.Errorf("round %d: wrong data: %s", round, diff)
		case err != nil && got == nil:
			refused++
		case err != nil:
			found++
		case len(got) != len(want):
			return fmt.Errorf("round %d: %d of %d events and no error", round, len(got), len(want))
		default:
			unread++
		}
		if err := os.RemoveAll(copied); err != nil {
			return err
		}
	}
	fmt.Printf("%d rounds: %d refused to open or to read at all, %d found on reading, %d hit what is not read", rounds, refused, found, unread)
	return nil
}

func readLog(dir string) ([]persistence.Event, error) {
	s, err := persistence.Open(persistence.Options{Dir: dir, MinFreeBytes: 1})
	if err != nil {
		return nil, err
	}
	events, err := s.Events(1, 1<<20)
	_ = s.Close()
	return events, err
}

func flipByte(path string, random *rand.Rand) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	b[random.IntN(len(b))] ^= byte(1 + random.IntN(255))
	return os.WriteFile(path, b, 0o600)
}
