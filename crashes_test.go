package hangar_test

import (
	"encoding/json"
	"syscall"
	"testing"

	"github.com/aabb9013/hangar"
	"github.com/aabb9013/hangar/supervisor"
)

func TestCrashDossiersSurviveARestart(t *testing.T) {
	dir := t.TempDir()
	rt := open(t, hangar.Options{DataDir: dir})
	create(t, rt, stub("s"))
	echo(t, rt, "s")
	v, err := rt.Servers().Get("s")
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(v.PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	await(t, rt, "s", "restarted", func(now *hangar.View) bool { return now.Epoch > v.Epoch && now.State == supervisor.Ready })
	shut(t, rt)
	rt = open(t, hangar.Options{DataDir: dir})
	all, err := rt.Servers().Crashes(t.Context(), "s", 10)
	if err != nil || len(all) != 1 {
		t.Fatalf("%d dossiers, %v", len(all), err)
	}
	d := all[0]
	if d.Kind != supervisor.DossierCrash || d.Signal == nil || *d.Signal != "SIGKILL" || d.PID != v.PID || d.Decision.Action != supervisor.DecisionRestart {
		t.Errorf("got %+v", d)
	}
	var answer struct {
		Crashes []struct {
			ID string `json:"crash_id"`
		}
	}
	body := serve(t, rt).send("GET", "/api/mcp_servers/s/crashes?limit=5", "")
	if err := json.Unmarshal([]byte(body), &answer); err != nil || len(answer.Crashes) != 1 || answer.Crashes[0].ID != d.ID {
		t.Errorf("REST answers %s, %v", body, err)
	}
}
