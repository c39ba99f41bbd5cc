package hangar_test

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/aabb9013/hangar"
)

// noPolling is what a watcher says before it falls back to polling.
const noPolling = "is polled"

// TestFileIsFollowedHoweverItIsReplaced: whatever turns the way to the file is
// seen, by its events and not by polling.
func TestFileIsFollowedHoweverItIsReplaced(t *testing.T) {
	write := func(path, text string) error {
		return errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(text), 0o600))
	}
	// swap points a link to somewhere else, in one step.
	swap := func(link, to string) error {
		return errors.Join(os.Symlink(to, link+".new"), os.Rename(link+".new", link))
	}
	for name, c := range map[string]struct {
		path  string // of the file, in the directory
		first func(dir, text string) error
		then  func(dir, text string) error
	}{
		"a link of a directory": {
			path: "current/fleet.yaml",
			first: func(dir, text string) error {
				return errors.Join(write(dir+"/v1/fleet.yaml", text), swap(dir+"/current", "v1"))
			},
			then: func(dir, text string) error {
				return errors.Join(write(dir+"/v2/fleet.yaml", text), swap(dir+"/current", "v2"))
			},
		},
		"a link further up": {
			path: "current/etc/fleet.yaml",
			first: func(dir, text string) error {
				return errors.Join(write(dir+"/v1/etc/fleet.yaml", text), swap(dir+"/current", dir+"/v1"))
			},
			then: func(dir, text string) error {
				return errors.Join(write(dir+"/v2/etc/fleet.yaml", text), swap(dir+"/current", dir+"/v2"))
			},
		},
		"a link in the middle of links": {
			path: "fleet.yaml",
			first: func(dir, text string) error {
				return errors.Join(write(dir+"/v1/fleet.yaml", text), os.Mkdir(dir+"/links", 0o700),
					swap(dir+"/links/now.yaml", "../v1/fleet.yaml"), swap(dir+"/fleet.yaml", "links/now.yaml"))
			},
			then: func(dir, text string) error {
				return errors.Join(write(dir+"/v2/fleet.yaml", text), swap(dir+"/links/now.yaml", "../v2/fleet.yaml"))
			},
		},
		"a directory": {
			path:  "conf/fleet.yaml",
			first: func(dir, text string) error { return write(dir+"/conf/fleet.yaml", text) },
			then: func(dir, text string) error {
				return errors.Join(write(dir+"/new/fleet.yaml", text), os.Rename(dir+"/conf", dir+"/old"), os.Rename(dir+"/new", dir+"/conf"))
			},
		},
		"removed and made again": {
			path:  "conf/fleet.yaml",
			first: func(dir, text string) error { return write(dir+"/conf/fleet.yaml", text) },
			then: func(dir, text string) error {
				return errors.Join(os.RemoveAll(dir+"/conf"), write(dir+"/conf/fleet.yaml", text))
			},
		},
		"as vim does it": {
			path:  "fleet.yaml",
			first: func(dir, text string) error { return write(dir+"/fleet.yaml", text) },
			then: func(dir, text string) error {
				return errors.Join(write(dir+"/.fleet.yaml.swp", "swap"), write(dir+"/4913", ""), os.Remove(dir+"/4913"),
					os.Rename(dir+"/fleet.yaml", dir+"/fleet.yaml~"), write(dir+"/fleet.yaml", text), os.Remove(dir+"/fleet.yaml~"))
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir, log := t.TempDir(), &recorder{}
			// Polling would need an hour.
			const how = "config_reload: {interval_s: 3600}\n"
			if err := c.first(dir, how+stubYAML("a")); err != nil {
				t.Fatal(err)
			}
			rt := open(t, hangar.Options{ConfigFile: filepath.Join(dir, c.path), Logger: slog.New(slog.NewTextHandler(log, nil))})
			path := filepath.Join(dir, c.path)
			// The first look comes without any sign, this is it at the latest.
			if err := write(path, how+stubYAML("b")); err != nil { // in place: a rename would replace a link
				t.Fatal(err)
			}
			eventually(t, "b", func() bool { return ids(rt) == "b" })
			if err := c.then(dir, how+stubYAML("c")); err != nil {
				t.Fatal(err)
			}
			eventually(t, "c", func() bool { return ids(rt) == "c" })
			// What it leads to now is followed, too.
			rewrite(t, path, how+stubYAML("d"))
			eventually(t, "d", func() bool { return ids(rt) == "d" })
			if log.count(noPolling) > 0 {
				t.Error("the file is polled")
			}
		})
	}
}

// A change that somebody else has applied, and that was taken back before the
// watch looked, is taken back in the fleet, too.
func TestFileThatWasPutBackIsSeen(t *testing.T) {
	const how = "config_reload: {interval_s: 3600}\n"
	path := writeConfig(t, how+stubYAML("a"))
	rt := open(t, hangar.Options{ConfigFile: path})
	rewrite(t, path, how+stubYAML("b"))
	if _, err := rt.Reload(t.Context(), hangar.ReloadOptions{}); err != nil || ids(rt) != "b" {
		t.Fatalf("%v, servers %s", err, ids(rt))
	}
	rewrite(t, path, how+stubYAML("a"))
	eventually(t, "a", func() bool { return ids(rt) == "a" })
}

// A change that came while the state took no writes is applied when it does again,
// though the file gives no sign any more.
func TestFileThatChangedOnAFullVolumeIsAppliedLater(t *testing.T) {
	for name, how := range map[string]string{
		"events": "config_reload: {interval_s: 3600}\n", "polling": "config_reload: {use_watchdog: false, interval_s: 0.1}\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			volume, log := t.TempDir(), &recorder{}
			if err := unix.Mount("tmpfs", volume, "tmpfs", 0, "size=64m"); err != nil {
				t.Skip(err)
			}
			t.Cleanup(func() { _ = unix.Unmount(volume, unix.MNT_DETACH) })
			path := writeConfig(t, how+stubYAML("a"))
			rt := open(t, hangar.Options{
				ConfigFile: path, DataDir: filepath.Join(volume, "data"), Logger: slog.New(slog.NewTextHandler(log, nil)),
			})
			fill := filepath.Join(volume, "fill")
			if err := os.WriteFile(fill, make([]byte, 64<<20), 0o600); !errors.Is(err, unix.ENOSPC) {
				t.Fatal(err)
			}
			rewrite(t, path, how+stubYAML("b"))
			eventually(t, "refused", func() bool { return log.count("msg=ConfigurationReloadFailed") > 0 })
			if ids(rt) != "a" {
				t.Errorf("servers %s", ids(rt))
			}
			if err := os.Remove(fill); err != nil {
				t.Fatal(err)
			}
			eventually(t, "b", func() bool { return ids(rt) == "b" })
		})
	}
}
