package httpapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/aabb9013/hangar/internal/jsonrpc"
	"github.com/aabb9013/hangar/supervisor"
)

// hangarTool is one of the front's own tools (reference section 9.1). Its
// handler returns the structured result; an error becomes an isError result
// of the reference's shape {error, type, details}.
type hangarTool struct {
	name, description string
	schema            string // JSON Schema of the arguments
	readOnly          bool
	// handle ends early when ctx does, which is when the client cancels.
	handle func(ctx context.Context, s *session, args json.RawMessage) (any, error)
}

const serverArgSchema = `{"type":"object","properties":{"mcp_server":{"type":"string","description":"id of the server or group"}},"required":["mcp_server"],"additionalProperties":false}`

// hangarTools is the table of the front's own tools.
func (f *Front) hangarTools() map[string]hangarTool {
	table := []hangarTool{
		{
			name: "hangar_list", description: "List the MCP servers and groups of the fleet with their states.", readOnly: true,
			schema: `{"type":"object","properties":{"state_filter":{"type":["string","null"],"description":"only servers in this state: cold, initializing, ready, degraded or dead"}},"additionalProperties":false}`,
			handle: f.hangarList,
		},
		{name: "hangar_start", description: "Start a server, or all members of a group; returns when it is ready.", schema: serverArgSchema, handle: f.hangarStart},
		{name: "hangar_stop", description: "Stop a server, which the next call starts again, or all members of a group, which stay out of rotation until they are started.", schema: serverArgSchema, handle: f.hangarStop},
		{
			name: "hangar_status", description: "Show the fleet at a glance.", readOnly: true,
			schema: `{"type":"object","properties":{},"additionalProperties":false}`, handle: f.hangarStatus,
		},
		{name: "hangar_tools", description: "List a server's tools with their schemas; starts the server if its tools are not known.", readOnly: true, schema: serverArgSchema, handle: f.hangarToolsOf},
		{name: "hangar_details", description: "Show everything known of one server.", readOnly: true, schema: serverArgSchema, handle: f.hangarDetails},
		{
			name: "hangar_reload_config", description: "Read the configuration file again and apply it; servers that did not change keep running.",
			schema: `{"type":"object","properties":{"graceful":{"type":["boolean","null"],"default":true,"description":"wait for calls in flight of servers that are replaced or removed"}},"additionalProperties":false}`,
			handle: f.hangarReload,
		},
		{
			name: "hangar_call", description: "Call up to 100 tools at once, in parallel; results come in the order of the calls.",
			schema: hangarCallSchema, handle: f.hangarCall,
		},
		{
			name: "hangar_group_list", description: "List the groups with their members.", readOnly: true,
			schema: `{"type":"object","properties":{},"additionalProperties":false}`, handle: f.hangarGroupList,
		},
		{name: "hangar_group_rebalance", description: "Look at all members of a group anew and close its circuit breaker.", schema: groupArgSchema, handle: f.hangarGroupRebalance},
	}
	tools := make(map[string]hangarTool, len(table))
	for _, t := range table {
		tools[t.name] = t
	}
	return tools
}

// hangarToolObjects are the front's own tools as tools/list shows them.
func (f *Front) hangarToolObjects() [][]byte {
	var out [][]byte
	for _, name := range []string{"hangar_list", "hangar_start", "hangar_stop", "hangar_status", "hangar_tools", "hangar_details", "hangar_reload_config", "hangar_call", "hangar_group_list", "hangar_group_rebalance"} {
		t := f.tools[name]
		raw, err := json.Marshal(map[string]any{
			"name": t.name, "description": t.description,
			"inputSchema": json.RawMessage(t.schema),
			"annotations": map[string]any{"readOnlyHint": t.readOnly, "openWorldHint": false},
		})
		if err == nil {
			out = append(out, raw)
		}
	}
	return out
}

// hangarTimeout bounds the tools that wait for a server's start or stop.
const hangarTimeout = 120 * time.Second

