package hangar_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aabb9013/hangar"
)

func TestCallAnswers(t *testing.T) {
	rt := open(t, hangar.Options{})
	create(t, rt, stub("s"))
	ctx := t.Context()

	result, err := rt.Call(ctx, "s", "echo", struct {
		Text string `json:"text"`
	}{"line\nbreak \u2028 \"quoted\""})
	if err != nil || result.IsError || !strings.Contains(string(result.Raw), `line\nbreak`) {
		t.Errorf("echo: %v, %v", result, err)
	}
	if result, err = rt.Call(ctx, "s", "echo", json.RawMessage("{\n \"text\":\n \"raw\"\n}")); err != nil || !strings.Contains(string(result.Raw), `"raw"`) {
		t.Errorf("raw arguments over several lines: %v, %v", result, err)
	}
	if result, err = rt.Call(ctx, "s", "pid", map[string]any(nil)); err != nil || result.IsError {
		t.Errorf("a nil map: %v, %v", result, err)
	}
	if result, err = rt.Call(ctx, "s", "fail", nil); err != nil || !result.IsError {
		t.Errorf("fail: %v, %v", result, err)
	}
	var rpc *hangar.RPCError
	if _, err = rt.Call(ctx, "s", "rpcerror", nil); !errors.As(err, &rpc) || rpc.Code != -32050 || rpc.Message != "error as asked" {
		t.Errorf("rpcerror: %v", err)
	}
	if _, err = rt.Call(ctx, "s", "no \"such\"\ntool", nil); !errors.As(err, &rpc) || rpc.Code != -32602 {
		t.Errorf("unknown tool: %v", err)
	}
	if _, err = rt.Call(ctx, "nobody", "echo", nil); !errors.Is(err, hangar.ErrServerNotFound) || !strings.Contains(err.Error(), "nobody") {
		t.Errorf("unknown server: %v", err)
	}
	for _, args := range []any{"text", 5, []int{1}, func() {}} {
		if _, err = rt.Call(ctx, "s", "echo", args); err == nil || !strings.Contains(err.Error(), "arguments") {
			t.Errorf("arguments %T: %v", args, err)
		}
	}
	if _, err = rt.Call(ctx, "s", "crash", map[string]any{"code": 3}); err == nil || !strings.Contains(err.Error(), "exit code 3") || !strings.Contains(err.Error(), "unknown") {
		t.Errorf("crash: %v", err)
	}
	echo(t, rt, "s") // it is up again
}

func TestCallIsGivenUpWithItsContext(t *testing.T) {
	rt := open(t, hangar.Options{})
	create(t, rt, stub("ready"), stub("slow", "-init-delay", "20000"))
	echo(t, rt, "ready")
	why := errors.New("the user left")
	for _, server := range []string{"ready", "slow"} { // at the instance, and in the queue of a start
		for name, c := range map[string]struct {
			make func() (context.Context, context.CancelFunc)
			want []error
		}{
			"cancel": {func() (context.Context, context.CancelFunc) {
				ctx, cancel := context.WithCancel(t.Context())
				time.AfterFunc(50*time.Millisecond, cancel)
				return ctx, cancel
			}, []error{context.Canceled}},
			"cause": {func() (context.Context, context.CancelFunc) {
				ctx, cancel := context.WithCancelCause(t.Context())
				time.AfterFunc(50*time.Millisecond, func() { cancel(why) })
				return ctx, func() { cancel(nil) }
			}, []error{why}},
			"deadline": {func() (context.Context, context.CancelFunc) {
				return context.WithTimeout(t.Context(), 50*time.Millisecond)
			}, []error{hangar.ErrCallTimeout, context.DeadlineExceeded}},
			"done before": {func() (context.Context, context.CancelFunc) {
				ctx, cancel := context.WithCancel(t.Context())
				cancel()
				return ctx, cancel
			}, []error{context.Canceled}},
		} {
			t.Run(server+" "+name, func(t *testing.T) {
				ctx, cancel := c.make()
				defer cancel()
				begin := time.Now()
				_, err := rt.Call(ctx, server, "sleep", map[string]any{"ms": 20000})
				for _, want := range c.want {
					if !errors.Is(err, want) {
						t.Errorf("got %v, want %v", err, want)
					}
				}
				if took := time.Since(begin); took > 10*time.Second {
					t.Errorf("it took %s", took)
				}
			})
		}
	}
	echo(t, rt, "ready")
}

// TestCancellationNeverMissesItsCall: it may come before the call does.
func TestCancellationNeverMissesItsCall(t *testing.T) {
	rt := open(t, hangar.Options{})
	create(t, rt, stub("s"))
	echo(t, rt, "s")
	begin := time.Now()
	var callers sync.WaitGroup
	for range 8 {
		callers.Go(func() {
			for range 50 {
				ctx, cancel := context.WithCancel(context.Background())
				go cancel()
				if _, err := rt.Call(ctx, "s", "sleep", map[string]any{"ms": 20000}); !errors.Is(err, context.Canceled) {
					t.Errorf("got %v", err)
				}
			}
		})
	}
	callers.Wait()
	if took := time.Since(begin); took > 15*time.Second {
		t.Errorf("it took %s", took)
	}
}

