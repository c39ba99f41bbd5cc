package hangar

import (
	"fmt"
	"slices"
	"strings"

	"github.com/aabb9013/hangar/actors"
	"github.com/aabb9013/hangar/internal/config"
	"github.com/aabb9013/hangar/supervisor"
)

// ownedByFile are the servers and groups that run and that came from the file.
// It refuses a file that wants an id of somebody else and cannot have it: a
// server or group made by the API gives way to its like in the file only. And it
// refuses one that takes away what a server of somebody else depends on, as a
// deletion by the API is refused.
func (rt *Runtime) ownedByFile(sys *actors.System, next *config.Config) (servers []supervisor.ServerSpec, groups []supervisor.GroupSpec, err error) {
	kinds := make(map[string]string, len(next.Servers)+len(next.GroupSpecs))
	for _, spec := range next.Servers {
		kinds[spec.ID] = "server"
	}
	for _, spec := range next.GroupSpecs {
		kinds[spec.ID] = "group"
	}
	for _, v := range sys.Views() {
		id, owner := v.Spec.ID, v.Spec.Provenance
		switch kind := kinds[id]; {
		case owner == supervisor.FromConfig:
			servers = append(servers, v.Spec)
		case kind == "":
		case owner == supervisor.FromEmbedder:
			return nil, nil, fmt.Errorf("%w: %s %q of the file has the id of a server that is attached by the program; give it another id", ErrConfig, kind, id)
		case kind == "group":
			return nil, nil, fmt.Errorf("%w: group %q of the file has the id of a server made by the API; delete that or give one of them another id", ErrConfig, id)
		default:
			rt.logger.Warn("the configuration file replaces a server of another owner", "server", id, "owner", string(owner))
		}
	}
	for _, v := range sys.Views() {
		for _, needed := range v.Spec.DependsOn {
			fromFile := slices.ContainsFunc(servers, func(s supervisor.ServerSpec) bool { return s.ID == needed })
			if v.Spec.Provenance != supervisor.FromConfig && kinds[v.Spec.ID] == "" && fromFile && kinds[needed] != "server" {
				return nil, nil, fmt.Errorf("%w: the file no longer has server %q, on which %q depends, that the file does not own; delete that or change it first", ErrConfig, needed, v.Spec.ID)
			}
		}
	}
	for _, v := range sys.GroupViews() {
		switch id := v.Spec.ID; {
		case v.Spec.Provenance == supervisor.FromConfig:
			groups = append(groups, v.Spec)
		case kinds[id] == "server":
			return nil, nil, fmt.Errorf("%w: server %q of the file has the id of a group made by the API; delete that or give one of them another id", ErrConfig, id)
		case kinds[id] == "group":
			rt.logger.Warn("the configuration file replaces a group of another owner", "group", id)
		}
	}
	return servers, groups, nil
}

// undone tells what else a plan changes than what changed in the file: the file
// is the truth about what it names, but nobody's change goes in silence.
func undone(applied, running *config.Config, plan config.Plan) (warnings []string) {
	if len(plan.Added)+len(plan.Changed)+len(plan.AddedGroups)+len(plan.ChangedGroups) == 0 {
		return nil
	}
	warn := func(kind, id, what string) {
		warnings = append(warnings, fmt.Sprintf(
			"%s %q %s, by the API or by a reload that failed, and is as the file says again; what is to stay belongs into the file", kind, id, what))
	}
	since := config.Diff(applied, running)
	for _, id := range since.Removed {
		if slices.Contains(plan.Added, id) {
			warn("server", id, "was deleted")
		}
	}
	for _, c := range since.Changed {
		if slices.ContainsFunc(plan.Changed, func(p config.Change) bool { return p.ID == c.ID }) {
			warn("server", c.ID, "was changed ("+strings.Join(c.Keys, ", ")+")")
		}
	}
	for _, id := range since.RemovedGroups {
		if slices.Contains(plan.AddedGroups, id) {
			warn("group", id, "was deleted")
		}
	}
	for _, id := range since.ChangedGroups {
		if slices.Contains(plan.ChangedGroups, id) {
			warn("group", id, "was changed")
		}
	}
	return warnings
}

// bereft tells which groups of the API lose members for good with servers that the
// file does not have any more. Those that the file takes over have its members.
func bereft(views []*supervisor.GroupView, next map[string]supervisor.GroupSpec, plan config.Plan) (warnings []string) {
	for _, v := range views {
		if _, named := next[v.Spec.ID]; named || v.Spec.Provenance == supervisor.FromConfig {
			continue
		}
		for _, id := range plan.Removed {
			if v.Spec.Has(id) {
				warnings = append(warnings, fmt.Sprintf(
					"group %q, made by the API, loses its member %q, which the file does not have any more; add it again when the server is back", v.Spec.ID, id))
			}
		}
	}
	return warnings
}
