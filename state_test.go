package hangar_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aabb9013/hangar"
	"github.com/aabb9013/hangar/persistence"
)

func TestBackupOfARunningRuntimeIsRestored(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	rt, err := hangar.New(hangar.Options{DataDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer rt.Close(context.Background())
	if _, err := rt.Backup(t.Context()); err == nil {
		t.Error("a runtime that was not started was backed up")
	}
	if err := rt.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := rt.Servers().Create(t.Context(), hangar.ServerSpec{ID: "a", Command: []string{"true"}}); err != nil {
		t.Fatal(err)
	}
	info, err := rt.Backup(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(info.Path, dir) {
		t.Errorf("written to %s", info.Path)
	}
	if _, err := hangar.Verify(dir); !errors.Is(err, hangar.ErrLocked) {
		t.Errorf("Verify beside a runtime: got %v", err)
	}
	fresh := filepath.Join(t.TempDir(), "fresh")
	restored, err := hangar.Restore(info.Path, fresh, false)
	if err != nil || !restored.Report.Sound() {
		t.Fatalf("%+v, %v", restored, err)
	}
	again, err := hangar.New(hangar.Options{DataDir: fresh})
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close(context.Background())
	if err := again.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := again.Servers().Get("a"); err != nil {
		t.Errorf("the server is not there: %v", err)
	}
}

func TestStateInMemoryCannotBeBackedUp(t *testing.T) {
	rt, err := hangar.New(hangar.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer rt.Close(context.Background())
	if err := rt.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := rt.Backup(t.Context()); !errors.Is(err, hangar.ErrInMemory) {
		t.Errorf("got %v", err)
	}
	if _, err := hangar.Verify(t.TempDir()); !errors.Is(err, hangar.ErrNoState) {
		t.Errorf("Verify of an empty directory: got %v", err)
	}
}

// A backup of a directory at rest drops nothing of it, although nobody tells it how
// much the runtime keeps.
func TestBackupOfADirectoryDropsNothing(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	opened := func() *persistence.Badger {
		store, err := persistence.Open(persistence.Options{Dir: dir, MinFreeBytes: 1, MaxLogBytes: 1 << 40})
		if err != nil {
			t.Fatal(err)
		}
		return store
	}
	store := opened()
	data := fmt.Appendf(nil, `{"x":%q}`, strings.Repeat("x", persistence.MaxEventData-16))
	for size := 0; size < persistence.DefaultMaxLogBytes/4+8<<20; size += 8 * len(data) {
		var batch persistence.Batch
		for range 8 {
			batch.Events = append(batch.Events, persistence.Event{Stream: "s", Kind: "K", Data: data})
		}
		if err := store.Commit(batch); err != nil {
			t.Fatal(err)
		}
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	// As after a kill: the journal has a call that is not in the log.
	killed := filepath.Join(t.TempDir(), "killed")
	if err := os.CopyFS(killed, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	store = opened()
	defer store.Close()
	store.CallBuffer().Record(&persistence.CallRecord{Server: "s", Tool: "t", CallID: 1, Outcome: persistence.Completed})
	journal, err := os.ReadFile(filepath.Join(dir, "calls.journal"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(killed, "calls.journal"), journal, 0o600); err != nil {
		t.Fatal(err)
	}
	before, err := hangar.Verify(killed)
	if err != nil || !before.Sound() || before.Waiting != 1 {
		t.Fatalf("%+v, %v", before, err)
	}
	if _, err := hangar.BackupDir(t.Context(), killed, filepath.Join(t.TempDir(), "x.backup")); err != nil {
		t.Fatal(err)
	}
	after, err := hangar.Verify(killed)
	if err != nil || after.First != before.First || after.Events != before.Events+1 {
		t.Errorf("events from %d, %d of them, before the backup from %d, %d: %v", after.First, after.Events, before.First, before.Events, err)
	}
}
