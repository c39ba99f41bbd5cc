package hangar_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aabb9013/hangar"
)

// serveHTTP serves a runtime for the length of a test.
func serveHTTP(t *testing.T, rt *hangar.Runtime) (base string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- rt.Serve(ctx, ln) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return "http://" + ln.Addr().String()
}

func ask(t *testing.T, method, url, body string) (int, map[string]any) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	var answer map[string]any
	if err := json.Unmarshal(data, &answer); err != nil {
		t.Fatalf("%s: %v", data, err)
	}
	return resp.StatusCode, answer
}

func TestConfigurationOverHTTP(t *testing.T) {
	t.Setenv("FLEET_SECRET", "hunter2")
	path := writeConfig(t, quiet+stubYAML("a")+"  b: {command: [x, --token, hunter2], env: {T: '${FLEET_SECRET}', U: hunter2}}\n")
	rt := open(t, hangar.Options{ConfigFile: path})
	api := serveHTTP(t, rt) + "/api/config"
	status, answer := ask(t, "GET", api, "")
	text := fmt.Sprint(answer)
	if status != 200 || strings.Contains(text, "hunter2") || !strings.Contains(text, "mcp_server_id:b") || !strings.Contains(text, "config_reload") {
		t.Errorf("GET: %d %s", status, text)
	}
	status, answer = ask(t, "POST", api+"/export", "")
	text = fmt.Sprint(answer)
	if status != 200 || strings.Contains(text, "hunter2") || !strings.Contains(text, "T: ${FLEET_SECRET}") || !strings.Contains(text, "U: ${B_U}") {
		t.Errorf("export: %d %s", status, text)
	}
	if status, answer = ask(t, "GET", api+"/diff", ""); status != 200 || answer["diff"] != "" || answer["has_changes"] != false {
		t.Errorf("diff: %d %v", status, answer)
	}
	rewrite(t, path, quiet+stubYAML("a", "c"))
	status, answer = ask(t, "GET", api+"/diff", "")
	text = fmt.Sprint(answer["diff"])
	if status != 200 || !strings.HasPrefix(text, "--- on-disk\n+++ in-memory\n@@ ") || strings.Contains(text, "hunter2") || !strings.Contains(text, "\n-  c:") || !strings.Contains(text, "\n+  b:") {
		t.Errorf("diff: %d %v", status, answer)
	}
	if status, answer = ask(t, "POST", api+"/reload", ""); status != 200 || ids(rt) != "a c" {
		t.Errorf("reload: %d %v, servers %s", status, answer, ids(rt))
	}
	result, _ := answer["result"].(map[string]any)
	if got := fmt.Sprint(result["success"], result["mcp_servers_added"], result["mcp_servers_removed"], result["mcp_servers_unchanged"]); got != "true [c] [b] [a]" {
		t.Errorf("reload: %s", got)
	}
	rewrite(t, path, "mcp_servers:\n  a: {command: 3}\n")
	if status, answer = ask(t, "POST", api+"/reload", ""); status != 500 || answer["error"] != "ConfigurationError" || !strings.Contains(fmt.Sprint(answer["message"]), "fleet.yaml:2:16") {
		t.Errorf("reload of a bad file: %d %v", status, answer)
	}
	if status, answer = ask(t, "GET", api+"/diff", ""); status != 500 || answer["error"] != "ConfigurationError" {
		t.Errorf("diff with a bad file: %d %v", status, answer)
	}
	for _, other := range []string{"fleet.yaml", "/etc/passwd", "../x"} {
		if status, answer = ask(t, "POST", api+"/reload", fmt.Sprintf(`{"config_path":%q}`, other)); status != 422 {
			t.Errorf("reload of %s: %d %v", other, status, answer)
		}
	}
	if status, answer = ask(t, "POST", api+"/backup", ""); status != 200 || answer["backup_path"] != path+".bak1" || answer["created"] != true {
		t.Errorf("backup: %d %v", status, answer)
	}
	if err := os.RemoveAll(filepath.Dir(path)); err != nil {
		t.Fatal(err)
	}
	if status, answer = ask(t, "POST", api+"/backup", ""); status != 503 || answer["error"] != "ConfigurationBackupError" || !strings.Contains(fmt.Sprint(answer["message"]), "no such file") {
		t.Errorf("backup without a directory: %d %v", status, answer)
	}
	if status, answer = ask(t, "GET", api+"/diff", ""); status != 200 || answer["has_changes"] != true {
		t.Errorf("diff without a file: %d %v", status, answer)
	}
	echo(t, rt, "c")
}