func TestUpdateStopAndDelete(t *testing.T) {
	rt := open(t, hangar.Options{DataDir: t.TempDir()})
	create(t, rt, stub("s"))
	ctx := t.Context()
	servers := rt.Servers()
	v, err := servers.Start(ctx, "s")
	if err != nil || v.PID == 0 || v.State.String() != "ready" {
		t.Fatalf("Start: %+v, %v", v, err)
	}
	if again, err := servers.Start(ctx, "s"); err != nil || again.PID != v.PID {
		t.Errorf("Start of a ready server: %v, %v", again, err)
	}
	env := map[string]string{"COLOUR": "red"}
	for k, value := range v.Spec.Env {
		env[k] = value
	}
	text, ttl := "new text", 5*time.Minute
	if err := servers.Update(ctx, "s", hangar.Patch{Description: &text, Env: &env, IdleTTL: &ttl}); err != nil {
		t.Fatal(err)
	}
	v, _ = servers.Get("s")
	if v.Spec.Description != text || v.Spec.IdleTTL != ttl {
		t.Errorf("spec %+v", v.Spec)
	}
	tooLong := 100 * time.Hour
	if err := servers.Update(ctx, "s", hangar.Patch{IdleTTL: &tooLong}); !errors.Is(err, hangar.ErrInvalidSpec) {
		t.Errorf("Update with a bad value: %v", err)
	}
	if err := servers.Stop(ctx, "s", "test"); err != nil {
		t.Fatal(err)
	}
	if v, _ = servers.Get("s"); v.PID != 0 || v.State.String() != "cold" {
		t.Errorf("after Stop: %+v", v)
	}
	if err := servers.Stop(ctx, "s", "again"); err != nil {
		t.Errorf("Stop of a cold server: %v", err)
	}
	if result, err := rt.Call(ctx, "s", "env", map[string]any{"name": "COLOUR"}); err != nil || !strings.Contains(string(result.Raw), "red") {
		t.Errorf("the new environment: %v, %v", result, err)
	}
	if err := servers.Create(ctx, stub("s")); !errors.Is(err, hangar.ErrServerExists) {
		t.Errorf("Create twice: %v", err)
	}
	if err := servers.Delete(ctx, "s"); err != nil {
		t.Fatal(err)
	}
	_, getErr := servers.Get("s")
	_, startErr := servers.Start(ctx, "s")
	for name, err := range map[string]error{
		"Get": getErr, "Start": startErr, "Stop": servers.Stop(ctx, "s", ""),
		"Delete": servers.Delete(ctx, "s"), "Update": servers.Update(ctx, "s", hangar.Patch{}),
	} {
		if !errors.Is(err, hangar.ErrServerNotFound) {
			t.Errorf("%s after Delete: %v", name, err)
		}
	}
	create(t, rt, stub("s"))
	if err := servers.Create(ctx, hangar.ServerSpec{ID: "far", Mode: "remote", Endpoint: "https://example.com/mcp"}); !errors.Is(err, hangar.ErrNotBuilt) {
		t.Errorf("a mode that is not built: %v", err)
	}
	if err := servers.Create(ctx, hangar.ServerSpec{ID: "a/b"}); !errors.Is(err, hangar.ErrInvalidSpec) {
		t.Errorf("an invalid spec: %v", err)
	}
}

func TestStartFailuresTellWhy(t *testing.T) {
	rt := open(t, hangar.Options{})
	create(t, rt, hangar.ServerSpec{ID: "missing", Command: []string{"/nowhere/server"}}, stub("old", "-init-bad-version"))
	for id, want := range map[string]string{"missing": "/nowhere/server", "old": "1999-01-01"} {
		_, err := rt.Call(t.Context(), id, "echo", nil)
		if !errors.Is(err, hangar.ErrStartFailed) || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), id) {
			t.Errorf("%s: %v", id, err)
		}
	}
}

func TestHistoryThroughTheEdge(t *testing.T) {
	dir := t.TempDir()
	for round := 1; round <= 2; round++ {
		rt := open(t, hangar.Options{DataDir: dir})
		if round == 1 {
			create(t, rt, stub("s"))
		}
		echo(t, rt, "s")
		if _, err := rt.Call(t.Context(), "s", "rpcerror", nil); err == nil {
			t.Error("rpcerror gave no error")
		}
		f, done := serveUntilClose(t, rt)
		response, err := http.Get(f.url + "/api/mcp_servers/s/tools/history")
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(response.Body)
		response.Body.Close()
		if err != nil || response.StatusCode != http.StatusOK {
			t.Fatalf("%d %s, %v", response.StatusCode, body, err)
		}
		for kind, want := range map[string]int{"ToolInvocationCompleted": round, "ToolInvocationFailed": round} {
			if got := strings.Count(string(body), kind); got != want {
				t.Errorf("round %d: %d × %s, want %d:\n%s", round, got, kind, want, body)
			}
		}
		shut(t, rt)
		<-done
	}
}
