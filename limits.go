package hangar

import (
	"errors"
	"fmt"
	"strings"

	"github.com/aabb9013/hangar/actors"
	"github.com/aabb9013/hangar/internal/config"
	"github.com/aabb9013/hangar/internal/limits"
	"github.com/aabb9013/hangar/supervisor"
)

// memoryBudget is the bound of the servers' memory in bytes, 0 if there is none.
func (o Options) memoryBudget(cfg *config.Config) (int64, error) {
	text := o.MemoryBudget
	if text == "" {
		text = cfg.Limits.MemoryBudget
	}
	node := limits.NodeMemory()
	budget, err := supervisor.ParseMemoryBudget(text, node)
	if err == nil && node == 0 && strings.HasSuffix(text, "%") {
		err = errors.New("the memory of this node is unknown, so it has no shares; write a size such as 4g")
	}
	if err != nil {
		return 0, fmt.Errorf("memory budget: %w", err)
	}
	return budget, nil
}

// defaultMaxCalls is limits.max_calls of a runtime without a file.
const defaultMaxCalls = 20_000

// maxCalls is the bound of the calls in flight, 0 if there is none.
func (o Options) maxCalls(cfg *config.Config) int {
	switch {
	case o.MaxCalls != 0:
		return max(o.MaxCalls, 0)
	case o.ConfigFile != "":
		return cfg.Limits.MaxCalls
	}
	return defaultMaxCalls
}

// memoryFacts is the memory of all servers as GET /api/system tells it.
func memoryFacts(m actors.MemoryStatus) map[string]any {
	facts := map[string]any{"servers_bytes": m.Bytes, "under_pressure": m.Under, "starts_held": m.Held}
	if m.Budget > 0 {
		facts["budget_bytes"] = m.Budget
	}
	return facts
}

// tellUnheld warns of limits in the file that this host cannot enforce.
func (rt *Runtime) tellUnheld(can limits.Report) {
	unheld := map[string][]string{}
	for _, s := range rt.cfg.Servers {
		for name, missing := range map[string]bool{
			"memory": s.Limits.Memory > 0 && !can.Memory, "cpu": s.Limits.CPU > 0 && !can.CPU, "pids": s.Limits.PIDs > 0 && !can.PIDs,
		} {
			if missing {
				unheld[name] = append(unheld[name], s.ID)
			}
		}
	}
	for name, servers := range unheld {
		rt.logger.Warn("a limit is not enforced on this host", "limit", name, "servers", strings.Join(servers, " "), "why", can.Why)
	}
}
