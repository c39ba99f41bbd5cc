package httpapi

import (
	"context"
	_ "embed"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/aabb9013/hangar/supervisor"
)

//go:embed openapi.json
var openAPIDocument []byte

func (a *API) openAPI(ctx *fasthttp.RequestCtx) error {
	setJSON(ctx, 200, openAPIDocument)
	return nil
}

func (a *API) system(ctx *fasthttp.RequestCtx) error {
	info, views := a.runtime.Info(), a.runtime.Views()
	byState := map[string]int{}
	var tools int
	var calls, failed int64
	for _, v := range views {
		byState[v.State.String()]++
		tools += toolCount(v.Catalogue)
		if v.Counters != nil {
			calls += v.Counters.Calls.Load()
			failed += v.Counters.Failed.Load()
		}
	}
	// Extra first: it can add to the contract's fields, not replace them.
	system := map[string]any{}
	for k, v := range info.Extra {
		system[k] = v
	}
	for k, v := range map[string]any{
		"total_mcp_servers":    len(views),
		"mcp_servers_by_state": byState,
		"total_tools":          tools,
		"total_tool_calls":     calls,
		"uptime_seconds":       secondsSince(info.StartedAt, a.now()),
		"version":              info.Version,
		"total_invocations":    calls,
		"total_failures":       failed,
		"overall_success_rate": successRate(calls, failed),
		"run_id":               info.RunID,
		"read_only":            info.ReadOnly != "",
	} {
		system[k] = v
	}
	return respond(ctx, 200, map[string]any{"system": system})
}

func (a *API) me(ctx *fasthttp.RequestCtx) error {
	return respond(ctx, 200, map[string]any{"authenticated": false, "principal": nil})
}

// backupTimeout bounds a backup: at 10 MiB/s a log of the default size and as
// much again take a minute.
const backupTimeout = 5 * time.Minute

// backup takes no path: the runtime chooses the file, so that no caller can
// make it write anywhere.
func (a *API) backup(ctx *fasthttp.RequestCtx) error {
	wait, cancel := context.WithTimeout(context.Background(), backupTimeout)
	defer cancel()
	b, err := a.runtime.Backup(wait)
	if err != nil {
		return err
	}
	return respond(ctx, 201, map[string]any{
		"path": b.Path, "size_bytes": b.Bytes, "event_log_position": b.Position, "sha256": b.SHA256,
	})
}

func (a *API) healthLive(ctx *fasthttp.RequestCtx) error {
	return respond(ctx, 200, map[string]any{"status": "healthy"})
}

// healthReady is ready as soon as calls can be served: servers start when they
// are called, so that none runs says nothing. Read-only state degrades it, but
// calls go on, so it stays ready.
func (a *API) healthReady(ctx *fasthttp.RequestCtx) error {
	info, views := a.runtime.Info(), a.runtime.Views()
	ready := 0
	for _, v := range views {
		if v.State == supervisor.Ready {
			ready++
		}
	}
	facts := []extraField{
		{"status", healthWord(info.Ready)},
		{"ready_mcp_servers", ready},
		{"total_mcp_servers", len(views)},
		{"degraded", info.ReadOnly != ""},
	}
	if info.ReadOnly != "" {
		facts = append(facts, extraField{"reason", cleanText(info.ReadOnly, 500)})
	}
	return respondHealth(ctx, info.Ready, "the runtime is not ready: it starts or is closing", facts)
}

func (a *API) healthStartup(ctx *fasthttp.RequestCtx) error {
	info := a.runtime.Info()
	return respondHealth(ctx, info.Ready, "start-up is not complete", []extraField{
		{"status", healthWord(info.Ready)},
		{"startup_complete", info.Ready},
		{"uptime_seconds", secondsSince(info.StartedAt, a.now())},
	})
}

func healthWord(ok bool) string {
	if ok {
		return "healthy"
	}
	return "unhealthy"
}

// respondHealth answers probes; a 503 carries the error envelope as every error
// does, and the facts behind it.
func respondHealth(ctx *fasthttp.RequestCtx, ok bool, why string, facts []extraField) error {
	if !ok {
		return &apiError{status: 503, name: "NotReady", message: why, extra: facts}
	}
	body := make(map[string]any, len(facts))
	for _, f := range facts {
		body[f.name] = f.value
	}
	return respond(ctx, 200, body)
}
