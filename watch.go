package hangar

import (
	"context"
	"crypto/sha256"
	"errors"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/aabb9013/hangar/internal/config"
)

const (
	// settleTime lets whoever writes the file finish: a reload comes this long
	// after the last sign of a change.
	settleTime = time.Second
	// maxSettleTime is when one comes although the signs go on.
	maxSettleTime = 5 * time.Second
)

// watch reloads the configuration file whenever its content changes, until
// Close begins.
func (rt *Runtime) watch(how config.ConfigReload) {
	if rt.opts.ConfigFile == "" || !how.Enabled {
		return
	}
	w := &fileWatch{rt: rt, path: rt.opts.ConfigFile, interval: how.Interval, seen: rt.cfg.Digest}
	rt.watches.Go(func() {
		if how.UseWatchdog && w.byEvents() {
			return
		}
		w.byPolling()
	})
}

// fileWatch follows one file through writes, renames over it, and swaps of
// symbolic links on the way to it.
type fileWatch struct {
	rt       *Runtime
	path     string
	interval time.Duration
	seen     [sha256.Size]byte // digest of the content that was looked at last
}

// byEvents follows the directories of the file. It returns false if that is
// not possible, or not any more.
func (w *fileWatch) byEvents() bool {
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		w.rt.logger.Warn("the configuration file is polled, its directory cannot be watched", "err", err)
		return false
	}
	defer watcher.Close()
	if err := w.follow(watcher); err != nil {
		w.rt.logger.Warn("the configuration file is polled, its directory cannot be watched", "err", err)
		return false
	}
	// The first look is for what changed before the directory was watched.
	settle := time.NewTimer(settleTime)
	defer settle.Stop()
	var first time.Time // of the signs not yet acted on
	for {
		select {
		case <-w.rt.closing:
			return true
		case event, ok := <-watcher.Events:
			switch {
			case !ok || w.lost(event):
				return false
			case !w.concerns(event):
			case first.IsZero():
				first = time.Now()
				settle.Reset(settleTime)
			default:
				settle.Reset(min(settleTime, max(0, maxSettleTime-time.Since(first))))
			}
		case err, ok := <-watcher.Errors:
			if !ok {
				return false
			}
			// An overflow: whatever it was about, the content tells.
			w.rt.logger.Warn("watching the configuration file", "err", err)
			first = time.Now()
			settle.Reset(settleTime)
		case <-settle.C:
			first = time.Time{}
			w.look()
			if err := w.follow(watcher); err != nil {
				w.rt.logger.Warn("the configuration file is polled, its directory cannot be watched", "err", err)
				return false
			}
		}
	}
}

// follow watches the directory of the name and that of the file it leads to;
// a link's target can change after every swap.
func (w *fileWatch) follow(watcher *fsnotify.Watcher) error {
	dirs := []string{filepath.Dir(w.path)}
	if target, err := filepath.EvalSymlinks(w.path); err == nil && filepath.Dir(target) != dirs[0] {
		dirs = append(dirs, filepath.Dir(target))
	}
	var err error
	for _, dir := range dirs {
		err = errors.Join(err, watcher.Add(dir)) // known ones stay
	}
	return err
}

// concerns tells the file and the links on the way to it from its neighbours:
// a log beside the file must not put off a reload for ever.
func (w *fileWatch) concerns(event fsnotify.Event) bool {
	name := filepath.Base(event.Name)
	if name == filepath.Base(w.path) || name == "..data" { // the link that Kubernetes swaps
		return true
	}
	target, err := filepath.EvalSymlinks(w.path)
	return err != nil || name == filepath.Base(target)
}

// lost reports that the directory of the file is gone.
func (w *fileWatch) lost(event fsnotify.Event) bool {
	return event.Has(fsnotify.Remove|fsnotify.Rename) && filepath.Clean(event.Name) == filepath.Clean(filepath.Dir(w.path))
}

func (w *fileWatch) byPolling() {
	tick := time.NewTicker(w.interval)
	defer tick.Stop()
	for {
		select {
		case <-w.rt.closing:
			return
		case <-tick.C:
			w.look()
		}
	}
}

// look reloads if the content is another than last time. A file that is away
// for a moment, or for good, changes nothing: what runs goes on.
func (w *fileWatch) look() {
	data, err := config.ReadFile(w.path)
	if err != nil {
		return
	}
	digest := sha256.Sum256(data)
	if digest == w.seen {
		return
	}
	w.seen = digest
	ctx, cancel := until(context.Background(), w.rt.closing)
	defer cancel()
	// How it went is an event, and in the log.
	_, _ = w.rt.Reload(ctx, ReloadOptions{RequestedBy: "file_watcher"})
}
