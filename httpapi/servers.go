package httpapi

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/aabb9013/hangar/supervisor"
)

// How long a handler waits for the runtime. The runtime has its own, shorter
// limits; these only make sure that no request waits for ever.
const (
	changeTimeout = 30 * time.Second
	stopTimeout   = 2 * time.Minute
	// startSlack is what a start may wait for its turn beside its own timeout.
	startSlack = time.Minute
)

func notFound(id string) error {
	return &apiError{status: 404, name: "McpServerNotFoundError", message: "mcp_server " + quoteClient(id) + " not found"}
}

// serverView finds the server that the path names.
func (a *API) serverView(ctx *fasthttp.RequestCtx) (*supervisor.View, error) {
	id := pathParam(ctx, "id")
	if v, ok := a.runtime.View(id); ok {
		return v, nil
	}
	return nil, notFound(id)
}

func (a *API) listServers(ctx *fasthttp.RequestCtx) error {
	// A state nobody knows matches no server; the reference answers so too.
	state := string(ctx.QueryArgs().Peek("state"))
	views := a.runtime.Views()
	list := make([]summaryShape, 0, len(views))
	for _, v := range views {
		if state == "" || v.State.String() == state {
			list = append(list, summaryOf(v))
		}
	}
	return respond(ctx, 200, map[string]any{"mcp_servers": list})
}

func (a *API) createServer(ctx *fasthttp.RequestCtx) error {
	spec, err := decodeSpec(ctx.PostBody())
	if err != nil {
		return err
	}
	wait, cancel := context.WithTimeout(context.Background(), changeTimeout)
	defer cancel()
	switch err := a.runtime.CreateServer(wait, spec); {
	case errors.Is(err, supervisor.ErrServerExists):
		return &apiError{status: 422, name: "ValidationError", message: "mcp_server_id " + quoteClient(spec.ID) + " already exists"}
	case errors.Is(err, supervisor.ErrNotBuilt):
		return &apiError{status: 422, name: "ValidationError", message: "mode " + string(spec.Mode) + " is not built in this version"}
	case err != nil:
		return err
	}
	return respond(ctx, 201, createdShape{ID: spec.ID, Created: true})
}

func (a *API) getServer(ctx *fasthttp.RequestCtx) error {
	v, err := a.serverView(ctx)
	if err != nil {
		return err
	}
	return respond(ctx, 200, detailOf(v, a.now()))
}

func (a *API) updateServer(ctx *fasthttp.RequestCtx) error {
	v, err := a.serverView(ctx)
	if err != nil {
		return err
	}
	patch, err := decodePatch(ctx.PostBody())
	if err != nil {
		return err
	}
	if patch != (supervisor.Patch{}) {
		if err := patch.Apply(v.Spec).Validate(); err != nil {
			return err
		}
		wait, cancel := context.WithTimeout(context.Background(), changeTimeout)
		defer cancel()
		if err := a.runtime.UpdateServer(wait, v.Spec.ID, patch); err != nil {
			return err
		}
	}
	return respond(ctx, 200, updatedShape{ID: v.Spec.ID, Updated: true})
}

func (a *API) deleteServer(ctx *fasthttp.RequestCtx) error {
	id := pathParam(ctx, "id")
	wait, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	if err := a.runtime.DeleteServer(wait, id); err != nil {
		return named(err, id)
	}
	return respond(ctx, 200, deletedShape{ID: id, Deleted: true})
}

func (a *API) startServer(ctx *fasthttp.RequestCtx) error {
	v, err := a.serverView(ctx)
	if err != nil {
		return err
	}
	id, limit := v.Spec.ID, v.Spec.StartTimeout+startSlack
	wait, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	v, err = a.runtime.StartServer(wait, id)
	if errors.Is(err, context.DeadlineExceeded) {
		return &supervisor.CannotStartError{Server: id, Reason: "waited too long for the start", RetryAfter: time.Second}
	}
	if err != nil {
		return named(err, id)
	}
	return respond(ctx, 200, startedShape{MCPServer: id, ID: id, State: v.State, Tools: toolNames(v.Catalogue)})
}

func (a *API) stopServer(ctx *fasthttp.RequestCtx) error {
	id := pathParam(ctx, "id")
	reason, dependents := stopWish(ctx.PostBody())
	wait, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	answer := stoppedShape{Stopped: id, ID: id, Reason: reason}
	var err error
	if dependents {
		answer.All, err = a.runtime.StopWithDependents(wait, id, reason)
	} else {
		err = a.runtime.StopServer(wait, id, reason)
	}
	if err != nil {
		return named(err, id)
	}
	return respond(ctx, 200, answer)
}

// stopWish reads a body that may be anything: whoever wants to stop a server
// must not fail on the form of an optional remark. Dependents are stopped too
// only if the body says exactly that.
func stopWish(body []byte) (reason string, dependents bool) {
	reason = "user_request"
	o, err := decodeObject(body)
	if err != nil {
		return reason, false
	}
	if s, ok := jsonString(o.values["reason"]); ok && s != "" {
		reason = cleanText(s, 200)
	}
	return reason, string(o.values["dependents"]) == "true"
}

// named gives a not-found error the id as the client sent it.
func named(err error, id string) error {
	if errors.Is(err, supervisor.ErrServerNotFound) && !errors.Is(err, supervisor.ErrGroupUnavailable) {
		return notFound(id)
	}
	return err
}

func (a *API) serverHealth(ctx *fasthttp.RequestCtx) error {
	v, err := a.serverView(ctx)
	if err != nil {
		return err
	}
	return respond(ctx, 200, healthOf(v, a.now()))
}

func (a *API) serverLogs(ctx *fasthttp.RequestCtx) error {
	id := pathParam(ctx, "id")
	lines, err := a.runtime.Logs(id, queryInt(ctx, "lines", 100, 1, 1000))
	if err != nil {
		return named(err, id)
	}
	return respond(ctx, 200, logsOf(id, lines))
}

func (a *API) toolHistory(ctx *fasthttp.RequestCtx) error {
	id := pathParam(ctx, "id")
	limit := queryInt(ctx, "limit", 100, 1, 500)
	from := queryInt(ctx, "from_position", 0, 0, maxQueryInt)
	records, err := a.runtime.History(id, uint64(from), limit)
	// The reference answers an unknown server with an empty history.
	if err != nil && !errors.Is(err, supervisor.ErrServerNotFound) {
		return err
	}
	return respond(ctx, 200, historyOf(id, records))
}

const maxQueryInt = 1 << 53

// queryInt reads a whole number clamped to its bounds; what is none counts as
// absent. That is what the reference does: these are bounds, not demands.
func queryInt(ctx *fasthttp.RequestCtx, name string, unset, least, most int) int {
	n, err := strconv.ParseInt(string(ctx.QueryArgs().Peek(name)), 10, 64)
	if err != nil && !errors.Is(err, strconv.ErrRange) {
		return unset
	}
	return int(min(max(n, int64(least)), int64(most)))
}
