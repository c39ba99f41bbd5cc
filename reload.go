package hangar

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/aabb9013/hangar/actors"
	"github.com/aabb9013/hangar/internal/config"
	"github.com/aabb9013/hangar/supervisor"
)

// ReloadOptions of Runtime.Reload; the zero value reads the file of the
// options again.
type ReloadOptions struct {
	// Path is another file in the directory of Options.ConfigFile, or below
	// it. It is read this once; what is watched stays the same.
	Path string
	// Hasty ends instances that are replaced or removed without waiting for
	// their calls, and without starting another one first.
	Hasty bool
	// RequestedBy stands in the events and the log.
	RequestedBy string
}

// ReloadResult is what a reload did. Ids are in the order of the file, those
// of groups behind those of servers; what came stands behind what it depends on.
type ReloadResult struct {
	Path                               string
	Added, Removed, Updated, Unchanged []string
	// RestartRequired has the keys outside of mcp_servers that differ from
	// what runs: only a restart applies them.
	RestartRequired []string
	Warnings        []string
	Duration        time.Duration
}

// MaxReloads bounds the reloads under way and waiting; one more is refused
// with ErrOverloaded.
const MaxReloads = 32

// reloadStep bounds the change of one server: its calls drain and its
// instance climbs the stop ladder in less.
const reloadStep = time.Minute

// Reload reads the configuration file and makes the servers that came from it
// be as it says. The file is checked as a whole before anything changes;
// servers made by the API or attached stay as they are, and a server that did
// not change keeps its process. A changed one is stopped after its calls, if
// its process cannot see the change, and starts with the next call; one at a
// time. With reload.strategy blue_green the new instance is started first and
// calls go to the old one until it is ready; if it cannot start, that server
// goes on as it was. Reloads run one after the other, at most MaxReloads wait.
//
// With ErrConfig nothing was changed; with any other error the result tells
// what was, and another Reload tries the rest again.
func (rt *Runtime) Reload(ctx context.Context, opts ReloadOptions) (*ReloadResult, error) {
	sys, err := rt.system()
	if err != nil {
		return nil, err
	}
	if rt.reloads.Add(1) > MaxReloads {
		rt.reloads.Add(-1)
		return nil, fmt.Errorf("%w: %d reloads of the configuration wait", ErrOverloaded, MaxReloads)
	}
	defer rt.reloads.Add(-1)
	select {
	case rt.reload <- struct{}{}:
		defer func() { <-rt.reload }()
	case <-rt.closing:
		return nil, ErrClosing
	case <-ctx.Done():
		return nil, fmt.Errorf("another reload of the configuration is under way: %w", ctx.Err())
	}
	began := time.Now()
	result := &ReloadResult{Path: rt.reloadPath(opts.Path)}
	sys.Emit(supervisor.Event{Kind: supervisor.ReloadRequested, Data: map[string]any{
		"config_path": result.Path, "requested_by": opts.RequestedBy, "force": opts.Hasty,
	}})
	err = rt.reloadFrom(ctx, sys, opts, result)
	result.Duration = time.Since(began)
	sys.Emit(reloadEvent(result, opts.RequestedBy, err))
	for _, w := range result.Warnings {
		rt.logger.Warn("configuration", "detail", w)
	}
	if len(result.RestartRequired) > 0 {
		rt.logger.Warn("a part of the configuration needs a restart", "keys", result.RestartRequired)
	}
	return result, err
}

func (rt *Runtime) reloadPath(path string) string {
	switch {
	case path == "":
		return rt.opts.ConfigFile
	case filepath.IsAbs(path):
		return filepath.Clean(path)
	}
	return filepath.Join(filepath.Dir(rt.opts.ConfigFile), path)
}

