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
