package actors

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/aabb9013/hangar/backends"
	"github.com/aabb9013/hangar/internal/redact"
	"github.com/aabb9013/hangar/supervisor"
)

// maxHead bounds the beginning of a message that is shown.
const maxHead = 256

// Bounds of a server's own text in events, which must stay below
// persistence.MaxEventData however much of it JSON has to escape.
const (
	maxReason    = 1000
	maxEventLine = 500
)

// ending is what is known of an instance or attempt whose end is being stepped.
type ending struct {
	epoch uint64
	exit  *backends.Exit // nil when no instance came into being
	pid   int
	ready time.Time // since when it was ready, zero if it never was
}

// emitEnd publishes an unwanted end with its dossier, in one transaction. While
// the node is short of something, only the first of the starts that fail for it
// has a dossier: the others would push out those that tell something.
func (c *cell) emitEnd(e supervisor.Event) {
	again := c.short
	c.short = e.Data["class"] == supervisor.FailResource.String()
	if c.short && again {
		c.sys.emit(c.withoutSecrets(e))
		return
	}
	d := c.dossier(e)
	data := maps.Clone(e.Data)
	data["reason"], data["crash_id"], data["kind"] = d.Reason, d.ID, d.Kind
	data["decision"], data["calls_in_flight"], data["oom_killed"] = d.Decision.Action, d.InFlight, d.OOM
	if d.ExitCode != nil {
		data["exit_code"] = *d.ExitCode
	}
	if d.Signal != nil {
		data["signal"] = *d.Signal
	}
	if !d.Decision.Until.IsZero() {
		data["next_retry_at"] = d.Decision.Until
	}
	if n := len(d.Stderr); n > 0 {
		data["last_stderr"] = (*redact.Redactor)(nil).Excerpt(d.Stderr[n-1].Text, maxEventLine, false)
	}
	e.Data, e.At = data, d.At
	body, err := json.Marshal(d)
	if err != nil {
		c.sys.logger.Error("crash dossier not kept", "server", c.id, "err", err)
		c.sys.emit(e)
		return
	}
	if c.leaving.Load() {
		c.sys.emit(e) // its documents have been deleted
		return
	}
	c.crashes++
	docs := dossierDocs(c.id, c.crashes, body)
	// With what the end cost of the restart budget: who reads of the one after a
	// kill -9 finds the other.
	if state, err := c.stateDoc(); err == nil {
		docs = append(docs, state)
	}
	c.sys.emit(e, docs...)
}

// dossier gathers what is known of an unwanted end. It runs between the step
// that decided about it and the next, so that the machine tells the decision.
func (c *cell) dossier(e supervisor.Event) *supervisor.Dossier {
	now := time.Now()
	end := c.ending
	if end == nil || end.epoch != e.Epoch {
		end = &ending{}
	}
	secrets := c.secrets()
	reason, _ := e.Data["reason"].(string)
	d := &supervisor.Dossier{
		ID: fmt.Sprintf("%x-%d", now.UnixNano(), e.Epoch), Server: c.id, Kind: kindOfEnd(e.Kind, end.exit),
		At: now.UTC().Round(0), Epoch: e.Epoch, Reason: secrets.Excerpt(reason, maxReason, false), PID: end.pid,
		Decision: c.decision(e.Kind),
		Stderr:   c.lastLines(e.Epoch, secrets), Frames: []supervisor.DossierFrame{}, Calls: []supervisor.DossierCall{},
		Waiting: c.queue.size, Memory: c.memoryCurve(e.Epoch), LastReplyAt: c.sys.at(&c.repliedAt).UTC().Round(0),
	}
	if !end.ready.IsZero() {
		uptime := now.Sub(end.ready)
		d.Uptime = float64(uptime) / float64(time.Millisecond)
		if uptime >= c.machine.Policy.StableAfter {
			c.changes.good()
		}
	}
	d.Changed = append([]string{}, c.changes.names()...)
	if r := c.replacement; r.isFor(e.Epoch) {
		d.Changed = addNames(d.Changed, changedFields(c.spec, r.spec)...)
	}
	if exit := end.exit; exit != nil {
		d.OOM = exit.OOM
		if exit.Signal != "" {
			d.Signal = &exit.Signal
		} else {
			d.ExitCode = &exit.Code
		}
		if exit.Traffic != nil {
			d.Frames = framesOf(exit.Traffic, secrets)
			d.Calls, d.InFlight = c.callsOf(exit.Traffic, now, secrets), exit.Traffic.InFlight
		}
	}
	return d
}