func (rt *Runtime) reloadFrom(ctx context.Context, sys *actors.System, opts ReloadOptions, result *ReloadResult) error {
	next, err := rt.loadAgain(opts.Path)
	if err != nil {
		return err
	}
	if _, err := rt.opts.memoryBudget(next); err != nil {
		return fmt.Errorf("%w: %w", ErrConfig, err)
	}
	for _, w := range next.Warnings() {
		result.Warnings = append(result.Warnings, w.Error())
	}
	owned, ownedGroups, err := rt.ownedByFile(sys, next)
	if err != nil {
		return err
	}
	running := rt.configuration().WithSpecs(owned).WithGroups(ownedGroups)
	plan := config.Diff(running, next)
	// A permanent server starts as it comes: what it needs must be there before.
	graph, _ := supervisor.NewGraph(next.Servers) // the file was checked
	plan.Added = graph.InStartOrder(plan.Added)
	specs := make(map[string]supervisor.ServerSpec, len(next.Servers))
	for _, spec := range next.Servers {
		specs[spec.ID] = spec
	}
	groups := make(map[string]supervisor.GroupSpec, len(next.GroupSpecs))
	for _, spec := range next.GroupSpecs {
		groups[spec.ID] = spec
	}
	result.Warnings = append(result.Warnings, undone(rt.configuration(), running, plan)...)
	result.Warnings = append(result.Warnings, bereft(sys.GroupViews(), groups, plan)...)
	result.Unchanged = append(plan.Unchanged, plan.UnchangedGroups...)
	err = apply(ctx, sys, plan, specs, next.SideBySide(), groups, opts.Hasty, result)
	var applied []string
	applied, result.RestartRequired = rt.applySections(sys, plan.Sections, next)
	rt.mu.Lock()
	rt.cfg = rt.cfg.Adopt(next, applied)
	rt.mu.Unlock()
	return err
}

// applySections applies the keys outside of mcp_servers that can be changed in
// place, and tells which those are and which wait for a restart. What the
// options set wins over the file, as at the start.
func (rt *Runtime) applySections(sys *actors.System, keys []string, next *config.Config) (applied, waiting []string) {
	rewatched := false
	for _, key := range keys {
		switch {
		case key == "execution.max_parallel_starts":
			sys.LimitStarts(firstPositive(rt.opts.MaxParallelStarts, next.Execution.MaxParallelStarts))
		case key == "execution.max_concurrency", key == "execution.default_mcp_server_concurrency":
			rt.front.LimitBatches(rt.batchLimit(next.Execution.MaxConcurrency), rt.batchLimit(next.Execution.DefaultServerConcurrency))
		case key == "limits.max_calls":
			sys.LimitCalls(rt.opts.maxCalls(next))
		case key == "limits.memory_budget":
			budget, _ := rt.opts.memoryBudget(next) // checked before anything was changed
			sys.LimitMemory(budget)
		case strings.HasPrefix(key, "config_reload."):
			if !rewatched {
				rt.watchAs(next.ConfigReload)
				rewatched = true
			}
		case key == "logging.level" && rt.opts.SetLogLevel != nil:
			rt.opts.SetLogLevel(next.Logging.Level)
		default:
			waiting = append(waiting, key)
			continue
		}
		applied = append(applied, key)
	}
	return applied, waiting
}

// loadAgain reads and checks a file as New does.
func (rt *Runtime) loadAgain(path string) (*config.Config, error) {
	if rt.opts.ConfigFile == "" {
		return nil, fmt.Errorf("%w: the runtime was started without a configuration file", ErrConfig)
	}
	var next *config.Config
	var err error
	if path == "" {
		next, err = rt.readAgain()
	} else {
		next, err = config.LoadInside(filepath.Dir(rt.opts.ConfigFile), path, os.LookupEnv)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrConfig, err)
	}
	return next, supported(next)
}

// readAgain reads the configuration file and leaves word for the watch of what
// it had.
func (rt *Runtime) readAgain() (*config.Config, error) {
	text, err := config.ReadFile(rt.opts.ConfigFile)
	if err != nil {
		return nil, err
	}
	digest := sha256.Sum256(text)
	rt.read.Store(&digest)
	return config.Parse(rt.opts.ConfigFile, text, os.LookupEnv)
}

