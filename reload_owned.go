package hangar

import (
	"fmt"

	"github.com/aabb9013/hangar/actors"
	"github.com/aabb9013/hangar/internal/config"
	"github.com/aabb9013/hangar/supervisor"
)

// ownedByFile are the servers and groups that run and that came from the file.
// It refuses a file that wants an id of somebody else and cannot have it: a
// server or group made by the API gives way to its like in the file only.
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
