package httpapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/valyala/fasthttp"

	"github.com/aabb9013/hangar/backends"
	"github.com/aabb9013/hangar/internal/jsonrpc"
	"github.com/aabb9013/hangar/supervisor"
)

// Bounds of ?timeout_s= of a tool call.
const (
	minCallTimeout = 1 * time.Second
	maxCallTimeout = 300 * time.Second
)

// maxArgumentsDepth is how deep arguments may nest: in a message of MCP the
// request and its params are around them. Some servers end at a deeper one.
const maxArgumentsDepth = jsonrpc.DefaultMaxDepth - 2

// restSession marks the fair-queueing keys of REST callers, so that they never
// meet the key of an MCP session. Each connection is one session.
const restSession = 1 << 63

type callShape struct {
	ID         string          `json:"mcp_server_id"`
	Tool       string          `json:"tool"`
	Result     json.RawMessage `json:"result"`
	IsError    bool            `json:"is_error"`
	DurationMS float64         `json:"duration_ms"`
}

// rpcAnswer is what a server answered to tools/call.
type rpcAnswer struct {
	Result json.RawMessage `json:"result"`
	Error  *rpcFault       `json:"error"`
}

type rpcFault struct {
	Code    int             `json:"code"`
	Message string          `json:"message"`
	Data    json.RawMessage `json:"data,omitempty"`
}

// callTool makes one tools/call, for people with curl; programs speak MCP. The
// body is the arguments object itself.
func (a *API) callTool(ctx *fasthttp.RequestCtx) error {
	id, tool := pathParam(ctx, "id"), pathParam(ctx, "tool")
	target := a.runtime.Target([]byte(id))
	if target == nil {
		return notFound(id)
	}
	timeout, err := callTimeout(ctx)
	if err != nil {
		return err
	}
	arguments, err := callArguments(ctx.PostBody())
	if err != nil {
		return err
	}
	if knownWithout(target.View(), tool) {
		return toolNotFound(id, tool)
	}
	begin := a.now()
	answer, err := doCall(ctx, target, tool, arguments, timeout)
	if errors.Is(err, supervisor.ErrCallTimeout) {
		return &apiError{
			status: 504, name: "ToolTimeoutError",
			message: fmt.Sprintf("tool %s of mcp_server %s did not answer in %s", quoteClient(tool), quoteClient(id), timeout),
		}
	}
	if err != nil {
		return named(err, id)
	}
	if answer.Error != nil {
		return refusedCall(target, tool, answer.Error)
	}
	return respond(ctx, 200, callShape{
		ID: target.ID(), Tool: tool, Result: answer.Result,
		IsError: isErrorResult(answer.Result), DurationMS: milliseconds(a.now().Sub(begin)),
	})
}

func callTimeout(ctx *fasthttp.RequestCtx) (time.Duration, error) {
	raw := string(ctx.QueryArgs().Peek("timeout_s"))
	if raw == "" {
		return supervisor.DefaultCallTimeout, nil
	}
	s, err := strconv.ParseFloat(raw, 64)
	// Written so that NaN, which ParseFloat takes, is refused too.
	if !(err == nil && s >= minCallTimeout.Seconds() && s <= maxCallTimeout.Seconds()) {
		f := &fields{}
		f.fault("timeout_s", "must be a number between %g and %g", minCallTimeout.Seconds(), maxCallTimeout.Seconds())
		return 0, f.err()
	}
	return time.Duration(s * float64(time.Second)), nil
}

// callArguments checks the arguments and copies them; a server must never get
// a line that breaks its protocol.
func callArguments(body []byte) ([]byte, error) {
	body = bytes.TrimSpace(body)
	switch {
	case len(body) == 0:
		return []byte("{}"), nil
	case nesting(body) > maxArgumentsDepth:
		return nil, badRequest("the arguments nest deeper than %d levels", maxArgumentsDepth)
	case !utf8.Valid(body), !json.Valid(body):
		return nil, badRequest("the body is not valid JSON")
	case body[0] != '{':
		return nil, badRequest("the body must be the JSON object of the tool's arguments")
	}
	return bytes.Clone(body), nil
}

// doCall takes the call through the runtime; it ends when the client leaves.
// The answer shares no memory with the call, which is given back.
func doCall(ctx *fasthttp.RequestCtx, target Target, tool string, arguments []byte, timeout time.Duration) (rpcAnswer, error) {
	c := backends.NewCall()
	c.Session = restSession | ctx.ConnID()
	c.SetToolCall(tool, arguments)
	waiting := beginErrand(ctx.Conn(), errand{target: target, id: c.ID})
	defer waiting.end()
	if err := target.Do(c, timeout); err != nil {
		if releasable(err) {
			c.Release()
		}
		return rpcAnswer{}, err
	}
	var answer rpcAnswer
	err := json.Unmarshal(c.Answer, &answer)
	c.Release()
	if err != nil || answer.Error == nil && len(answer.Result) == 0 {
		return rpcAnswer{}, &apiError{status: 502, name: "ToolInvocationError", message: "the server's answer is no JSON-RPC response"}
	}
	return answer, nil
}

// knownWithout tells whether a server's own, current list lacks the tool. A
// list from the configuration or of an ended instance proves nothing.
func knownWithout(v *supervisor.View, tool string) bool {
	_, known, whole := findTool(v, []byte(tool))
	return !known && whole
}

func toolNotFound(id, tool string) error {
	return &apiError{
		status: 404, name: "ToolNotFoundError",
		message: "tool " + quoteClient(tool) + " not found in mcp_server " + quoteClient(id),
	}
}

// refusedCall is the answer to a JSON-RPC error of the server. -32602 is what
// MCP says for an unknown tool, but also for bad arguments of a known one.
func refusedCall(target Target, tool string, fault *rpcFault) error {
	const invalidParams = -32602
	if fault.Code == invalidParams {
		text := strings.ToLower(fault.Message)
		if knownWithout(target.View(), tool) || strings.Contains(text, "unknown tool") ||
			strings.Contains(text, "tool") && strings.Contains(text, "not found") {
			return toolNotFound(target.ID(), tool)
		}
	}
	return &apiError{
		status: 502, name: "ToolInvocationError",
		message: cleanText(fault.Message, 1000),
		extra:   []extraField{{"rpc_error", fault}},
	}
}

func isErrorResult(result json.RawMessage) bool {
	var r struct {
		IsError bool `json:"isError"`
	}
	return json.Unmarshal(result, &r) == nil && r.IsError
}