// callHangar runs one of the front's own tools.
func (f *Front) callHangar(dst []byte, s *session, key callID, tool hangarTool, raw []byte, env *jsonrpc.Envelope) []byte {
	id := env.ID.Of(raw)
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	if !s.attach(key, flight{stop: cancel}) {
		return f.callFailed(dst, s, id, errCancelled)
	}
	args := bytes.Clone(env.Arguments.Of(raw))
	if args == nil || string(args) == "null" {
		args = []byte("{}")
	}
	result, err := tool.handle(ctx, s, args)
	if err != nil && errors.Is(context.Cause(ctx), errCancelled) {
		return f.callFailed(dst, s, id, errCancelled)
	}
	if err != nil {
		answer, _, known := describeError(err)
		if !known {
			f.log.Error("tool failed for an unknown reason", "tool", tool.name, "err", err)
		}
		details := map[string]any{}
		for _, field := range answer.extra {
			details[field.name] = field.value
		}
		result = map[string]any{"error": answer.message, "type": answer.name, "details": details}
	}
	body, encodeErr := toolResult(result, err != nil)
	if encodeErr != nil {
		return f.callFailed(dst, s, id, fmt.Errorf("cannot encode the result of %s: %w", tool.name, encodeErr))
	}
	return appendResult(dst, id, body)
}

// toolResult is the tools/call result of a structured value: as text for old
// clients, as structuredContent for new ones.
func toolResult(value any, isError bool) ([]byte, error) {
	text, err := encodeJSON(value)
	if err != nil {
		return nil, err
	}
	out := make([]byte, 0, 2*len(text)+len(text)/4+100)
	out = append(out, `{"content":[{"type":"text","text":`...)
	out = jsonrpc.AppendString(out, text)
	out = append(out, `}],"structuredContent":`...)
	out = append(out, text...)
	out = append(out, `,"isError":`...)
	return append(strconv.AppendBool(out, isError), '}'), nil
}

// toolArgs reads a tool's arguments strictly; wrong ones become an isError
// result, as MCP wants it (SEP-1303).
func toolArgs(args json.RawMessage, known ...string) (*fields, error) {
	o, err := decodeObject(args)
	var fault *apiError
	if errors.As(err, &fault) {
		return nil, badRequest("%s", strings.Replace(fault.message, "the body", "arguments", 1))
	}
	if err != nil {
		return nil, err
	}
	f := &fields{object: o}
	f.onlyKnown(known...)
	return f, nil
}

// serverArg reads the one argument mcp_server, which names a server or a group:
// the other of the two is nil.
func (f *Front) serverArg(args json.RawMessage) (*supervisor.View, *supervisor.GroupView, error) {
	a, err := toolArgs(args, "mcp_server")
	if err != nil {
		return nil, nil, err
	}
	id := a.required("mcp_server")
	if err := a.err(); err != nil {
		return nil, nil, err
	}
	if v, ok := f.runtime.View(id); ok {
		return v, nil, nil
	}
	if g, ok := f.runtime.Group(id); ok {
		return nil, g, nil
	}
	return nil, nil, fmt.Errorf("%w: %s", supervisor.ErrServerNotFound, quoteClient(id))
}

func (f *Front) hangarList(_ context.Context, _ *session, args json.RawMessage) (any, error) {
	a, err := toolArgs(args, "state_filter")
	if err != nil {
		return nil, err
	}
	state := a.text("state_filter")
	if err := a.err(); err != nil {
		return nil, err
	}
	servers := []any{}
	for _, v := range f.runtime.Views() {
		if state == nil || v.State.String() == *state {
			servers = append(servers, summaryOf(v))
		}
	}
	return map[string]any{"mcp_servers": servers, "groups": f.groupSummaries(), "runtime_mcp_servers": []any{}}, nil
}

func (f *Front) hangarStart(ctx context.Context, _ *session, args json.RawMessage) (any, error) {
	v, g, err := f.serverArg(args)
	if err != nil {
		return nil, err
	}
	if g != nil {
		return f.startGroup(ctx, g)
	}
	if v, err = f.start(ctx, v.Spec.ID); err != nil {
		return nil, err
	}
	return map[string]any{"mcp_server": v.Spec.ID, "state": v.State, "tools": toolNames(v.Catalogue)}, nil
}

