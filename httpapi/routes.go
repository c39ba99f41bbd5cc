package httpapi

import (
	"bytes"
	"errors"
	"net/url"

	"github.com/fasthttp/router"
	"github.com/valyala/fasthttp"
)

// Permission is what a route demands of its caller, spelled as the contract
// spells it (resource:action). The zero value is no permission at all, and a
// route without one is refused when the table is built.
type Permission string

// The permissions of the routes.
const (
	// PermPublic is for routes that anyone may use; nobody is asked.
	PermPublic Permission = "public"
	// PermAuthenticated is for routes open to everyone who is known.
	PermAuthenticated    Permission = "authenticated"
	PermServersRead      Permission = "mcp_servers:read"
	PermServersWrite     Permission = "mcp_servers:write"
	PermServersLifecycle Permission = "mcp_servers:lifecycle"
	PermToolInvoke       Permission = "tool:invoke"
	PermSystemBackup     Permission = "system:backup"
	PermMetricsRead      Permission = "metrics:read"
	PermAuditRead        Permission = "audit:read"
	PermGroupRead        Permission = "group:read"
	PermGroupCreate      Permission = "group:create"
	PermGroupUpdate      Permission = "group:update"
	PermGroupDelete      Permission = "group:delete"
	PermConfigRead       Permission = "config:read"
	PermConfigUpdate     Permission = "config:update"
	PermConfigReload     Permission = "config:reload"
	// PermConfigPath is for whoever may name the file of a reload, and with it
	// the commands that run.
	PermConfigPath Permission = "config:reload_path"
)

// Refusals that Options.Authorize may answer with.
var (
	ErrUnauthenticated = errors.New("authentication is required")
	ErrForbidden       = errors.New("permission denied")
)

// route is one operation. HEAD comes with every GET, and every path is also
// served with a slash at its end.
type route struct {
	method     string
	path       string
	permission Permission
	handle     func(a *API, ctx *fasthttp.RequestCtx) error
}

// routes is the one list of operations; a test holds it equal to openapi.json.
func routes() []route {
	const (
		get, post, put   = fasthttp.MethodGet, fasthttp.MethodPost, fasthttp.MethodPut
		patch, remove    = fasthttp.MethodPatch, fasthttp.MethodDelete
		servers          = "/api/mcp_servers"
		server           = servers + "/{id}"
		config           = "/api/config"
		read, write      = PermServersRead, PermServersWrite
		lifecycle, world = PermServersLifecycle, PermPublic
		groups           = "/api/groups"
		group            = groups + "/{id}"
	)
	return []route{
		{get, servers, read, (*API).listServers},
		{post, servers, write, (*API).createServer},
		{get, server, read, (*API).getServer},
		{put, server, write, (*API).updateServer},
		{patch, server, write, (*API).updateServer},
		{remove, server, write, (*API).deleteServer},
		{post, server + "/start", lifecycle, (*API).startServer},
		{post, server + "/stop", lifecycle, (*API).stopServer},
		{post, server + "/reset", lifecycle, (*API).resetServer},
		{get, server + "/tools", read, (*API).listTools},
		{get, server + "/tools/history", read, (*API).toolHistory},
		{post, server + "/tools/{tool}/call", PermToolInvoke, (*API).callTool},
		{get, server + "/health", read, (*API).serverHealth},
		{get, server + "/logs", read, (*API).serverLogs},
		{get, server + "/crashes", read, (*API).serverCrashes},

		{get, groups, PermGroupRead, (*API).listGroups},
		{post, groups, PermGroupCreate, (*API).createGroup},
		{get, group, PermGroupRead, (*API).getGroup},
		{put, group, PermGroupUpdate, (*API).updateGroup},
		{remove, group, PermGroupDelete, (*API).deleteGroup},
		{post, group + "/rebalance", PermGroupUpdate, (*API).rebalanceGroup},
		{post, group + "/members", PermGroupUpdate, (*API).addMember},
		{remove, group + "/members/{member_id}", PermGroupUpdate, (*API).removeMember},

		{get, "/api/supervision", read, (*API).supervision},
		{get, "/api/supervision/processes", read, (*API).listProcesses},
		{get, config, PermConfigRead, (*API).getConfig},
		{post, config + "/reload", PermConfigReload, (*API).reloadConfig},
		{post, config + "/export", PermConfigRead, (*API).exportConfig},
		{post, config + "/backup", PermConfigUpdate, (*API).backupConfig},
		{get, config + "/diff", PermConfigRead, (*API).diffConfig},

		{get, "/api/ws/events", PermAuditRead, (*API).streamEvents},

		{get, "/api/system", PermAuthenticated, (*API).system},
		{post, "/api/system/backup", PermSystemBackup, (*API).backup},
		{get, "/api/system/me", PermAuthenticated, (*API).me},
		{get, "/api/openapi.json", world, (*API).openAPI},

		{get, "/metrics", PermMetricsRead, (*API).metrics},
		{get, "/health/live", world, (*API).healthLive},
		{get, "/health/ready", world, (*API).healthReady},
		{get, "/health/startup", world, (*API).healthStartup},
		{get, "/healthz", world, (*API).healthLive},
	}
}

