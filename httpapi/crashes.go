package httpapi

import (
	"context"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/aabb9013/hangar/supervisor"
)

// crashesTimeout bounds the wait for a dossier of a moment ago to be written.
const crashesTimeout = 5 * time.Second

// serverCrashes shows why a server's instances ended without anybody wanting it.
func (a *API) serverCrashes(ctx *fasthttp.RequestCtx) error {
	id := pathParam(ctx, "id")
	limit := queryInt(ctx, "limit", supervisor.MaxDossiers, 1, supervisor.MaxDossiers)
	wait, cancel := context.WithTimeout(context.Background(), crashesTimeout)
	defer cancel()
	dossiers, err := a.runtime.Crashes(wait, id, limit)
	if err != nil {
		return named(err, id)
	}
	shapes := make([]crashShape, len(dossiers))
	for i, d := range dossiers {
		shapes[i] = crashOf(d)
	}
	return respond(ctx, 200, map[string]any{"mcp_server_id": id, "crashes": shapes, "count": len(shapes)})
}

// The shapes are the dossier's own with the contract's form of times: a field
// of the outer struct hides the inner one.
type (
	crashShape struct {
		supervisor.Dossier
		At          string          `json:"at"`
		LastReplyAt *string         `json:"last_reply_at"`
		Decision    decisionShape   `json:"decision"`
		Stderr      []stderrShape   `json:"stderr"`
		Frames      []frameShape    `json:"frames"`
		Memory      []memoryAtShape `json:"memory"`
	}
	decisionShape struct {
		supervisor.Decision
		Until *string `json:"until"`
	}
	stderrShape struct {
		supervisor.DossierLine
		At string `json:"at"`
	}
	frameShape struct {
		supervisor.DossierFrame
		At *string `json:"at"`
	}
	memoryAtShape struct {
		supervisor.MemorySample
		At string `json:"at"`
	}
)

func crashOf(d supervisor.Dossier) crashShape {
	c := crashShape{
		Dossier: d, At: isoUTC(d.At), LastReplyAt: isoOrNull(d.LastReplyAt),
		Decision: decisionShape{d.Decision, isoOrNull(d.Decision.Until)},
		Stderr:   make([]stderrShape, len(d.Stderr)),
		Frames:   make([]frameShape, len(d.Frames)),
		Memory:   make([]memoryAtShape, len(d.Memory)),
	}
	for i, line := range d.Stderr {
		c.Stderr[i] = stderrShape{line, isoUTC(line.At)}
	}
	for i, f := range d.Frames {
		c.Frames[i] = frameShape{f, isoOrNull(f.At)}
	}
	for i, m := range d.Memory {
		c.Memory[i] = memoryAtShape{m, isoUTC(m.At)}
	}
	// Null is no list: a document of another version may lack them.
	c.Calls, c.Changed = append([]supervisor.DossierCall{}, d.Calls...), append([]string{}, d.Changed...)
	return c
}
