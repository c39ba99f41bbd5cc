package hangar_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/aabb9013/hangar"
)

// TestSupervisionOfRealProcesses: a crash takes the dependents along, the tree
// tells it, and the order of deletion is kept.
func TestSupervisionOfRealProcesses(t *testing.T) {
	rt := open(t, hangar.Options{})
	api := serve(t, rt).ask
	db, app := stub("db"), stub("app")
	db.Strategy = "rest_for_one"
	app.DependsOn, app.Restart = []string{"db"}, "permanent"
	create(t, rt, db, app) // permanent: it starts, and db before it
	pid := func(id string) int {
		v, err := rt.Servers().Get(id)
		if err != nil {
			t.Fatal(err)
		}
		return v.PID
	}
	eventually(t, "app runs", func() bool { return pid("app") != 0 })
	before := [2]int{pid("db"), pid("app")}
	if _, err := rt.Call(t.Context(), "db", "crash", map[string]any{"code": 7}); err == nil {
		t.Fatal("it did not crash")
	}
	eventually(t, "both run anew", func() bool {
		return pid("db") != 0 && pid("db") != before[0] && pid("app") != 0 && pid("app") != before[1]
	})
	status, tree := api("GET", "/api/supervision?server=db", "")
	server := tree["servers"].([]any)[0].(map[string]any)
	if status != 200 || server["budget"].(map[string]any)["text"] != "1/5 in 60 s" || fmt.Sprint(server["dependents"]) != "[app]" {
		t.Errorf("%d %v", status, tree)
	}
	if status, answer := api("DELETE", "/api/mcp_servers/db", ""); status != 409 || !strings.Contains(fmt.Sprint(answer["message"]), "app") {
		t.Errorf("%d %v", status, answer)
	}
	if err := rt.Servers().Delete(t.Context(), "db"); !errors.Is(err, hangar.ErrInUse) {
		t.Errorf("%v", err)
	}
	status, answer := api("POST", "/api/mcp_servers/db/stop", `{"dependents": true}`)
	if status != 200 || fmt.Sprint(answer["stopped_servers"]) != "[app db]" || pid("app") != 0 {
		t.Errorf("%d %v", status, answer)
	}
	status, answer = api("POST", "/api/mcp_servers/db/reset", "")
	if status != 200 || answer["reset"] != true || answer["state"] != "cold" {
		t.Errorf("%d %v", status, answer)
	}
	for body, want := range map[string]string{
		`{"mcp_server_id":"x","mode":"subprocess","command":["x"],"depends_on":["nobody"]}`: "nobody",
		`{"mcp_server_id":"x","mode":"subprocess","command":["x"],"depends_on":["x"]}`:      "itself",
	} {
		if status, answer := api("POST", "/api/mcp_servers", body); status != 422 || !strings.Contains(fmt.Sprint(answer["message"]), want) {
			t.Errorf("%s: %d %v", body, status, answer)
		}
	}
}

// TestMissingProgramsAreNotTriedAgain: whatever cannot be started by trying
// again is told once.
func TestMissingProgramsAreNotTriedAgain(t *testing.T) {
	rt := open(t, hangar.Options{})
	for id, spec := range map[string]hangar.ServerSpec{
		"missing":    {Command: []string{"/nowhere/program"}},
		"directory":  {Command: []string{"/"}},
		"no-program": {Command: []string{"/etc/passwd"}},
		"bad-cwd":    {Command: []string{"/bin/true"}, Dir: "/nowhere"},
	} {
		spec.ID, spec.Restart = id, "permanent"
		create(t, rt, spec)
		var v *hangar.View
		eventually(t, id+" is dead", func() bool { v, _ = rt.Servers().Get(id); return v.State.String() == "dead" })
		if v.Epoch != 1 || !v.NextRetryAt.IsZero() || v.Phase.String() != "" || v.LastError == "" {
			t.Errorf("%s: epoch %d, phase %v, retry at %v, error %q", id, v.Epoch, v.Phase, v.NextRetryAt, v.LastError)
		}
	}
}

func TestDependenciesOfAFile(t *testing.T) {
	text := stubYAML("db", "app") + "    depends_on: [db]\n"
	rt := open(t, hangar.Options{ConfigFile: writeConfig(t, text)})
	echo(t, rt, "app")
	if v, _ := rt.Servers().Get("db"); v.State.String() != "ready" {
		t.Errorf("db is %v", v.State)
	}
	_, err := hangar.New(hangar.Options{ConfigFile: writeConfig(t, strings.Replace(text, "[db]", "[app]", 1))})
	if !errors.Is(err, hangar.ErrConfig) || !strings.Contains(err.Error(), "depends_on names the server itself") {
		t.Errorf("%v", err)
	}
}
