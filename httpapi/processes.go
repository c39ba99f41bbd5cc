package httpapi

import (
	"time"

	"github.com/valyala/fasthttp"
)

// Process is one process of the runtime's at one moment.
type Process struct {
	PID, PPID int
	Role      ProcessRole
	Server    string // of instances and their descendants
	Epoch     uint64
	Command   string // name of the program; never its arguments, which may hold secrets
	Age       time.Duration
	RSS       uint64 // resident bytes
	State     byte   // the kernel's letter: R, S, D, T, Z, …
}

// ProcessRole says what a process is to the runtime.
type ProcessRole string

// The roles. A stray was left behind by an instance that it cannot be
// assigned to; it ends with the runtime at the latest.
const (
	RoleRuntime    ProcessRole = "runtime"
	RoleReaper     ProcessRole = "reaper"
	RoleInstance   ProcessRole = "instance"
	RoleDescendant ProcessRole = "descendant"
	RoleStray      ProcessRole = "stray"
)

func (a *API) listProcesses(ctx *fasthttp.RequestCtx) error {
	processes := a.runtime.Processes()
	rows := make([]map[string]any, len(processes))
	for i, p := range processes {
		row := map[string]any{
			"pid": p.PID, "ppid": p.PPID, "role": p.Role, "mcp_server_id": nil, "epoch": nil,
			"command": cleanText(p.Command, 64), "age_seconds": p.Age.Seconds(), "rss_bytes": p.RSS, "state": string(rune(p.State)),
		}
		if p.Server != "" {
			row["mcp_server_id"], row["epoch"] = p.Server, p.Epoch
		}
		rows[i] = row
	}
	return respond(ctx, 200, map[string]any{"processes": rows})
}
