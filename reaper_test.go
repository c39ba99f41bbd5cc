package hangar_test

import (
	"context"
	"os"
	"syscall"
	"testing"

	"github.com/aabb9013/hangar"
	"github.com/aabb9013/hangar/internal/testserver"
)

// A copied data directory names processes that are another's. Whoever opens
// the copy must not end them.
func TestCopiedDataDirLeavesTheOriginalsProcessesAlone(t *testing.T) {
	ctx := context.Background()
	open := func(dir string) *hangar.Runtime {
		t.Helper()
		rt, err := hangar.New(hangar.Options{DataDir: dir})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { rt.Close(ctx) })
		if err := rt.Start(ctx); err != nil {
			t.Fatal(err)
		}
		return rt
	}
	dir := t.TempDir()
	original := open(dir)
	command, env := testserver.Command()
	if err := original.Servers().Create(ctx, hangar.ServerSpec{ID: "s", Command: command, Env: env}); err != nil {
		t.Fatal(err)
	}
	if _, err := original.Call(ctx, "s", "echo", map[string]any{"text": "x"}); err != nil {
		t.Fatal(err)
	}
	view, err := original.Servers().Get("s")
	if err != nil {
		t.Fatal(err)
	}
	twin := t.TempDir()
	if err := os.CopyFS(twin, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	open(twin)
	if err := syscall.Kill(view.PID, 0); err != nil {
		t.Errorf("the original's server is gone: %v", err)
	}
	if again, err := original.Servers().Get("s"); err != nil || again.Epoch != view.Epoch || again.PID != view.PID {
		t.Errorf("it was process %d in epoch %d, is %+v, %v", view.PID, view.Epoch, again, err)
	}
}