func (c *cell) decision(kind supervisor.EventKind) supervisor.Decision {
	if kind == supervisor.ServerReplaceFailed {
		return supervisor.Decision{Action: supervisor.DecisionKept}
	}
	return supervisor.DecisionOf(c.machine)
}

func kindOfEnd(kind supervisor.EventKind, exit *backends.Exit) supervisor.DossierKind {
	switch {
	case kind == supervisor.ServerStartFailed, kind == supervisor.ServerReplaceFailed:
		return supervisor.DossierStartFailed
	case exit == nil:
	case errors.Is(exit.Err, backends.ErrUnresponsive):
		return supervisor.DossierUnresponsive
	case errors.Is(exit.Err, backends.ErrProtocol), errors.Is(exit.Err, backends.ErrMessageTooLarge):
		return supervisor.DossierProtocol
	}
	return supervisor.DossierCrash
}

// lastLines are the last lines of stderr of one epoch.
func (c *cell) lastLines(epoch uint64, secrets *redact.Redactor) []supervisor.DossierLine {
	tail := c.log.Tail(supervisor.MaxDossierLines)
	first, room := len(tail), supervisor.MaxDossierText
	texts := make([]string, len(tail))
	for first > 0 && room > 0 && tail[first-1].Epoch == epoch {
		first--
		texts[first] = secrets.Excerpt(tail[first].Text, room, tail[first].Cut)
		room -= len(texts[first])
	}
	lines := make([]supervisor.DossierLine, 0, len(tail)-first)
	for i := first; i < len(tail); i++ {
		lines = append(lines, supervisor.DossierLine{At: tail[i].At.UTC().Round(0), Text: texts[i]})
	}
	return lines
}

func framesOf(t *backends.Traffic, secrets *redact.Redactor) []supervisor.DossierFrame {
	frames := make([]supervisor.DossierFrame, 0, len(t.Frames))
	for _, f := range t.Frames {
		frame := supervisor.DossierFrame{
			Direction: "from_server", ID: f.ID, Method: f.Method, Size: f.Size,
			Head: secrets.Excerpt(string(f.Head), maxHead, !f.Whole),
		}
		if f.Out {
			frame.Direction = "to_server"
		}
		if !f.At.IsZero() {
			frame.At = f.At.UTC().Round(0)
		}
		frames = append(frames, frame)
	}
	return frames
}

// maxDossierTool bounds a tool's name in a dossier; MCP allows 128 characters.
const maxDossierTool = 128

func (c *cell) callsOf(t *backends.Traffic, now time.Time, secrets *redact.Redactor) []supervisor.DossierCall {
	calls := make([]supervisor.DossierCall, 0, len(t.Fates))
	closing := c.sys.closing.Load()
	for _, f := range t.Fates {
		call := supervisor.DossierCall{
			ID: f.ID, Tool: secrets.Excerpt(f.Tool, maxDossierTool, false), Sent: f.Sent, Resent: !f.Sent && !closing,
		}
		if !f.Began.IsZero() {
			call.Age = float64(now.Sub(f.Began)) / float64(time.Millisecond)
		}
		switch {
		case f.Sent:
			call.ErrorType = errorType(backends.ErrCrashed)
		case closing:
			call.ErrorType = errorType(supervisor.ErrClosing)
		}
		calls = append(calls, call)
	}
	return calls
}

func (c *cell) memoryCurve(epoch uint64) []supervisor.MemorySample {
	samples := []supervisor.MemorySample{}
	of, points := c.curve.read()
	if of != epoch {
		return samples // it did not run long enough to be measured
	}
	for _, p := range points {
		samples = append(samples, supervisor.MemorySample{At: p.At.UTC().Round(0), RSS: uint64(max(p.Bytes, 0))})
	}
	return samples
}
