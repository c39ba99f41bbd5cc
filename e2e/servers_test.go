package e2e_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// realCall is one call of a real server and what its answer must hold.
type realCall struct {
	tool      string
	arguments map[string]any
	holds     string
}

// TestRealServersFromNPM names servers in a configuration file as their users
// do; each starts at its first call, lists its tools and answers.
func TestRealServersFromNPM(t *testing.T) {
	require(t, "node")
	folder := t.TempDir()
	if err := os.WriteFile(filepath.Join(folder, "hello.txt"), []byte("hello from a file"), 0o600); err != nil {
		t.Fatal(err)
	}
	h := start(t, servers{
		"everything": command(nodeBin(t, "mcp-server-everything")),
		"fs":         command(nodeBin(t, "mcp-server-filesystem"), folder),
		"memory": withEnv(command(nodeBin(t, "mcp-server-memory")),
			"MEMORY_FILE_PATH", filepath.Join(t.TempDir(), "memory.jsonl")),
	})
	checkReal(t, h, map[string][]realCall{
		"everything": {
			{"echo", map[string]any{"message": "hi"}, "Echo: hi"},
			{"get-sum", map[string]any{"a": 2, "b": 3}, "5"},
		},
		"fs": {
			{"list_directory", map[string]any{"path": folder}, "hello.txt"},
			{"read_text_file", map[string]any{"path": filepath.Join(folder, "hello.txt")}, "hello from a file"},
		},
		"memory": {
			{"create_entities", map[string]any{"entities": []any{
				map[string]any{"name": "Hangar", "entityType": "runtime", "observations": []any{"hosts servers"}},
			}}, "Hangar"},
			{"read_graph", map[string]any{}, "hosts servers"},
		},
	})
}

func TestRealServersFromPyPI(t *testing.T) {
	require(t, "python")
	h := start(t, servers{
		"time": command(absolute(t, filepath.Join(pythonBin, "mcp-server-time")), "--local-timezone", "UTC"),
	})
	checkReal(t, h, map[string][]realCall{
		"time": {{"get_current_time", map[string]any{"timezone": "Asia/Tokyo"}, "+09:00"}},
	})
}

// checkReal makes every call through /mcp as the Go SDK's client, then checks
// that each server's tools are listed there.
func checkReal(t *testing.T, h *hangar, calls map[string][]realCall) {
	t.Helper()
	session := h.sdkSession(nil)
	for server, calls := range calls {
		if state := h.list()[server].State; state != "cold" {
			t.Errorf("%s is %s before its first call, want cold", server, state)
		}
		for _, call := range calls {
			name := server + "__" + call.tool
			result, err := session.CallTool(t.Context(), &mcp.CallToolParams{Name: name, Arguments: call.arguments})
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			var text strings.Builder
			for _, content := range result.Content {
				if c, ok := content.(*mcp.TextContent); ok {
					text.WriteString(c.Text)
				}
			}
			if result.IsError || !strings.Contains(text.String(), call.holds) {
				t.Errorf("%s: got isError %t, %q, want it to hold %q", name, result.IsError, &text, call.holds)
			}
		}
		if s := h.list()[server]; s.State != "ready" || s.ToolsCount == 0 {
			t.Errorf("%s after its calls: got %+v", server, s)
		}
	}
	names := sdkTools(t, session)
	for server, calls := range calls {
		for _, call := range calls {
			if !slices.Contains(names, server+"__"+call.tool) {
				t.Errorf("tools/list lacks %s__%s", server, call.tool)
			}
		}
	}
}

func command(words ...string) map[string]any {
	return map[string]any{"mode": "subprocess", "command": words}
}

func withEnv(spec map[string]any, name, value string) map[string]any {
	spec["env"] = map[string]string{name: value}
	return spec
}
