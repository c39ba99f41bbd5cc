package hangar_test

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aabb9013/hangar"
)

// A reload that cannot have all the ids it wants changes nothing.
func TestReloadWantsTheIdOfAnotherKind(t *testing.T) {
	path := writeConfig(t, quiet+stubYAML("a"))
	rt := open(t, hangar.Options{ConfigFile: path})
	create(t, rt, stub("made"))
	if err := rt.Groups().Create(t.Context(), hangar.GroupSpec{ID: "pool"}); err != nil {
		t.Fatal(err)
	}
	for id, text := range map[string]string{
		"pool": stubYAML("a", "new", "pool"),
		"made": stubYAML("a", "new") + "  made: {mode: group, members: [{id: a}]}\n",
	} {
		rewrite(t, path, quiet+text)
		result, err := rt.Reload(t.Context(), hangar.ReloadOptions{})
		if !errors.Is(err, hangar.ErrConfig) || !strings.Contains(err.Error(), fmt.Sprintf("%q", id)) {
			t.Errorf("%s: %v", id, err)
		}
		if ids(rt) != "a made" || len(result.Added) != 0 || len(rt.Groups().List()) != 1 {
			t.Errorf("%s: changed nevertheless: %s, %+v", id, ids(rt), result)
		}
	}
}

// Whoever asks for a backup over HTTP does not know our working directory.
func TestBackupIsNamedFromTheRoot(t *testing.T) {
	t.Chdir(filepath.Dir(writeConfig(t, quiet+stubYAML("a"))))
	files, err := filepath.Glob("*")
	if err != nil || len(files) != 1 {
		t.Fatal(files, err)
	}
	rt := open(t, hangar.Options{ConfigFile: files[0]})
	path, err := rt.BackupConfig()
	if err != nil || !filepath.IsAbs(path) {
		t.Errorf("%q, %v", path, err)
	}
}

// What a reload undoes of the API's changes it tells: nobody's change goes in
// silence, and what the file itself changed is no news.
func TestReloadTellsWhatItUndoes(t *testing.T) {
	pool := func(strategy string) string {
		return "  pool: {mode: group, auto_start: false, strategy: " + strategy + ", members: [{id: a}]}\n"
	}
	path := writeConfig(t, quiet+stubYAML("a", "b", "c")+pool("random"))
	rt := open(t, hangar.Options{ConfigFile: path})
	ctx := t.Context()
	reload := func(text string) string {
		t.Helper()
		rewrite(t, path, text)
		result, err := rt.Reload(ctx, hangar.ReloadOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return strings.Join(result.Warnings, "\n")
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	if told := reload(quiet + stubYAML("a", "b", "c", "d") + pool("priority")); told != "" {
		t.Errorf("nothing was undone, told is: %s", told)
	}
	text := "of the API"
	must(rt.Servers().Update(ctx, "b", hangar.Patch{Description: &text}))
	must(rt.Servers().Delete(ctx, "c"))
	must(rt.Groups().AddMember(ctx, "pool", hangar.GroupMember{ID: "b"}))
	told := reload(quiet + stubYAML("a", "b", "c", "d", "e") + pool("priority"))
	for _, want := range []string{`server "c" was deleted`, `server "b" was changed (description)`, `group "pool" was changed`} {
		if !strings.Contains(told, want) {
			t.Errorf("%q is not told: %s", want, told)
		}
	}
	if n := strings.Count(told, "\n") + 1; n != 3 {
		t.Errorf("%d warnings: %s", n, told)
	}
	if g, err := rt.Groups().Get("pool"); err != nil || len(g.Members) != 1 {
		t.Errorf("%+v, %v", g, err)
	}
	must(rt.Groups().Delete(ctx, "pool"))
	if told := reload(quiet + stubYAML("a", "b", "c", "d", "e") + pool("priority")); !strings.Contains(told, `group "pool" was deleted`) {
		t.Errorf("told: %s", told)
	}
	// Deleted there and here, and changed to the same: nothing is undone.
	must(rt.Servers().Delete(ctx, "e"))
	if told := reload(quiet + stubYAML("a", "b", "c", "d") + pool("priority")); told != "" {
		t.Errorf("told: %s", told)
	}
}

// What a server of the API depends on, no file takes away: an export of what is left
// could not be loaded.
func TestReloadTakesNothingAwayThatOthersDependOn(t *testing.T) {
	path := writeConfig(t, quiet+stubYAML("a", "b"))
	rt := open(t, hangar.Options{ConfigFile: path})
	made := stub("made")
	made.DependsOn = []string{"a"}
	create(t, rt, made)
	rewrite(t, path, quiet+stubYAML("b", "c"))
	if _, err := rt.Reload(t.Context(), hangar.ReloadOptions{}); !errors.Is(err, hangar.ErrConfig) || !strings.Contains(err.Error(), `"made"`) || ids(rt) != "a b made" {
		t.Errorf("%v, servers %s", err, ids(rt))
	}
	// A file that has the server takes it over, with what it depends on.
	rewrite(t, path, quiet+stubYAML("b", "made"))
	if _, err := rt.Reload(t.Context(), hangar.ReloadOptions{}); err != nil || ids(rt) != "b made" {
		t.Errorf("%v, servers %s", err, ids(rt))
	}
}

// A group of the API loses a member with the file's server: that is told.
func TestReloadTellsWhoLosesAMember(t *testing.T) {
	path := writeConfig(t, quiet+stubYAML("a", "b"))
	rt := open(t, hangar.Options{ConfigFile: path})
	if err := rt.Groups().Create(t.Context(), hangar.GroupSpec{ID: "pool", Members: []hangar.GroupMember{{ID: "a"}, {ID: "b"}}}); err != nil {
		t.Fatal(err)
	}
	rewrite(t, path, quiet+stubYAML("b"))
	result, err := rt.Reload(t.Context(), hangar.ReloadOptions{})
	if err != nil || len(result.Warnings) != 1 || !strings.Contains(result.Warnings[0], `group "pool", made by the API, loses its member "a"`) {
		t.Errorf("%v, %v", result.Warnings, err)
	}
	eventually(t, "the group without it", func() bool {
		g, err := rt.Groups().Get("pool")
		return err == nil && len(g.Members) == 1
	})
}
