package hangar_test

import (
	"testing"

	"github.com/aabb9013/hangar"
)

// TestHowTheFileIsWatchedIsSaidByTheFile: config_reload applies at the reload that
// brings it, however the file was watched before.
func TestHowTheFileIsWatchedIsSaidByTheFile(t *testing.T) {
	t.Parallel()
	// Where polling is meant, an hour would be too long to wait for.
	const (
		off    = "config_reload: {enabled: false}\n"
		events = "config_reload: {interval_s: 3600}\n"
		polls  = "config_reload: {use_watchdog: false, interval_s: 0.1}\n"
		never  = "config_reload: {use_watchdog: false, interval_s: 3600}\n"
	)
	path := writeConfig(t, off+stubYAML("a"))
	rt := open(t, hangar.Options{ConfigFile: path})
	asked := func(how, id string) {
		t.Helper()
		rewrite(t, path, how+stubYAML(id))
		result, err := rt.Reload(t.Context(), hangar.ReloadOptions{})
		if err != nil || len(result.RestartRequired) > 0 || ids(rt) != id {
			t.Fatalf("%s: %+v, %v, the fleet is %s", how, result, err, ids(rt))
		}
	}
	followed := func(how, id string) {
		t.Helper()
		rewrite(t, path, how+stubYAML(id))
		eventually(t, id+" by itself", func() bool { return ids(rt) == id })
	}
	asked(events, "b")
	followed(polls, "c")
	followed(polls, "d")
	followed(never, "e")
	asked(off, "f")
	asked(polls, "g")
	followed(events, "h")
	followed(off, "i")
}
