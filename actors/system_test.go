package actors

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aabb9013/hangar/backends"
	"github.com/aabb9013/hangar/backends/subprocess"
	"github.com/aabb9013/hangar/internal/testserver"
	"github.com/aabb9013/hangar/persistence"
	"github.com/aabb9013/hangar/supervisor"
)

// realSystem runs a tree over real child processes and an in-memory store.
func realSystem(t *testing.T, specs ...supervisor.ServerSpec) *System {
	t.Helper()
	backend := subprocess.New(subprocess.Options{EOFGrace: time.Second, TermGrace: time.Second})
	sys, err := New(Options{
		Store:    persistence.NewMemory(),
		Backends: map[supervisor.Mode]backends.Backend{supervisor.ModeSubprocess: backend},
		Logger:   slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})),
		Client:   backends.ClientInfo{Name: "test", Version: "1"},
		Specs:    specs,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := sys.Close(ctx); err != nil {
			t.Error(err)
		}
		backend.Close()
	})
	return sys
}

func stubSpec(id string, flags ...string) supervisor.ServerSpec {
	command, env := testserver.Command(flags...)
	return supervisor.ServerSpec{ID: id, Mode: supervisor.ModeSubprocess, Command: command, Env: env}.WithDefaults()
}

// callTool makes one tools/call as the front does.
func callTool(t testing.TB, sys *System, id, tool, args string) (string, error) {
	t.Helper()
	ref, ok := sys.Ref([]byte(id))
	if !ok {
		t.Fatalf("no server %q", id)
	}
	c := backends.NewCall()
	c.Tool = tool
	c.Line = fmt.Appendf(c.Line, `{"jsonrpc":"2.0","id":%d,"method":"tools/call","params":{"name":%q,"arguments":%s}}`+"\n", c.ID, tool, args)
	if err := ref.Do(c, 10*time.Second); err != nil {
		return "", err
	}
	answer := string(c.Answer)
	c.Release()
	return answer, nil
}

func TestFirstCallStartsTheServer(t *testing.T) {
	sys := realSystem(t, stubSpec("a"))
	got, err := callTool(t, sys, "a", "echo", `{"text":"hello"}`)
	if err != nil || !strings.Contains(got, `"hello"`) {
		t.Fatalf("got %q, %v", got, err)
	}
	v, _ := sys.View("a")
	if v.State != supervisor.Ready || len(v.Catalogue.Tools) == 0 || v.PID == 0 {
		t.Fatalf("view %+v", v)
	}
}

func TestManyServersCalledAtOnceAllAnswer(t *testing.T) {
	var specs []supervisor.ServerSpec
	for i := range 30 {
		specs = append(specs, stubSpec(fmt.Sprint("s", i)))
	}
	sys := realSystem(t, specs...)
	var wg sync.WaitGroup
	for i := range 30 {
		for range 10 {
			wg.Go(func() {
				text := fmt.Sprint("text", i)
				if got, err := callTool(t, sys, fmt.Sprint("s", i), "echo", `{"text":"`+text+`"}`); err != nil || !strings.Contains(got, text) {
					t.Errorf("got %q, %v", got, err)
				}
			})
		}
	}
	wg.Wait()
	events, err := sys.History(context.Background(), "s3", 0, 100)
	if err != nil || len(events) != 10 {
		t.Fatalf("history: %d events, %v", len(events), err)
	}
}
