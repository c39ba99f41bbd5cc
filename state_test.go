package hangar_test

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aabb9013/hangar"
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
