package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/valyala/fasthttp"
)

// Configuration is the part of Runtime that is about the configuration as a
// whole. Its errors carry ErrConfiguration and its neighbours.
type Configuration interface {
	// ConfigDocument is the present configuration without its secrets.
	ConfigDocument() (map[string]any, error)
	// ReloadConfig reads the configuration file and applies it. With an error
	// that is not ErrConfiguration or ErrConfigPath the report says what was
	// changed before.
	ReloadConfig(ctx context.Context, req ReloadRequest) (ReloadReport, error)
	// ExportConfig is the present configuration as a file, and the variables
	// that stand in it for secrets.
	ExportConfig() (yaml string, variables []string, err error)
	// BackupConfig writes it beside the configuration file and says where.
	BackupConfig() (path string, err error)
	// DiffConfig compares the file with the present configuration; empty if
	// they mean the same.
	DiffConfig() (string, error)
}

// ReloadRequest asks for a reload.
type ReloadRequest struct {
	Path        string // empty: the configuration file
	Hasty       bool   // calls in flight are not waited for
	RequestedBy string
}

// ReloadReport is what a reload did.
type ReloadReport struct {
	Path                               string
	Added, Removed, Updated, Unchanged []string
	RestartRequired, Warnings          []string
	Duration                           time.Duration
}

// Errors of a Configuration.
var (
	// ErrConfiguration: the file cannot be used; nothing was changed.
	ErrConfiguration = errors.New("configuration refused")
	// ErrConfigPath: the path of the request is not one of the directory of
	// the configuration file.
	ErrConfigPath = errors.New("config_path must name a readable file in the directory of the configuration file")
	// ErrConfigBackup: the backup cannot be written.
	ErrConfigBackup = errors.New("the configuration cannot be backed up")
)

// reloadTimeout bounds a reload of a large fleet, server after server.
const reloadTimeout = 10 * time.Minute

func (a *API) getConfig(ctx *fasthttp.RequestCtx) error {
	doc, err := a.runtime.ConfigDocument()
	if err != nil {
		return err
	}
	return respond(ctx, 200, map[string]any{"config": doc})
}

func (a *API) reloadConfig(ctx *fasthttp.RequestCtx) error {
	req, err := a.decodeReload(ctx)
	if err != nil {
		return err
	}
	wait, cancel := context.WithTimeout(context.Background(), reloadTimeout)
	defer cancel()
	report, err := a.runtime.ReloadConfig(wait, req)
	if err != nil {
		return withReport(err, report)
	}
	return respond(ctx, 200, map[string]any{"status": "reloaded", "result": shapeOfReload(report, true)})
}

// decodeReload reads the request. A body that is no JSON object counts as
// none, as in the contract: whoever wants a reload must not fail on its form.
func (a *API) decodeReload(ctx *fasthttp.RequestCtx) (ReloadRequest, error) {
	req := ReloadRequest{RequestedBy: "api"}
	o, err := decodeObject(ctx.PostBody())
	if err != nil {
		return req, nil
	}
	f := &fields{object: o}
	f.onlyKnown("config_path", "graceful")
	if graceful := f.flag("graceful"); graceful != nil {
		req.Hasty = !*graceful
	}
	if path := f.text("config_path"); path != nil && *path != "" {
		// A configuration holds commands: to choose the file is to choose what
		// runs. Without an authorizer nobody has the permission.
		if a.authorize == nil || a.allowed(ctx, PermConfigPath) != nil {
			f.fault("config_path", "is not for this caller; without it the configuration file itself is reloaded")
		}
		req.Path = *path
	}
	return req, f.err()
}

type reloadShape struct {
	Success         bool     `json:"success"`
	Path            string   `json:"config_path"`
	Added           []string `json:"mcp_servers_added"`
	Removed         []string `json:"mcp_servers_removed"`
	Updated         []string `json:"mcp_servers_updated"`
	Unchanged       []string `json:"mcp_servers_unchanged"`
	RestartRequired []string `json:"restart_required"`
	Warnings        []string `json:"warnings"`
	Duration        float64  `json:"duration_ms"`
}

func shapeOfReload(r ReloadReport, success bool) reloadShape {
	list := func(s []string) []string { return append([]string{}, s...) }
	return reloadShape{
		Success: success, Path: r.Path, Added: list(r.Added), Removed: list(r.Removed), Updated: list(r.Updated),
		Unchanged: list(r.Unchanged), RestartRequired: list(r.RestartRequired), Warnings: list(r.Warnings),
		Duration: float64(r.Duration.Microseconds()) / 1000,
	}
}

// withReport adds to the answer what was changed before the failure.
func withReport(err error, r ReloadReport) error {
	if errors.Is(err, ErrConfiguration) || errors.Is(err, ErrConfigPath) {
		return err
	}
	answer, _, known := describeError(err)
	if !known {
		return err
	}
	with := *answer
	with.extra = append(append([]extraField{}, answer.extra...), extraField{"result", shapeOfReload(r, false)})
	return &with
}

func (a *API) exportConfig(ctx *fasthttp.RequestCtx) error {
	text, variables, err := a.runtime.ExportConfig()
	if err != nil {
		return err
	}
	return respond(ctx, 200, map[string]any{"yaml": text, "variables": append([]string{}, variables...)})
}

func (a *API) backupConfig(ctx *fasthttp.RequestCtx) error {
	path, err := a.runtime.BackupConfig()
	if err != nil {
		return err
	}
	return respond(ctx, 200, map[string]any{"backup_path": path, "created": true})
}

func (a *API) diffConfig(ctx *fasthttp.RequestCtx) error {
	diff, err := a.runtime.DiffConfig()
	if err != nil {
		return err
	}
	return respond(ctx, 200, map[string]any{"diff": diff, "has_changes": diff != ""})
}

// hangarReload answers a failure as a result, as the contract has it: status
// failed with the reason.
func (f *Front) hangarReload(ctx context.Context, _ *session, args json.RawMessage) (any, error) {
	a, err := toolArgs(args, "graceful")
	if err != nil {
		return nil, err
	}
	graceful := a.flag("graceful")
	if err := a.err(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, reloadTimeout)
	defer cancel()
	report, err := f.runtime.ReloadConfig(ctx, ReloadRequest{Hasty: graceful != nil && !*graceful, RequestedBy: "mcp_tool"})
	shape := shapeOfReload(report, err == nil)
	result := map[string]any{
		"status": "success", "message": "the configuration was reloaded",
		"mcp_servers_added": shape.Added, "mcp_servers_removed": shape.Removed,
		"mcp_servers_updated": shape.Updated, "mcp_servers_unchanged": shape.Unchanged,
		"restart_required": shape.RestartRequired, "duration_ms": shape.Duration,
	}
	if err != nil {
		answer, _, known := describeError(err)
		if !known {
			f.log.Error("reload failed for an unknown reason", "err", err)
		}
		result["status"], result["message"], result["error_type"] = "failed", answer.message, answer.name
	}
	return result, nil
}
