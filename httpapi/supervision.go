package httpapi

import (
	"context"
	"fmt"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/aabb9013/hangar/supervisor"
)

// maxSupervised bounds the servers in one answer of GET /api/supervision; a
// node hosts no more, so that a client that does not page sees all of them.
const maxSupervised = 10000

// TopActor is one actor at the top of the supervision tree.
type TopActor struct {
	Name     string `json:"name"`
	Failures int64  `json:"failures"` // panics, after each of which it went on over its state
	Children int    `json:"children"`
}

type treeShape struct {
	Root    rootShape         `json:"root"`
	Servers []supervisedShape `json:"servers"`
	Total   int               `json:"total"`
	Offset  int               `json:"offset"`
}

type rootShape struct {
	Name   string     `json:"name"`
	Actors []TopActor `json:"actors"`
}

type supervisedShape struct {
	ID            string                     `json:"mcp_server_id"`
	State         supervisor.State           `json:"state"`
	Phase         string                     `json:"phase"`
	Epoch         uint64                     `json:"epoch"`
	Restart       supervisor.Restart         `json:"restart"`
	Strategy      supervisor.RestartStrategy `json:"strategy"`
	DependsOn     []string                   `json:"depends_on"`
	Dependents    []string                   `json:"dependents"`
	Budget        budgetShape                `json:"budget"`
	Streak        int                        `json:"streak"`
	Failures      int                        `json:"consecutive_failures"`
	BackoffDelay  *float64                   `json:"backoff_delay_s"`
	NextRetryAt   *string                    `json:"next_retry_at"`
	LastError     *string                    `json:"last_error"`
	ActorRestarts int64                      `json:"actor_restarts"`
}

// budgetShape is the restart intensity; Text is for people: "3/5 in 60 s".
type budgetShape struct {
	Used   int     `json:"used"`
	Max    int     `json:"max"`
	Period float64 `json:"period_s"`
	Text   string  `json:"text"`
}

func (a *API) supervision(ctx *fasthttp.RequestCtx) error {
	views := a.runtime.Views()
	tree := treeShape{Root: rootShape{Name: "root", Actors: a.runtime.TopActors()}, Servers: []supervisedShape{}, Total: len(views)}
	dependents := dependentsOf(views)
	if only := string(ctx.QueryArgs().Peek("server")); only != "" {
		v, ok := a.runtime.View(only)
		if !ok {
			return notFound(only)
		}
		views, tree.Total = []*supervisor.View{v}, 1
	}
	tree.Offset = min(queryInt(ctx, "offset", 0, 0, maxSupervised), len(views))
	limit := queryInt(ctx, "limit", maxSupervised, 1, maxSupervised)
	now := a.now()
	for _, v := range views[tree.Offset:min(tree.Offset+limit, len(views))] {
		tree.Servers = append(tree.Servers, supervisedOf(v, dependents[v.Spec.ID], now))
	}
	return respond(ctx, 200, tree)
}

// dependentsOf turns depends_on round.
func dependentsOf(views []*supervisor.View) map[string][]string {
	dependents := map[string][]string{}
	for _, v := range views {
		for _, need := range v.Spec.DependsOn {
			dependents[need] = append(dependents[need], v.Spec.ID)
		}
	}
	return dependents
}

func supervisedOf(v *supervisor.View, dependents []string, now time.Time) supervisedShape {
	s := supervisedShape{
		ID: v.Spec.ID, State: v.State, Phase: v.Phase.String(), Epoch: v.Epoch,
		Restart: v.Spec.Restart, Strategy: v.Spec.Strategy,
		DependsOn: append([]string{}, v.Spec.DependsOn...), Dependents: append([]string{}, dependents...),
		Streak: v.Streak, Failures: v.Failures,
		NextRetryAt: isoOrNull(v.NextRetryAt), ActorRestarts: v.ActorRestarts,
	}
	b := budgetShape{Used: v.BudgetUsed(now), Max: v.Spec.MaxRestarts, Period: v.Spec.RestartPeriod.Seconds()}
	b.Text = fmt.Sprintf("%d/%d in %g s", b.Used, b.Max, b.Period)
	s.Budget = b
	if v.Phase == supervisor.PhaseBackoff {
		delay := v.RetryDelay.Seconds()
		s.BackoffDelay = &delay
	}
	if v.LastError != "" {
		text := cleanText(v.LastError, 500)
		s.LastError = &text
	}
	return s
}

type resetShape struct {
	ID    string           `json:"mcp_server_id"`
	Reset bool             `json:"reset"`
	State supervisor.State `json:"state"`
}

func (a *API) resetServer(ctx *fasthttp.RequestCtx) error {
	id := pathParam(ctx, "id")
	wait, cancel := context.WithTimeout(context.Background(), changeTimeout)
	defer cancel()
	v, err := a.runtime.ResetServer(wait, id)
	if err != nil {
		return named(err, id)
	}
	return respond(ctx, 200, resetShape{ID: id, Reset: true, State: v.State})
}
