package hangar_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aabb9013/hangar"
)

// serveHTTP serves a runtime for the length of a test.
func TestConfigurationOverHTTP(t *testing.T) {
	t.Setenv("FLEET_SECRET", "hunter2")
	path := writeConfig(t, quiet+stubYAML("a")+"  b: {command: [x, --token, hunter2], env: {T: '${FLEET_SECRET}', U: hunter2}}\n")
	rt := open(t, hangar.Options{ConfigFile: path})
	f := serve(t, rt)
	const api = "/api/config"
	status, answer := f.ask("GET", api, "")
	text := fmt.Sprint(answer)
	if status != 200 || strings.Contains(text, "hunter2") || !strings.Contains(text, "mcp_server_id:b") || !strings.Contains(text, "config_reload") {
		t.Errorf("GET: %d %s", status, text)
	}
	status, answer = f.ask("POST", api+"/export", "")
	text = fmt.Sprint(answer)
	if status != 200 || strings.Contains(text, "hunter2") || !strings.Contains(text, "T: ${FLEET_SECRET}") || !strings.Contains(text, "U: ${B_U}") {
		t.Errorf("export: %d %s", status, text)
	}
	if status, answer = f.ask("GET", api+"/diff", ""); status != 200 || answer["diff"] != "" || answer["has_changes"] != false {
		t.Errorf("diff: %d %v", status, answer)
	}
	rewrite(t, path, quiet+stubYAML("a", "c"))
	status, answer = f.ask("GET", api+"/diff", "")
	text = fmt.Sprint(answer["diff"])
	if status != 200 || !strings.HasPrefix(text, "--- on-disk\n+++ in-memory\n@@ ") || strings.Contains(text, "hunter2") || !strings.Contains(text, "\n-  c:") || !strings.Contains(text, "\n+  b:") {
		t.Errorf("diff: %d %v", status, answer)
	}
	if status, answer = f.ask("POST", api+"/reload", ""); status != 200 || ids(rt) != "a c" {
		t.Errorf("reload: %d %v, servers %s", status, answer, ids(rt))
	}
	result, _ := answer["result"].(map[string]any)
	if got := fmt.Sprint(result["success"], result["mcp_servers_added"], result["mcp_servers_removed"], result["mcp_servers_unchanged"]); got != "true [c] [b] [a]" {
		t.Errorf("reload: %s", got)
	}
	rewrite(t, path, "mcp_servers:\n  a: {command: 3}\n")
	if status, answer = f.ask("POST", api+"/reload", ""); status != 500 || answer["error"] != "ConfigurationError" || !strings.Contains(fmt.Sprint(answer["message"]), "fleet.yaml:2:16") {
		t.Errorf("reload of a bad file: %d %v", status, answer)
	}
	if status, answer = f.ask("GET", api+"/diff", ""); status != 500 || answer["error"] != "ConfigurationError" {
		t.Errorf("diff with a bad file: %d %v", status, answer)
	}
	for _, other := range []string{"fleet.yaml", "/etc/passwd", "../x"} {
		if status, answer = f.ask("POST", api+"/reload", fmt.Sprintf(`{"config_path":%q}`, other)); status != 422 {
			t.Errorf("reload of %s: %d %v", other, status, answer)
		}
	}
	if status, answer = f.ask("POST", api+"/backup", ""); status != 200 || answer["backup_path"] != path+".bak1" || answer["created"] != true {
		t.Errorf("backup: %d %v", status, answer)
	}
	if err := os.RemoveAll(filepath.Dir(path)); err != nil {
		t.Fatal(err)
	}
	if status, answer = f.ask("POST", api+"/backup", ""); status != 503 || answer["error"] != "ConfigurationBackupError" || !strings.Contains(fmt.Sprint(answer["message"]), "no such file") {
		t.Errorf("backup without a directory: %d %v", status, answer)
	}
	if status, answer = f.ask("GET", api+"/diff", ""); status != 200 || answer["has_changes"] != true {
		t.Errorf("diff without a file: %d %v", status, answer)
	}
	echo(t, rt, "c")
}
