package hangar_test

import (
	"bytes"
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/aabb9013/hangar"
	"github.com/aabb9013/hangar/supervisor"
)

// C01, S17: what a server prints of its own secrets is in the answer of no route.
func TestSecretsThatAServerPrintsAreInNoAnswer(t *testing.T) {
	const canary = "correct-horse-canary"
	env := map[string]string{"DB_PASSWORD": canary}
	rt := open(t, hangar.Options{})
	create(t, rt,
		hangar.ServerSpec{ID: "prints", Command: []string{"/bin/sh", "-c", `echo "opening $DB_PASSWORD now" >&2; echo "noise $DB_PASSWORD"; exit 3`}, Env: env},
		hangar.ServerSpec{ID: "answers", Env: env, Command: []string{"/bin/sh", "-c",
			`read line; id=${line#*\"id\":}; id=${id%%,*}; ` +
				`printf '{"jsonrpc":"2.0","id":%s,"error":{"code":1,"message":"no %s"}}\n' "$id" "$DB_PASSWORD"; read line`}},
	)
	api := serve(t, rt)
	api.initialize()
	var all []string
	ask := func(method, path, body string) {
		_, answer := api.exchange(method, path, body)
		all = append(all, method+" "+path+" "+answer)
	}
	servers := []string{"prints", "answers"}
	for _, id := range servers {
		_, err := rt.Servers().Start(t.Context(), id)
		if err == nil {
			t.Fatalf("server %s started", id)
		}
		all = append(all, err.Error())
		ask("POST", "/api/mcp_servers/"+id+"/start", "{}")
		ask("POST", "/api/mcp_servers/"+id+"/tools/x/call", "{}")
		ask("POST", "/mcp", `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"`+id+`__x","arguments":{}}}`)
		for _, tool := range []string{"hangar_details", "hangar_start", "hangar_status"} {
			ask("POST", "/mcp", `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"`+tool+`","arguments":{"mcp_server":"`+id+`"}}}`)
		}
	}
	eventually(t, "the line in the log", func() bool {
		return strings.Contains(api.send("GET", "/api/mcp_servers/prints/logs", ""), "opening *** now")
	})
	for _, path := range readableRoutes(t) {
		for _, id := range servers {
			ask("GET", strings.ReplaceAll(path, "{id}", id), "")
		}
	}
	create(t, rt, stub("last"))
	stream, redacted := api.follow("?after=0"), false
	for m := stream.next(); m.Server != "last"; m = stream.next() {
		all = append(all, "event "+m.text)
		redacted = redacted || strings.Contains(m.text, "***")
	}
	if !redacted {
		t.Error("no event tells what the servers said: the test proves nothing of the stream")
	}
	for _, text := range all {
		if strings.Contains(text, canary) {
			t.Errorf("the secret is in %s", text)
		}
	}
	if v, err := rt.Servers().Get("answers"); err != nil || v.State == supervisor.Ready || !strings.Contains(v.LastError, "no ***") {
		t.Errorf("the server that answers with its secret: %+v, %v", v, err)
	}
}

// readableRoutes are the paths of the contract that can be read.
func readableRoutes(t *testing.T) (paths []string) {
	t.Helper()
	document, err := os.ReadFile("httpapi/openapi.json")
	if err != nil {
		t.Fatal(err)
	}
	var api struct {
		Paths map[string]map[string]json.RawMessage `json:"paths"`
	}
	if err := json.NewDecoder(bytes.NewReader(document)).Decode(&api); err != nil {
		t.Fatal(err)
	}
	for path, methods := range api.Paths {
		if _, ok := methods["get"]; ok {
			paths = append(paths, path)
		}
	}
	if len(paths) < 10 {
		t.Fatalf("only %d routes", len(paths))
	}
	return paths
}
