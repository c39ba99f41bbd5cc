package httpapi

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/aabb9013/hangar/supervisor"
)

// frontOf is a front over the fleet of the REST tests.
func frontOf(rt *fakeRuntime) *Front {
	return NewFront(FrontOptions{Runtime: rt, Now: func() time.Time { return testNow }})
}

// own calls one of the front's own tools.
func own(t *testing.T, f *Front, name, arguments string) (json.RawMessage, bool) {
	t.Helper()
	return toolAnswer(t, f.ask(t, local(), callBody("1", name, arguments)))
}

func TestHangarToolsHaveTheirFields(t *testing.T) {
	rt := testFleet()
	rt.start = func(_ context.Context, id string) (*supervisor.View, error) {
		v, _ := rt.View(id)
		return v, nil
	}
	f := frontOf(rt)
	for _, tc := range []struct{ golden, tool, arguments string }{
		{"mcp_list", "hangar_list", `{}`},
		{"mcp_list_state", "hangar_list", `{"state_filter":"dead"}`},
		{"mcp_list_unknown_state", "hangar_list", `{"state_filter":"nope"}`},
		{"mcp_start", "hangar_start", `{"mcp_server":"math"}`},
		{"mcp_stop", "hangar_stop", `{"mcp_server":"math"}`},
		{"mcp_status", "hangar_status", `{}`},
		{"mcp_tools", "hangar_tools", `{"mcp_server":"math"}`},
		{"mcp_tools_predefined", "hangar_tools", `{"mcp_server":"planned"}`},
		{"mcp_details", "hangar_details", `{"mcp_server":"math"}`},
		{"mcp_details_dead", "hangar_details", `{"mcp_server":"lost"}`},
	} {
		body, isError := own(t, f, tc.tool, tc.arguments)
		if isError {
			t.Errorf("%s: %s", tc.golden, body)
		}
		if strings.Contains(string(body), "hunter2") {
			t.Errorf("%s shows a secret", tc.golden)
		}
		golden(t, tc.golden, body)
	}
}

func TestHangarToolsStartWhatTheyNeed(t *testing.T) {
	rt := testFleet()
	starts, stops := []string{}, []string{}
	rt.start = func(ctx context.Context, id string) (*supervisor.View, error) {
		if _, ok := ctx.Deadline(); !ok {
			t.Error("a start without a bound")
		}
		starts = append(starts, id)
		v := *rt.views[0]
		v.Spec.ID = id
		return &v, nil
	}
	rt.stop = func(id, reason string) error {
		stops = append(stops, id+" "+reason)
		return nil
	}
	f := frontOf(rt)
	own(t, f, "hangar_tools", `{"mcp_server":"math"}`)
	own(t, f, "hangar_tools", `{"mcp_server":"planned"}`) // its list is in the configuration
	own(t, f, "hangar_details", `{"mcp_server":"lost"}`)
	if len(starts) > 0 {
		t.Errorf("started %v without need", starts)
	}
	body, _ := own(t, f, "hangar_tools", `{"mcp_server":"lost"}`)
	own(t, f, "hangar_start", `{"mcp_server":"flaky"}`)
	own(t, f, "hangar_stop", `{"mcp_server":"math"}`)
	if fmt.Sprint(starts, stops) != "[lost flaky] [math manual_stop]" || !strings.Contains(string(body), `"name":"add"`) {
		t.Errorf("started %v, stopped %v, tools %s", starts, stops, body)
	}
}

func TestHangarToolsRefuseWrongArguments(t *testing.T) {
	rt := testFleet()
	rt.start = func(context.Context, string) (*supervisor.View, error) {
		return nil, fmt.Errorf("%w: no such program", supervisor.ErrStartFailed)
	}
	f := frontOf(rt)
	for _, tc := range []struct{ tool, arguments, kind, text string }{
		{"hangar_start", `{}`, "ValidationError", "mcp_server is required"},
		{"hangar_start", `{"mcp_server":""}`, "ValidationError", "mcp_server must not be empty"},
		{"hangar_start", `{"mcp_server":5}`, "ValidationError", "mcp_server must be a string"},
		{"hangar_start", `{"mcp_server":"math","force":true}`, "ValidationError", "unknown field"},
		{"hangar_start", `[]`, "InvalidRequestError", "arguments must be a JSON object"},
		{"hangar_start", `7`, "InvalidRequestError", "arguments must be a JSON object"},
		{"hangar_start", `{"mcp_server":"math","mcp_server":"x"}`, "InvalidRequestError", "twice"},
		{"hangar_start", `{"mcp_server":"nope"}`, "McpServerNotFoundError", `"nope"`},
		{"hangar_stop", `{"mcp_server":"nope"}`, "McpServerNotFoundError", `"nope"`},
		{"hangar_tools", `{"mcp_server":"nope"}`, "McpServerNotFoundError", `"nope"`},
		{"hangar_details", `{"mcp_server":"nope"}`, "McpServerNotFoundError", `"nope"`},
		{"hangar_start", `{"mcp_server":"math"}`, "McpServerStartError", "no such program"},
		{"hangar_tools", `{"mcp_server":"lost"}`, "McpServerStartError", "no such program"},
		{"hangar_list", `{"state_filter":5}`, "ValidationError", "state_filter must be a string"},
		{"hangar_list", `{"x":5}`, "ValidationError", "unknown field"},
		{"hangar_status", `{"x":5}`, "ValidationError", "unknown field"},
		{"hangar_call", `{}`, "ValidationError", "calls must be a list"},
		{"hangar_call", `{"calls":[]}`, "ValidationError", "calls must be a list"},
		{"hangar_call", `{"calls":{}}`, "ValidationError", "calls must be a list"},
		{"hangar_call", `{"calls":[` + strings.Repeat("1,", 100) + `1]}`, "ValidationError", "1 to 100"},
		{"hangar_call", `{"calls":[{}],"max_concurrency":51}`, "ValidationError", "max_concurrency"},
		{"hangar_call", `{"calls":[{}],"max_concurrency":0}`, "ValidationError", "max_concurrency"},
		{"hangar_call", `{"calls":[{}],"max_attempts":11}`, "ValidationError", "max_attempts"},
		{"hangar_call", `{"calls":[{}],"timeout":0.5}`, "ValidationError", "timeout"},
		{"hangar_call", `{"calls":[{}],"timeout":301}`, "ValidationError", "timeout"},
		{"hangar_call", `{"calls":[{}],"timeout":"60"}`, "ValidationError", "timeout"},
		{"hangar_call", `{"calls":[{}],"fail_fast":1}`, "ValidationError", "fail_fast"},
		{"hangar_call", `{"calls":[{}],"parallel":1}`, "ValidationError", "unknown field"},
	} {
		body, isError := own(t, f, tc.tool, tc.arguments)
		var got struct {
			Error, Type string
			Details     map[string]any
		}
		if err := json.Unmarshal(body, &got); err != nil || !isError || got.Type != tc.kind || !strings.Contains(got.Error, tc.text) || got.Details == nil {
			t.Errorf("%s %.60s: got %s (isError %t)", tc.tool, tc.arguments, body, isError)
		}
	}
	// No arguments at all are an empty object.
	for _, params := range []string{`{"name":"hangar_list"}`, `{"name":"hangar_list","arguments":null}`} {
		body, isError := toolAnswer(t, f.ask(t, local(), `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":`+params+`}`))
		if isError || !strings.Contains(string(body), "math") {
			t.Errorf("%s: %s", params, body)
		}
	}
}
