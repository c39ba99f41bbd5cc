package e2e_test

import (
	"errors"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
)

const exampleFleet = "../examples/fleet.yaml"

// TestExampleFleet walks through what README tells a newcomer to try.
func TestExampleFleet(t *testing.T) {
	h := startFile(t, absolute(t, exampleFleet))

	cold := h.list()
	if ids := slices.Sorted(maps.Keys(cold)); !slices.Equal(ids, []string{"calc", "clock", "notes", "text"}) {
		t.Errorf("the example fleet is %v", ids)
	}
	for id, s := range cold {
		if s.State != "cold" || s.Mode != "subprocess" {
			t.Errorf("%s is %s (%s) before its first call, want cold (subprocess)", id, s.State, s.Mode)
		}
	}
	if result := h.mustCall("calc", "add", map[string]any{"a": 2, "b": 3}); result.StructuredContent["result"] != 5.0 {
		t.Errorf("calc add by REST: got %v", result.StructuredContent)
	}
	if s := h.list()["calc"]; s.State != "ready" || !s.Alive || s.ToolsCount != 3 {
		t.Errorf("calc after its first call: got %+v", s)
	}

	c := h.newRPC()
	if names := c.toolNames(); !slices.Contains(names, "calc__add") {
		t.Errorf("tools/list after the first call lacks calc__add: %v", names)
	}
	for tool, arguments := range map[string]map[string]any{
		"calc__evaluate":   {"expression": "6 * 7"},
		"text__word_count": {"text": "one two"},
		"clock__now":       {"time_zone": "Asia/Tokyo"},
		"notes__put":       {"name": "n", "text": "remember"},
	} {
		if result, err := c.call(tool, arguments); err != nil || result.IsError {
			t.Errorf("tools/call %s: %v %s", tool, err, result.text())
		}
	}
	if result := h.mustCall("notes", "get", map[string]any{"name": "n"}); result.StructuredContent["text"] != "remember" {
		t.Errorf("a note written at /mcp, read by REST: got %v", result.StructuredContent)
	}
	names := c.toolNames()
	for _, want := range []string{"calc__add", "text__echo", "clock__add_duration", "notes__list"} {
		if !slices.Contains(names, want) {
			t.Errorf("tools/list lacks %s: %v", want, names)
		}
	}
}

func TestFailuresOfToolsAreResults(t *testing.T) {
	h := startFile(t, absolute(t, exampleFleet))
	result, err := h.call("calc", "evaluate", map[string]any{"expression": "1/0"})
	if err != nil || !result.IsError || !strings.Contains(result.text(), "division by zero") {
		t.Errorf("1/0 by REST: got %v %q", err, result.text())
	}
	result, err = h.newRPC().call("calc__evaluate", map[string]any{"expression": "1/0"})
	if err != nil || !result.IsError || !strings.Contains(result.text(), "division by zero") {
		t.Errorf("1/0 at /mcp: got %v %q", err, result.text())
	}
}

func TestUnknownServersAndToolsAreNamed(t *testing.T) {
	h := startFile(t, absolute(t, exampleFleet))
	h.mustCall("calc", "add", map[string]any{"a": 1, "b": 1})
	for _, c := range []struct{ server, tool, names string }{
		{"nobody", "add", "nobody"},
		{"calc", "nothing", "nothing"},
	} {
		_, err := h.call(c.server, c.tool, map[string]any{})
		var refused *refusal
		if !errors.As(err, &refused) || refused.Status != http.StatusNotFound || !strings.Contains(refused.Message, c.names) {
			t.Errorf("%s %s: got %v, want a 404 that names %s", c.server, c.tool, err, c.names)
		}
	}
	c := h.newRPC()
	for _, tool := range []string{"nobody__add", "calc__nothing", "add"} {
		result, err := c.call(tool, map[string]any{})
		if err == nil && !result.IsError {
			t.Errorf("%s at /mcp: no error", tool)
		}
	}
	// The session lives on after errors.
	if result, err := c.call("calc__add", map[string]any{"a": 1, "b": 2}); err != nil || result.StructuredContent["result"] != 3.0 {
		t.Errorf("calc__add after errors: %v %v", err, result.StructuredContent)
	}
}
