package hangar_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/aabb9013/hangar"
)

// recorder is a log that tests look into.
type recorder struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (r *recorder) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.Write(p)
}

func (r *recorder) count(text string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.Count(r.text.String(), text)
}

// quiet turns the watcher off.
const quiet = "config_reload: {enabled: false}\n"

// rewrite replaces a file as editors do.
func rewrite(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

func pidOf(t *testing.T, rt *hangar.Runtime, id string) int {
	t.Helper()
	v, err := rt.Servers().Get(id)
	if err != nil {
		t.Fatal(err)
	}
	return v.PID
}

func TestReloadChangesWhatChangedAndNothingElse(t *testing.T) {
	log := &recorder{}
	path := writeConfig(t, quiet+stubYAML("same", "gone", "live", "changed"))
	rt := open(t, hangar.Options{ConfigFile: path, Logger: slog.New(slog.NewTextHandler(log, nil))})
	create(t, rt, stub("made"))
	for _, id := range []string{"same", "gone", "live", "changed", "made"} {
		echo(t, rt, id)
	}
	pids := map[string]int{"same": pidOf(t, rt, "same"), "live": pidOf(t, rt, "live"), "made": pidOf(t, rt, "made")}
	old := pidOf(t, rt, "changed")
	text := stubYAML("same", "live", "changed", "new")
	text = strings.Replace(text, "  live:\n", "  live:\n    idle_ttl_s: 77\n", 1)
	text = strings.Replace(text, "  changed:\n", "  changed:\n    cwd: /\n", 1)
	rewrite(t, path, quiet+"logging: {level: ERROR}\n"+text)
	result, err := rt.Reload(t.Context(), hangar.ReloadOptions{RequestedBy: "test"})
	if err != nil {
		t.Fatal(err)
	}
	got := fmt.Sprint(result.Added, result.Removed, result.Updated, result.Unchanged, result.RestartRequired)
	if want := "[new] [gone] [live changed] [same] [logging.level]"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	// The contract's fields of the events, as the log shows them.
	for _, want := range []string{
		"ConfigurationReloadRequested", "requested_by:test", "config_path:" + path, "force:false", "ConfigurationReloaded", "reload_duration_ms:",
		"mcp_servers_added:[new]", "mcp_servers_removed:[gone]", "mcp_servers_updated:[live changed]", "mcp_servers_unchanged:[same]",
	} {
		if log.count(want) == 0 {
			t.Errorf("no event tells %s", want)
		}
	}
	if got := ids(rt); got != "same live changed made new" {
		t.Errorf("servers %s", got)
	}
	for id, pid := range pids {
		if now := pidOf(t, rt, id); now != pid {
			t.Errorf("%s has pid %d, had %d", id, now, pid)
		}
	}
	if v, _ := rt.Servers().Get("live"); v.Spec.IdleTTL != 77*time.Second {
		t.Errorf("idle TTL %s", v.Spec.IdleTTL)
	}
	if v, _ := rt.Servers().Get("changed"); v.PID != 0 || v.State.String() != "cold" {
		t.Errorf("changed is %v with pid %d", v.State, v.PID)
	}
	if err := syscall.Kill(old, 0); err == nil {
		t.Errorf("the old process %d lives", old)
	}
	for _, id := range []string{"same", "live", "changed", "made", "new"} {
		echo(t, rt, id)
	}
	again, err := rt.Reload(t.Context(), hangar.ReloadOptions{})
	if err != nil || len(again.Unchanged) != 4 || len(again.Updated)+len(again.Added)+len(again.Removed) != 0 || !slices.Equal(again.RestartRequired, result.RestartRequired) {
		t.Errorf("again: %+v, %v", again, err)
	}
	if diff, err := rt.DiffConfig(); err != nil || !strings.Contains(diff, "made") || !strings.Contains(diff, "level: ERROR") {
		t.Errorf("%v\n%s", err, diff)
	}
}

func TestKeysBesideTheServersApplyInPlaceOrWaitForARestart(t *testing.T) {
	first := "logging: {level: INFO}\n" + quiet + stubYAML("a")
	path := writeConfig(t, first)
	var level string
	rt := open(t, hangar.Options{ConfigFile: path, SetLogLevel: func(l string) { level = l }})
	second := "logging: {level: DEBUG, json_format: true}\nexecution: {max_concurrency: 7, default_mcp_server_concurrency: 3, max_parallel_starts: 1}\n" +
		"config_reload: {enabled: false, interval_s: 9}\n" + stubYAML("a")
	for _, c := range []struct{ text, level, waits string }{
		{second, "DEBUG", "[logging.json_format]"},
		{first, "INFO", "[]"},
	} {
		rewrite(t, path, c.text)
		result, err := rt.Reload(t.Context(), hangar.ReloadOptions{})
		if err != nil || level != c.level || fmt.Sprint(result.RestartRequired) != c.waits {
			t.Errorf("%v, level %s, waiting %v, want %+v", err, level, result.RestartRequired, c)
		}
		diff, err := rt.DiffConfig()
		if err != nil || strings.Contains(diff, "-  max_") || strings.Contains(diff, "-  level") || (diff == "") != (c.waits == "[]") {
			t.Errorf("%v\n%s", err, diff)
		}
	}
	echo(t, rt, "a")
}

// TestRefusedReloadChangesNothing is E12: the table of bad files.
func TestRefusedReloadChangesNothing(t *testing.T) {
	log := &recorder{}
	path := writeConfig(t, quiet+stubYAML("a"))
	rt := open(t, hangar.Options{ConfigFile: path, Logger: slog.New(slog.NewTextHandler(log, nil))})
	echo(t, rt, "a")
	pid := pidOf(t, rt, "a")
	bomb := "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n"
	for i := 1; i < 12; i++ {
		bomb += fmt.Sprintf("a%d: &a%d [%s*a%d]\n", i, i, strings.Repeat(fmt.Sprintf("*a%d,", i-1), 9), i-1)
	}
	for name, c := range map[string]struct{ text, want string }{
		"syntax":        {"mcp_servers: {a: {command: [x}", "fleet.yaml:1"},
		"duplicate":     {"mcp_servers:\n  a: {command: [x]}\n  a: {command: [y]}\n", "fleet.yaml:3:3"},
		"wrong type":    {"mcp_servers:\n  a: {command: 3}\n", "fleet.yaml:2:16"},
		"environment":   {"mcp_servers:\n  a: {command: [x], env: {T: '${HANGAR_NO_SUCH_VARIABLE}'}}\n", "HANGAR_NO_SUCH_VARIABLE is not set"},
		"bomb":          {bomb, "aliases"},
		"depth":         {"a: " + strings.Repeat("[", 100) + strings.Repeat("]", 100), "deeper"},
		"huge":          {strings.Repeat("#", 2<<20), "larger than"},
		"empty":         {"", "empty"},
		"not built":     {"mcp_servers:\n  a: {command: [x]}\napprovals: {enabled: true}\n", "not built"},
		"partly broken": {stubYAML("b") + "  c: {mode: subprocess}\n", "command is required"},
	} {
		before := log.count("ConfigurationReloadFailed")
		rewrite(t, path, c.text)
		result, err := rt.Reload(t.Context(), hangar.ReloadOptions{RequestedBy: "test"})
		if !errors.Is(err, hangar.ErrConfig) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
		if result == nil || len(result.Added)+len(result.Removed)+len(result.Updated) != 0 {
			t.Errorf("%s: got %+v", name, result)
		}
		if n := log.count("ConfigurationReloadFailed") - before; n != 1 {
			t.Errorf("%s: %d events of the failure, want 1", name, n)
		}
		if ids(rt) != "a" || pidOf(t, rt, "a") != pid {
			t.Errorf("%s: the fleet changed: %s", name, ids(rt))
		}
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if _, err := rt.Reload(t.Context(), hangar.ReloadOptions{}); !errors.Is(err, hangar.ErrConfig) || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing file: %v", err)
	}
	echo(t, rt, "a")
}

func TestReloadOfAnotherFileStaysInItsDirectory(t *testing.T) {
	path := writeConfig(t, quiet+stubYAML("a"))
	dir := filepath.Dir(path)
	outside := writeConfig(t, quiet+stubYAML("outside"))
	for name, text := range map[string]string{"other.yaml": quiet + stubYAML("b"), "fine": quiet + stubYAML("c")} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for link, to := range map[string]string{"inside": "other.yaml", "escape": outside, "environ": "/proc/self/environ"} {
		if err := os.Symlink(to, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	rt := open(t, hangar.Options{ConfigFile: path})
	for _, bad := range []string{
		outside, "../" + filepath.Base(filepath.Dir(outside)) + "/fleet.yaml", "escape", "environ", "/proc/self/environ",
		"fine\x00", "missing", ".", "/", "a/../../x",
	} {
		if _, err := rt.Reload(t.Context(), hangar.ReloadOptions{Path: bad}); !errors.Is(err, hangar.ErrConfig) {
			t.Errorf("%q: %v", bad, err)
		}
		if ids(rt) != "a" {
			t.Fatalf("%q: servers %s", bad, ids(rt))
		}
	}
	for _, c := range [][2]string{{"other.yaml", "b"}, {filepath.Join(dir, "fine"), "c"}, {"./inside", "b"}, {"", "a"}} {
		if _, err := rt.Reload(t.Context(), hangar.ReloadOptions{Path: c[0]}); err != nil || ids(rt) != c[1] {
			t.Errorf("%q: %v, servers %s", c[0], err, ids(rt))
		}
	}
}

func TestChangedFileIsApplied(t *testing.T) {
	for _, how := range []string{"", "config_reload: {use_watchdog: false, interval_s: 0.1}\n"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			log := &recorder{}
			path := writeConfig(t, how+stubYAML("a"))
			rt := open(t, hangar.Options{ConfigFile: path, Logger: slog.New(slog.NewTextHandler(log, nil))})
			rewrite(t, path, how+stubYAML("a", "b"))
			eventually(t, "b after a rename", func() bool { return ids(rt) == "a b" })
			if err := os.WriteFile(path, []byte(how+stubYAML("c")), 0o600); err != nil {
				t.Fatal(err)
			}
			eventually(t, "c after a write", func() bool { return ids(rt) == "c" })
			rewrite(t, path, "nonsense: [")
			eventually(t, "a refusal", func() bool { return log.count("ConfigurationReloadFailed") > 0 })
			rewrite(t, path, how+stubYAML("d"))
			eventually(t, "d after the mistake", func() bool { return ids(rt) == "d" })
		})
	}
}

// TestSwappedLinkIsApplied does what Kubernetes does with a mounted ConfigMap:
// fleet.yaml → ..data/fleet.yaml, ..data → a directory, replaced by rename.
func TestSwappedLinkIsApplied(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	version := func(n int, text string) {
		name := fmt.Sprintf("..v%d", n)
		link := filepath.Join(dir, "..data_tmp")
		err := errors.Join(
			os.Mkdir(filepath.Join(dir, name), 0o700),
			os.WriteFile(filepath.Join(dir, name, "fleet.yaml"), []byte(text), 0o600),
			os.Symlink(name, link), os.Rename(link, filepath.Join(dir, "..data")),
		)
		if err != nil {
			t.Fatal(err)
		}
	}
	version(1, stubYAML("a"))
	path := filepath.Join(dir, "fleet.yaml")
	if err := os.Symlink("..data/fleet.yaml", path); err != nil {
		t.Fatal(err)
	}
	rt := open(t, hangar.Options{ConfigFile: path})
	for n, id := range []string{"b", "c"} {
		version(n+2, stubYAML(id))
		eventually(t, id, func() bool { return ids(rt) == id })
	}
}

func TestExportedConfigurationMakesTheSameFleet(t *testing.T) {
	path := writeConfig(t, quiet+stubYAML("a", "b"))
	rt := open(t, hangar.Options{ConfigFile: path})
	create(t, rt, stub("made"))
	text, variables, err := rt.ExportConfig()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range variables {
		t.Setenv(name, "1") // the stub's only variable
	}
	other := open(t, hangar.Options{ConfigFile: writeConfig(t, text)})
	if ids(other) != "a b made" {
		t.Fatalf("servers %s of\n%s", ids(other), text)
	}
	for _, id := range []string{"a", "made"} {
		echo(t, other, id)
	}
	again, _, err := other.ExportConfig()
	if err != nil || again != text {
		t.Errorf("%v\n%s\nis not\n%s", err, again, text)
	}
	if diff, err := other.DiffConfig(); err != nil || diff != "" {
		t.Errorf("%v\n%s", err, diff)
	}
}

func TestBackupsRotate(t *testing.T) {
	path := writeConfig(t, quiet+stubYAML("a"))
	rt := open(t, hangar.Options{ConfigFile: path})
	// What a killed process has left, readable by all.
	if err := os.WriteFile(path+".bak.tmp", []byte("half a ba"), 0o644); err != nil {
		t.Fatal(err)
	}
	var texts []string
	for i := range 7 {
		create(t, rt, stub(fmt.Sprint("made", i)))
		name, err := rt.BackupConfig()
		if err != nil || name != path+".bak1" {
			t.Fatalf("%q, %v", name, err)
		}
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		texts = append(texts, string(data))
	}
	for i := 1; i <= 5; i++ {
		name := fmt.Sprintf("%s.bak%d", path, i)
		data, err := os.ReadFile(name)
		if err != nil || string(data) != texts[len(texts)-i] {
			t.Errorf("%s: %v, not the backup of %d before the last", name, err, i-1)
		}
		if info, err := os.Stat(name); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(entries) != 6 {
		t.Errorf("%v, %v; want the file and 5 backups", entries, err)
	}
	if !strings.Contains(texts[6], "__snapshot__:") || !strings.Contains(texts[6], "mcp_server_count: 8") {
		t.Errorf("got\n%s", texts[6])
	}
	t.Setenv("A_HANGAR_TESTSERVER", "1")
	for i := range 7 {
		t.Setenv(fmt.Sprintf("MADE%d_HANGAR_TESTSERVER", i), "1")
	}
	if _, err := rt.Reload(t.Context(), hangar.ReloadOptions{Path: path + ".bak1"}); err != nil {
		t.Errorf("the backup does not load: %v", err)
	}
	if err := os.RemoveAll(filepath.Dir(path)); err != nil {
		t.Fatal(err)
	}
	if _, err := rt.BackupConfig(); !errors.Is(err, hangar.ErrNoBackup) || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("without a directory: %v", err)
	}
	none := open(t, hangar.Options{})
	if _, err := none.BackupConfig(); !errors.Is(err, hangar.ErrConfig) {
		t.Errorf("without a file: %v", err)
	}
	if _, err := none.Reload(t.Context(), hangar.ReloadOptions{}); !errors.Is(err, hangar.ErrConfig) {
		t.Errorf("reload without a file: %v", err)
	}
}

func TestReloadsAreOneAfterTheOtherAndEndWithTheRuntime(t *testing.T) {
	path := writeConfig(t, quiet+stubYAML("a"))
	rt := open(t, hangar.Options{ConfigFile: path})
	var all sync.WaitGroup
	for i := range 20 {
		all.Go(func() {
			if i == 10 {
				create(t, rt, stub("made"))
			}
			if _, err := rt.Reload(context.Background(), hangar.ReloadOptions{}); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if ids(rt) != "a made" {
		t.Errorf("servers %s", ids(rt))
	}
	shut(t, rt)
	if _, err := rt.Reload(context.Background(), hangar.ReloadOptions{}); !errors.Is(err, hangar.ErrClosing) {
		t.Errorf("after Close: %v", err)
	}
}

// TestReloadChangesGroupsInPlace: groups follow the file, those of the API
// stay, and a change of a group costs no member its process.
func TestReloadChangesGroupsInPlace(t *testing.T) {
	group := func(id string, members ...string) string {
		return fmt.Sprintf("  %s: {mode: group, min_healthy: %d, members: [%s]}\n", id, len(members), strings.Join(members, ", "))
	}
	inside := strings.ReplaceAll(strings.TrimSpace(strings.SplitN(stubYAML("x"), "mode: subprocess\n", 2)[1]), "\n    ", ", ")
	path := writeConfig(t, quiet+stubYAML("a", "b")+group("g", "{id: a}", "{id: inside, "+inside+"}")+group("gone", "{id: b}"))
	rt := open(t, hangar.Options{ConfigFile: path})
	if err := rt.Groups().Create(t.Context(), hangar.GroupSpec{ID: "made"}); err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"a", "b", "inside", "g"} {
		echo(t, rt, id)
	}
	pid := pidOf(t, rt, "a")
	rewrite(t, path, quiet+stubYAML("a", "b")+group("g", "{id: a}", "{id: b}")+group("new", "{id: b}"))
	result, err := rt.Reload(t.Context(), hangar.ReloadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(result.Added, result.Removed, result.Updated, result.Unchanged); got != "[new] [gone inside] [g] [a b]" {
		t.Errorf("got %s", got)
	}
	var groups []string
	for _, g := range rt.Groups().List() {
		members := []string{}
		for _, m := range g.Spec.Members {
			members = append(members, m.ID)
		}
		groups = append(groups, fmt.Sprint(g.Spec.ID, members))
	}
	if got := fmt.Sprint(groups); got != "[g[a b] made[] new[b]]" || ids(rt) != "a b" || pidOf(t, rt, "a") != pid {
		t.Errorf("groups %s, servers %s", got, ids(rt))
	}
	if again, err := rt.Reload(t.Context(), hangar.ReloadOptions{}); err != nil || fmt.Sprint(again.Added, again.Removed, again.Updated, again.Unchanged) != "[] [] [] [a b g new]" {
		t.Errorf("again: %+v, %v", again, err)
	}
	if text, _, err := rt.ExportConfig(); err != nil || !strings.Contains(text, "\n  made:\n    auto_start: false\n    mode: group\n") {
		t.Errorf("%v\n%s", err, text)
	}
	echo(t, rt, "new")
}