// newRouter builds the router over a table. fasthttp/router does what the
// contract asks once its redirects are off (a 307 loses bodies in some
// clients): it matches the path as sent, so that %2F stays inside one segment,
// copies the parameters, and finds all methods of a path for Allow. It cannot
// hold both /x and /x/, so a slash at the end is cut off before it looks.
func (a *API) newRouter(table []route) fasthttp.RequestHandler {
	r := router.New()
	r.RedirectTrailingSlash = false
	r.RedirectFixedPath = false
	r.HandleMethodNotAllowed = true
	r.HandleOPTIONS = true
	r.GlobalOPTIONS = func(ctx *fasthttp.RequestCtx) { ctx.SetStatusCode(fasthttp.StatusNoContent) }
	r.NotFound = func(ctx *fasthttp.RequestCtx) { a.fail(ctx, errNoSuchPath(ctx)) }
	r.MethodNotAllowed = func(ctx *fasthttp.RequestCtx) {
		a.fail(ctx, &apiError{
			status: fasthttp.StatusMethodNotAllowed, name: "MethodNotAllowed",
			message: "method " + quoteClient(string(ctx.Method())) + " is not allowed here",
		})
	}
	for _, row := range table {
		if row.permission == "" || row.handle == nil {
			panic("httpapi: route " + row.method + " " + row.path + " has no permission or no handler")
		}
		r.Handle(row.method, row.path, a.endpoint(row))
		if row.method == fasthttp.MethodGet {
			r.Handle(fasthttp.MethodHead, row.path, a.endpoint(row))
		}
	}
	return func(ctx *fasthttp.RequestCtx) {
		if path := ctx.URI().PathOriginal(); len(path) > 1 && path[len(path)-1] == '/' {
			ctx.URI().SetPathBytes(path[:len(path)-1])
		}
		r.Handler(ctx)
	}
}

func (a *API) endpoint(row route) fasthttp.RequestHandler {
	return func(ctx *fasthttp.RequestCtx) {
		err := checkContentType(ctx)
		if err == nil {
			err = a.allowed(ctx, row.permission)
		}
		if err == nil {
			err = row.handle(a, ctx)
		}
		if err != nil {
			a.fail(ctx, err)
		}
	}
}

func (a *API) allowed(ctx *fasthttp.RequestCtx, p Permission) error {
	if p == PermPublic || a.authorize == nil {
		return nil
	}
	err := a.authorize(ctx, p)
	if err == nil || errors.Is(err, ErrUnauthenticated) || errors.Is(err, ErrForbidden) {
		return err
	}
	// An authorizer that fails must not open the door, nor say why to whoever
	// stands before it.
	a.log.Error("authorization failed", "permission", string(p), "err", err)
	return ErrForbidden
}

// checkContentType refuses bodies that are not said to be JSON: the types a
// page of another site may send without a preflight are all others.
func checkContentType(ctx *fasthttp.RequestCtx) error {
	if !ctx.IsPost() && !ctx.IsPut() && !ctx.IsPatch() || len(ctx.PostBody()) == 0 {
		return nil
	}
	kind, _, _ := bytes.Cut(ctx.Request.Header.ContentType(), []byte(";"))
	kind = bytes.TrimSpace(kind)
	if len(kind) > 0 && !bytes.EqualFold(kind, []byte("application/json")) {
		return &apiError{
			status: fasthttp.StatusUnsupportedMediaType, name: "UnsupportedMediaType",
			message: "content type must be application/json, not " + quoteClient(string(kind)),
		}
	}
	coding := ctx.Request.Header.ContentEncoding()
	if len(coding) > 0 && !bytes.EqualFold(coding, []byte("identity")) {
		return &apiError{
			status: fasthttp.StatusUnsupportedMediaType, name: "UnsupportedMediaType",
			message: "content encoding " + quoteClient(string(coding)) + " is not supported",
		}
	}
	return nil
}

// pathParam returns a decoded parameter of the matched path. The router copied
// it, so it may be kept. One that cannot be decoded stays as it was sent, and
// then names nothing.
func pathParam(ctx *fasthttp.RequestCtx, name string) string {
	raw, _ := ctx.UserValue(name).(string)
	if s, err := url.PathUnescape(raw); err == nil {
		return s
	}
	return raw
}