func (f *Front) start(ctx context.Context, id string) (*supervisor.View, error) {
	ctx, cancel := context.WithTimeout(ctx, hangarTimeout)
	defer cancel()
	return f.runtime.StartServer(ctx, id)
}

func (f *Front) hangarStop(ctx context.Context, _ *session, args json.RawMessage) (any, error) {
	v, g, err := f.serverArg(args)
	if err != nil {
		return nil, err
	}
	if g != nil {
		return f.stopGroup(ctx, g)
	}
	ctx, cancel := context.WithTimeout(ctx, hangarTimeout)
	defer cancel()
	const reason = "manual_stop"
	if err := f.runtime.StopServer(ctx, v.Spec.ID, reason); err != nil {
		return nil, err
	}
	return map[string]any{"stopped": v.Spec.ID, "reason": reason}, nil
}

var indicators = map[supervisor.State]string{
	supervisor.Cold: "[COLD]", supervisor.Initializing: "[STARTING]", supervisor.Ready: "[READY]",
	supervisor.Degraded: "[DEGRADED]", supervisor.Dead: "[DEAD]",
}

func (f *Front) hangarStatus(_ context.Context, _ *session, args json.RawMessage) (any, error) {
	a, err := toolArgs(args)
	if err != nil {
		return nil, err
	}
	if err := a.err(); err != nil {
		return nil, err
	}
	views := f.runtime.Views()
	servers := make([]any, 0, len(views))
	healthy := 0
	var lines strings.Builder
	for _, v := range views {
		if v.Health() == "healthy" {
			healthy++
		}
		var lastUsed any
		if v.Counters != nil && v.Counters.LastUsed.Load() > 0 {
			lastUsed = unixFloat(time.Unix(0, v.Counters.LastUsed.Load()))
		}
		servers = append(servers, map[string]any{
			"id": v.Spec.ID, "indicator": indicators[v.State], "state": v.State, "mode": v.Spec.Mode, "last_used": lastUsed,
		})
		fmt.Fprintf(&lines, "%-12s %s\n", indicators[v.State], v.Spec.ID)
	}
	groups := f.groupStatus(&lines)
	uptime := f.opts.Now().Sub(f.runtime.Info().StartedAt)
	return map[string]any{
		"mcp_servers": servers, "groups": groups, "runtime_mcp_servers": []any{},
		"summary": map[string]any{
			"healthy_mcp_servers": healthy, "total_mcp_servers": len(views),
			"runtime_mcp_servers": 0, "runtime_healthy": 0,
			"uptime": uptime.Truncate(time.Second).String(), "uptime_seconds": uptime.Seconds(),
		},
		"formatted": lines.String(),
	}, nil
}

func (f *Front) hangarToolsOf(ctx context.Context, _ *session, args json.RawMessage) (any, error) {
	v, g, err := f.serverArg(args)
	if err != nil {
		return nil, err
	}
	if g != nil {
		return f.groupTools(ctx, g)
	}
	if v.Catalogue == nil {
		if v, err = f.start(ctx, v.Spec.ID); err != nil {
			return nil, err
		}
	}
	return map[string]any{
		"mcp_server": v.Spec.ID, "state": v.State, "predefined": v.ToolsPredefined, "stale": v.ToolsStale, "tools": toolItems(v.Catalogue),
	}, nil
}

func (f *Front) hangarDetails(_ context.Context, _ *session, args json.RawMessage) (any, error) {
	v, g, err := f.serverArg(args)
	if err != nil {
		return nil, err
	}
	if g != nil {
		return groupOf(g), nil
	}
	return struct {
		detailShape
		ToolsPolicy toolsPolicy `json:"tools_policy"`
	}{detailOf(v, f.opts.Now()), toolsPolicy{Type: "none"}}, nil
}

// toolsPolicy says which tools of a server a policy hides; there are no
// policies yet, so it is always of type none.
type toolsPolicy struct {
	Type     string `json:"type"`
	Allow    bool   `json:"has_allow_list"`
	Deny     bool   `json:"has_deny_list"`
	Filtered int    `json:"filtered_count"`
}