// apply carries a plan out, one server or group at a time: groups lose their
// members before these go and get them after they came, and servers come before
// those that change may need them. One that cannot be changed does not keep the
// others from it.
func apply(ctx context.Context, sys *actors.System, plan config.Plan, specs map[string]supervisor.ServerSpec, sideBySide map[string]bool, groups map[string]supervisor.GroupSpec, hasty bool, result *ReloadResult) error {
	var faults []error
	step := func(verb, id string, done *[]string, change func(context.Context) error) {
		if ctx.Err() != nil {
			return
		}
		ctx, cancel := context.WithTimeout(ctx, reloadStep)
		defer cancel()
		if err := change(ctx); err != nil {
			faults = append(faults, fmt.Errorf("cannot %s %q: %w", verb, id, err))
			return
		}
		*done = append(*done, id)
	}
	replace := actors.DrainInstance
	if hasty {
		replace = actors.KillInstance
	}
	for _, id := range plan.RemovedGroups {
		step("remove group", id, &result.Removed, func(ctx context.Context) error {
			if err := sys.RemoveGroup(ctx, id); !errors.Is(err, supervisor.ErrGroupNotFound) {
				return err
			}
			return nil
		})
	}
	for _, id := range plan.Removed {
		step("remove server", id, &result.Removed, func(ctx context.Context) error {
			if err := sys.Remove(ctx, id, replace); !errors.Is(err, supervisor.ErrServerNotFound) {
				return err
			}
			return nil
		})
	}
	for _, id := range plan.Added {
		step("add server", id, &result.Added, func(ctx context.Context) error { return sys.Put(ctx, specs[id], replace) })
	}
	for _, change := range plan.Changed {
		how := actors.KeepInstance
		switch {
		case change.Restart && sideBySide[change.ID] && !hasty:
			how = actors.HandOver
		case change.Restart:
			how = replace
		}
		step("change server", change.ID, &result.Updated, func(ctx context.Context) error { return sys.Put(ctx, specs[change.ID], how) })
	}
	for _, id := range plan.ChangedGroups {
		step("change group", id, &result.Updated, func(ctx context.Context) error { return sys.PutGroup(ctx, groups[id]) })
	}
	for _, id := range plan.AddedGroups {
		step("add group", id, &result.Added, func(ctx context.Context) error { return sys.PutGroup(ctx, groups[id]) })
	}
	if err := ctx.Err(); err != nil {
		faults = append(faults, fmt.Errorf("the reload was given up half way, reload again: %w", err))
	}
	return errors.Join(faults...)
}

// configuration is what the runtime was told, by the file as it was applied
// last.
func (rt *Runtime) configuration() *config.Config {
	rt.mu.Lock()
	defer rt.mu.Unlock()
	return rt.cfg
}

// maxEventIDs and maxEventText keep the events of a reload far below what the
// log takes of one event.
const (
	maxEventIDs  = 80
	maxEventText = 2000
)

func reloadEvent(r *ReloadResult, by string, err error) supervisor.Event {
	data := map[string]any{"config_path": r.Path, "requested_by": by}
	for name, list := range map[string][]string{
		"mcp_servers_added": r.Added, "mcp_servers_removed": r.Removed,
		"mcp_servers_updated": r.Updated, "mcp_servers_unchanged": r.Unchanged,
	} {
		data[name] = append([]string{}, list[:min(len(list), maxEventIDs)]...)
		data[name+"_count"] = len(list)
	}
	if err == nil {
		data["reload_duration_ms"] = float64(r.Duration.Microseconds()) / 1000
		data["restart_required"] = append([]string{}, r.RestartRequired[:min(len(r.RestartRequired), maxEventIDs)]...)
		return supervisor.Event{Kind: supervisor.Reloaded, Data: data}
	}
	text := err.Error()
	if len(text) > maxEventText {
		text = text[:maxEventText] + "…"
	}
	data["reason"], data["error_type"] = text, "ServerChangeError"
	if errors.Is(err, ErrConfig) {
		data["error_type"] = "ConfigurationError"
	}
	return supervisor.Event{Kind: supervisor.ReloadFailed, Data: data}
}
