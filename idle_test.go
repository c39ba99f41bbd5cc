package hangar_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/aabb9013/hangar"
	"github.com/aabb9013/hangar/supervisor"
)

// await waits for something about a server.
func await(t *testing.T, rt *hangar.Runtime, id, what string, is func(*hangar.View) bool) *hangar.View {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		v, err := rt.Servers().Get(id)
		if err != nil {
			t.Fatal(err)
		}
		if is(v) {
			return v
		}
		if time.Now().After(deadline) {
			t.Fatalf("server %s is not %s, it is %v %v", id, what, v.State, v.Phase)
		}
	}
}

// An idle server costs nothing: its process is gone. Nothing of it is missing
// for clients: its tools are listed, marked as stale, and every way to call one
// wakes it.
func TestIdleServerIsListedAndWakesOnEveryCallPath(t *testing.T) {
	rt := open(t, hangar.Options{})
	f := serve(t, rt)
	f.initialize()
	hello := map[string]any{"text": "good morning"}
	paths := map[string]func(id string) string{
		"api": func(id string) string {
			result, err := rt.Call(t.Context(), id, "echo", hello)
			if err != nil {
				t.Error(err)
				return ""
			}
			return string(result.Raw)
		},
		"rest": func(id string) string {
			return f.send("POST", "/api/mcp_servers/"+id+"/tools/echo/call", `{"text":"good morning"}`)
		},
		"mcp": func(id string) string { return f.call(id+"__echo", hello) },
		"batch": func(id string) string {
			return f.call("hangar_call", map[string]any{"calls": []any{map[string]any{"mcp_server": id, "tool": "echo", "arguments": hello}}})
		},
	}
	for id := range paths {
		spec := stub(id)
		spec.IdleTTL = time.Second
		create(t, rt, spec)
		echo(t, rt, id)
	}
	for id, call := range paths {
		v := await(t, rt, id, "idle", func(v *hangar.View) bool { return v.State == supervisor.Cold })
		if !v.ToolsStale || v.LastError != "" || v.Failures != 0 || v.TotalFailures != 0 || v.Restarts != 0 {
			t.Errorf("%s after its idle stop: stale %v, last error %q, %d failures", id, v.ToolsStale, v.LastError, v.TotalFailures)
		}
		if crashes, err := rt.Servers().Crashes(t.Context(), id, 1); err != nil || len(crashes) > 0 {
			t.Errorf("%s: an idle stop is no crash: %v, %v", id, crashes, err)
		}
		var tools struct {
			Tools []any
			Stale bool
		}
		if err := json.Unmarshal([]byte(f.send("GET", "/api/mcp_servers/"+id+"/tools", "")), &tools); err != nil || !tools.Stale || len(tools.Tools) == 0 {
			t.Errorf("%s: REST lists %d tools, stale %v, %v", id, len(tools.Tools), tools.Stale, err)
		}
		for tool, want := range map[string]string{"hangar_tools": `"stale":true`, "hangar_details": `"tools_stale":true`} {
			if answer := f.call(tool, map[string]any{"mcp_server": id}); !bytes.Contains([]byte(strings.ReplaceAll(answer, `\"`, `"`)), []byte(want)) {
				t.Errorf("%s: %s does not say %s: %.300s", id, tool, want, answer)
			}
		}
		if list := f.send("POST", "/mcp", `{"jsonrpc":"2.0","id":2,"method":"tools/list"}`); !strings.Contains(list, id+"__echo") {
			t.Errorf("%s: tools/list lacks it", id)
		}
		if now, _ := rt.Servers().Get(id); now.Epoch != v.Epoch {
			t.Errorf("%s: a listing woke it", id)
		}
		if answer := call(id); !strings.Contains(answer, "good morning") {
			t.Errorf("%s: got %s", id, answer)
		}
		if woken, _ := rt.Servers().Get(id); woken.Epoch <= v.Epoch {
			t.Errorf("%s: epoch %d, was %d", id, woken.Epoch, v.Epoch)
		}
	}
}
