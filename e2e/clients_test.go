package e2e_test

import (
	"context"
	"encoding/json"
	"os/exec"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// clientFleet is what the clients of this file talk to.
func clientFleet(t *testing.T) *hangar {
	t.Helper()
	return start(t, servers{"one": stub(), "two": stub()})
}

// node runs a program of e2e/node to its end and returns what it printed.
func node(t *testing.T, program string, arguments ...string) []byte {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	command := exec.CommandContext(ctx, "node", append([]string{program}, arguments...)...)
	command.Dir = "node"
	printed, err := command.Output()
	if err != nil {
		var stderr []byte
		if exit, ok := err.(*exec.ExitError); ok {
			stderr = exit.Stderr
		}
		t.Fatalf("node %s %v: %v\n%s%s", program, arguments, err, printed, stderr)
	}
	return printed
}

func TestTypeScriptSDK(t *testing.T) {
	require(t, "node")
	h := clientFleet(t)
	calls := `[
		{"name": "one__echo", "arguments": {"text": "grüße \n \"quoted\" 😀"}},
		{"name": "two__progress", "arguments": {"n": 3, "delay_ms": 20}},
		{"name": "one__fail", "arguments": {}}
	]`
	var saw struct {
		Server          struct{ Name, Version string }
		ProtocolVersion string
		Session         string
		Terminated      bool
		Tools           []string
		Results         []struct {
			toolResult
			Progress []float64
		}
	}
	if err := json.Unmarshal(node(t, "client.mjs", h.url+"/mcp", calls), &saw); err != nil {
		t.Fatal(err)
	}
	if saw.Server.Name == "" || saw.Session == "" || !saw.Terminated {
		t.Errorf("session: got %+v", saw)
	}
	if !slices.Contains(saw.Tools, "one__echo") || !slices.Contains(saw.Tools, "two__echo") {
		t.Errorf("tools: got %v", saw.Tools)
	}
	if len(saw.Results) != 3 {
		t.Fatalf("got %d results, want 3", len(saw.Results))
	}
	if got := saw.Results[0].text(); got != "grüße \n \"quoted\" 😀" {
		t.Errorf("echo: got %q", got)
	}
	if diff := cmp.Diff([]float64{1, 2, 3}, saw.Results[1].Progress); diff != "" {
		t.Errorf("progress (-want +got):\n%s", diff)
	}
	if !saw.Results[2].IsError {
		t.Error("fail: the result has no isError")
	}
}

func TestInspector(t *testing.T) {
	require(t, "node")
	h := clientFleet(t)
	h.mustCall("one", "echo", map[string]any{"text": "start"})
	inspect := func(arguments ...string) []byte {
		return node(t, nodeBin(t, "mcp-inspector"), append([]string{"--cli", h.url + "/mcp", "--transport", "http", "--method"}, arguments...)...)
	}
	var list struct{ Tools []struct{ Name string } }
	if err := json.Unmarshal(inspect("tools/list"), &list); err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(list.Tools, func(tool struct{ Name string }) bool { return tool.Name == "one__echo" }) {
		t.Errorf("tools/list lacks one__echo: %v", list.Tools)
	}
	var result toolResult
	if err := json.Unmarshal(inspect("tools/call", "--tool-name", "one__echo", "--tool-arg", "text=hello"), &result); err != nil {
		t.Fatal(err)
	}
	if result.text() != "hello" {
		t.Errorf("tools/call: got %q", result.text())
	}
}

func TestGoSDK(t *testing.T) {
	h := clientFleet(t)
	var mu sync.Mutex
	var progress []float64
	session := h.sdkSession(&mcp.ClientOptions{
		ProgressNotificationHandler: func(_ context.Context, r *mcp.ProgressNotificationClientRequest) {
			mu.Lock()
			defer mu.Unlock()
			if r.Params.ProgressToken == "token-1" {
				progress = append(progress, r.Params.Progress)
			}
		},
	})
	result, err := session.CallTool(t.Context(), &mcp.CallToolParams{Name: "one__echo", Arguments: map[string]any{"text": "hello"}})
	if err != nil {
		t.Fatal(err)
	}
	if text, ok := result.Content[0].(*mcp.TextContent); !ok || text.Text != "hello" {
		t.Errorf("echo: got %v", result.Content)
	}
	params := &mcp.CallToolParams{Name: "two__progress", Arguments: map[string]any{"n": 3, "delay_ms": 20}}
	params.SetProgressToken("token-1")
	if _, err := session.CallTool(t.Context(), params); err != nil {
		t.Fatal(err)
	}
	if !eventually(5*time.Second, func() bool {
		mu.Lock()
		defer mu.Unlock()
		return cmp.Equal(progress, []float64{1, 2, 3})
	}) {
		t.Errorf("progress: got %v, want 1, 2, 3", progress)
	}
	if names := sdkTools(t, session); !slices.Contains(names, "one__echo") || !slices.Contains(names, "two__echo") {
		t.Errorf("tools: got %v", names)
	}
	if err := session.Close(); err != nil {
		t.Errorf("closing the session: %v", err)
	}
}
