package hangar_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/aabb9013/hangar"
)

// dependent is a server of the stub that depends on others.
func dependent(id, on string) string {
	return stubYAML(id)[len("mcp_servers:\n"):] + fmt.Sprintf("    depends_on: [%s]\n", on)
}

// The file may name servers in any order; a reload is as free as a start.
func TestReloadFollowsDependencies(t *testing.T) {
	path := writeConfig(t, quiet+stubYAML("old", "stays"))
	rt := open(t, hangar.Options{ConfigFile: path})
	for _, step := range []struct{ name, text, want string }{
		{"what is depended on comes later in the file",
			quiet + "mcp_servers:\n" + dependent("app", "db") + dependent("db", "disk") + stubYAML("disk", "old", "stays")[len("mcp_servers:\n"):],
			"[disk db app] [] []"},
		{"a server that stays depends on one that comes",
			quiet + "mcp_servers:\n" + dependent("app", "db") + dependent("db", "disk") + stubYAML("disk")[len("mcp_servers:\n"):] +
				dependent("stays", "new") + dependent("new", "old") + stubYAML("old")[len("mcp_servers:\n"):],
			"[new] [] [stays]"},
		{"a server that stays depended on one that goes",
			quiet + "mcp_servers:\n" + dependent("app", "db") + dependent("db", "disk") + stubYAML("disk", "stays")[len("mcp_servers:\n"):],
			"[] [old new] [stays]"},
		{"all go at once", quiet + stubYAML("stays"), "[] [disk db app] []"},
	} {
		rewrite(t, path, step.text)
		result, err := rt.Reload(t.Context(), hangar.ReloadOptions{})
		if err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		if got := fmt.Sprint(result.Added, result.Removed, result.Updated); got != step.want {
			t.Errorf("%s: got %s, want %s", step.name, got, step.want)
		}
	}
}

func TestReloadChangesDependencies(t *testing.T) {
	path := writeConfig(t, quiet+stubYAML("app", "db"))
	rt := open(t, hangar.Options{ConfigFile: path})
	rewrite(t, path, quiet+stubYAML("db")+dependent("app", "db"))
	if _, err := rt.Reload(t.Context(), hangar.ReloadOptions{}); err != nil {
		t.Fatal(err)
	}
	echo(t, rt, "app")
	if v, err := rt.Servers().Get("db"); err != nil || v.State.String() != "ready" {
		t.Errorf("db is %v, %v; app depends on it and runs", v.State, err)
	}
	if err := rt.Servers().Delete(t.Context(), "db"); !errors.Is(err, hangar.ErrInUse) {
		t.Errorf("delete of what app depends on since the reload: %v", err)
	}
}

// A permanent server starts as it comes: what it needs must be there before.
func TestReloadAddsAPermanentServerBehindWhatItNeeds(t *testing.T) {
	path := writeConfig(t, quiet+stubYAML("stays"))
	rt := open(t, hangar.Options{ConfigFile: path})
	rewrite(t, path, quiet+"mcp_servers:\n"+dependent("app", "db")+"    restart: permanent\n"+stubYAML("db", "stays")[len("mcp_servers:\n"):])
	if _, err := rt.Reload(t.Context(), hangar.ReloadOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the permanent server runs", func() bool {
		v, err := rt.Servers().Get("app")
		return err == nil && v.State.String() == "ready"
	})
	if v, _ := rt.Servers().Get("app"); v.TotalFailures != 0 || v.Epoch != 1 {
		t.Errorf("it failed %d times before, epoch %d", v.TotalFailures, v.Epoch)
	}
}
