package hangar

import (
	"context"
	"crypto/sha256"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
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

// watch reloads the configuration file whenever its content changes, as its own
// section config_reload says, until Close begins.
func (rt *Runtime) watch(how config.ConfigReload) {
	if rt.opts.ConfigFile == "" {
		return
	}
	w := &fileWatch{rt: rt, path: rt.opts.ConfigFile, how: how, seen: rt.cfg.Digest}
	rt.watches.Go(w.run)
}

// watchAs tells the watch of the file what config_reload says now; a word that
// it has not heard yet is replaced. Only the reload at hand may call it.
func (rt *Runtime) watchAs(how config.ConfigReload) {
	select {
	case <-rt.rewatch:
	default:
	}
	rt.rewatch <- how
}

// fileWatch follows one file through writes, renames over it, and swaps of
// symbolic links on the way to it.
type fileWatch struct {
	rt    *Runtime
	path  string
	how   config.ConfigReload
	seen  [sha256.Size]byte // digest of the content that was looked at last
	waits bool              // the last reload changed less than the file says, for want of room
	// places is where the way to the file can be turned, see placesOf.
	places map[string]bool
	whole  bool
}

// run follows the file until Close begins, in one way after the other if
// config_reload changes.
func (w *fileWatch) run() {
	for {
		over := false
		switch {
		case !w.how.Enabled:
			over = w.rest()
		case w.how.UseWatchdog:
			possible := false
			if over, possible = w.byEvents(); !possible {
				over = w.byPolling()
			}
		default:
			over = w.byPolling()
		}
		if over {
			return
		}
	}
}

// rest waits until the file is to be followed again.
func (w *fileWatch) rest() (over bool) {
	select {
	case <-w.rt.closing:
		return true
	case w.how = <-w.rt.rewatch:
		return false
	}
}

// byEvents follows the directories of the file, until Close begins (over) or
// config_reload changes. It is not possible, or not any more, if the directories
// cannot be watched.
func (w *fileWatch) byEvents() (over, possible bool) {
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		w.rt.logger.Warn("the configuration file is polled, its directory cannot be watched", "err", err)
		return false, false
	}
	defer watcher.Close()
	if err := w.follow(watcher); err != nil {
		w.rt.logger.Warn("the configuration file is polled, its directory cannot be watched", "err", err)
		return false, false
	}
	// The first look is for what changed before the directory was watched.
	settle := time.NewTimer(settleTime)
	defer settle.Stop()
	var first time.Time // of the signs not yet acted on
	for {
		select {
		case <-w.rt.closing:
			return true, true
		case w.how = <-w.rt.rewatch:
			return false, true
		case event, ok := <-watcher.Events:
			switch {
			case !ok:
				return false, false
			case !w.concerns(event):
			case first.IsZero():
				first = time.Now()
				settle.Reset(settleTime)
			default:
				settle.Reset(min(settleTime, max(0, maxSettleTime-time.Since(first))))
			}
		case err, ok := <-watcher.Errors:
			if !ok {
				return false, false
			}
			// An overflow: whatever it was about, the content tells.
			w.rt.logger.Warn("watching the configuration file", "err", err)
			first = time.Now()
			settle.Reset(settleTime)
		case <-settle.C:
			first = time.Time{}
			err := w.follow(watcher) // before the look: what comes after it is a sign again
			if w.look() {
				settle.Reset(maxSettleTime)
			}
			if err != nil {
				w.rt.logger.Warn("the configuration file is polled, its directory cannot be watched", "err", err)
				return false, false
			}
		}
	}
}

// follow watches the directory of every place at which the way to the file can
// be turned, and no other: places change with a swapped link.
func (w *fileWatch) follow(watcher *fsnotify.Watcher) error {
	w.places, w.whole = placesOf(w.path)
	wanted := make(map[string]bool)
	var faults []error
	for place := range w.places {
		dir := filepath.Dir(place)
		wanted[dir] = true
		faults = append(faults, watcher.Add(dir)) // known ones stay
	}
	for _, dir := range watcher.WatchList() {
		if !wanted[dir] {
			faults = append(faults, watcher.Remove(dir))
		}
	}
	return errors.Join(faults...)
}

// maxLinks is what the kernel follows on the way to one file, too.
const maxLinks = 40

// placesOf are the file and every symbolic link on the way to it, the way of
// each without links. If the file is not there, they end where the way does, and
// whole is false.
func placesOf(path string) (places map[string]bool, whole bool) {
	places = make(map[string]bool)
	path, err := filepath.Abs(path)
	if err != nil {
		return places, false
	}
	dir, rest := "/", strings.Split(path, "/")
	for links := 0; len(rest) > 0; {
		name := rest[0]
		rest = rest[1:]
		here := filepath.Join(dir, name) // also for "..": dir has no links
		info, err := os.Lstat(here)
		switch {
		case err != nil:
			places[here] = true
			return places, false
		case info.Mode()&fs.ModeSymlink == 0:
			dir = here
			continue
		}
		places[here] = true
		target, err := os.Readlink(here)
		if links++; err != nil || links > maxLinks {
			return places, false
		}
		if filepath.IsAbs(target) {
			dir = "/"
		}
		rest = append(strings.Split(target, "/"), rest...)
	}
	places[dir] = true
	return places, true
}

// concerns tells the file, the links on the way to it and their directories from
// their neighbours: a log beside the file must not put off a reload for ever.
func (w *fileWatch) concerns(event fsnotify.Event) bool {
	name := filepath.Clean(event.Name)
	if !w.whole || w.places[name] {
		return true
	}
	for place := range w.places {
		if filepath.Dir(place) == name {
			return true
		}
	}
	return false
}

// byPolling looks at the file every interval, until Close begins (over) or
// config_reload changes.
func (w *fileWatch) byPolling() (over bool) {
	tick := time.NewTicker(w.how.Interval)
	defer tick.Stop()
	for {
		select {
		case <-w.rt.closing:
			return true
		case w.how = <-w.rt.rewatch:
			return false
		case <-tick.C:
			w.look()
		}
	}
}

// look reloads if the content is another than last time, or than what another
// reload has read since: that one may have taken what is gone from the file again.
// A file that is away for a moment, or for good, changes nothing: what runs goes on.
// It is to look again if the state took no writes, so that the reload waits for room.
func (w *fileWatch) look() (again bool) {
	data, err := config.ReadFile(w.path)
	if err != nil {
		return false
	}
	digest := sha256.Sum256(data)
	if digest == w.seen && digest == *w.rt.read.Load() && !w.waits {
		return false
	}
	if w.waits && w.rt.store.Stats().ReadOnly {
		return true
	}
	w.seen = digest
	ctx, cancel := until(context.Background(), w.rt.closing)
	defer cancel()
	// How it went is an event, and in the log.
	_, err = w.rt.Reload(ctx, ReloadOptions{RequestedBy: "file_watcher"})
	w.waits = errors.Is(err, ErrReadOnly)
	return w.waits
}
