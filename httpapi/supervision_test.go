package httpapi

import (
	"encoding/json"
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/aabb9013/hangar/supervisor"
)

func supervisionOf(t *testing.T, rt *fakeRuntime, query string) (tree treeShape) {
	t.Helper()
	r := send(t, testAPI(rt), request{method: "GET", path: "/api/supervision" + query})
	if r.status != 200 {
		t.Fatalf("%d %s", r.status, r.body)
	}
	var raw struct {
		treeShape
		Servers []map[string]any `json:"servers"`
	}
	if err := json.Unmarshal(r.body, &raw); err != nil {
		t.Fatal(err)
	}
	tree = raw.treeShape
	for _, s := range raw.Servers { // states do not decode: they are only written
		tree.Servers = append(tree.Servers, supervisedShape{ID: fmt.Sprint(s["mcp_server_id"])})
	}
	return tree
}

func TestSupervisionTree(t *testing.T) {
	r := send(t, testAPI(testFleet()), request{method: "GET", path: "/api/supervision?server=flaky"})
	var got, want any
	if err := json.Unmarshal(r.body, &got); err != nil {
		t.Fatal(err)
	}
	err := json.Unmarshal([]byte(`{
		"root": {"name": "root", "actors": [{"name": "eventlog", "failures": 0, "children": 0}, {"name": "servers", "failures": 2, "children": 4}]},
		"servers": [{
			"mcp_server_id": "flaky", "state": "degraded", "phase": "backoff", "epoch": 9, "restart": "transient", "strategy": "rest_for_one",
			"depends_on": ["math"], "dependents": [], "budget": {"used": 3, "max": 5, "period_s": 60, "text": "3/5 in 60 s"},
			"streak": 4, "consecutive_failures": 3, "backoff_delay_s": 5, "next_retry_at": "2026-03-23T10:15:34.500000Z",
			"last_error": "exit code 1\\u000alast line", "actor_restarts": 1
		}],
		"total": 1, "offset": 0
	}`), &want)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestSupervisionPagesAndLinks(t *testing.T) {
	rt := testFleet()
	ids := func(tree treeShape) (all []string) {
		for _, s := range tree.Servers {
			all = append(all, s.ID)
		}
		return all
	}
	for query, want := range map[string][]string{
		"":                  {"math", "flaky", "planned", "lost"},
		"?limit=2":          {"math", "flaky"},
		"?limit=2&offset=3": {"lost"},
		"?offset=9":         nil,
		"?limit=0":          {"math"},
		"?limit=x&offset=y": {"math", "flaky", "planned", "lost"},
		"?server=lost":      {"lost"},
	} {
		if diff := cmp.Diff(want, ids(supervisionOf(t, rt, query))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", query, diff)
		}
	}
	if above := dependentsOf(rt.views)["math"]; len(above) != 1 || above[0] != "flaky" {
		t.Errorf("dependents of math: %v", above)
	}
	wantError(t, send(t, testAPI(rt), request{method: "GET", path: "/api/supervision?server=nobody"}), 404, "McpServerNotFoundError", "nobody")
}

// TestSupervisionOfAFullNode: one answer for every server a node can host.
func TestSupervisionOfAFullNode(t *testing.T) {
	rt := testFleet()
	flaky := rt.views[1]
	rt.views = nil
	for i := range maxSupervised {
		v := *flaky
		v.Spec.ID = fmt.Sprint("server-number-", i)
		rt.views = append(rt.views, &v)
	}
	r := sendRaw(testAPI(rt), request{method: "GET", path: "/api/supervision"})
	if r.status != 200 || len(r.body) > 6<<20 {
		t.Errorf("%d, %d bytes", r.status, len(r.body))
	}
}

func TestReset(t *testing.T) {
	rt := testFleet()
	r := send(t, testAPI(rt), request{method: "POST", path: "/api/mcp_servers/math/reset"})
	if r.status != 200 || string(r.body) != `{"mcp_server_id":"math","reset":true,"state":"ready"}` {
		t.Errorf("%d %s", r.status, r.body)
	}
	wantError(t, send(t, testAPI(rt), request{method: "POST", path: "/api/mcp_servers/nobody/reset"}), 404, "McpServerNotFoundError", "nobody")
}

func TestStopWithDependents(t *testing.T) {
	rt := testFleet()
	var reasons []string
	rt.stop = func(_, reason string) error { reasons = append(reasons, reason); return nil }
	for body, want := range map[string]string{
		`{"reason":"r","dependents":true}`:   `{"stopped":"math","mcp_server_id":"math","reason":"r","stopped_servers":["above","math"]}`,
		`{"reason":"r","dependents":"true"}`: `{"stopped":"math","mcp_server_id":"math","reason":"r"}`,
		`{"reason":"r"}`:                     `{"stopped":"math","mcp_server_id":"math","reason":"r"}`,
	} {
		r := send(t, testAPI(rt), request{method: "POST", path: "/api/mcp_servers/math/stop", body: body})
		if r.status != 200 || string(r.body) != want {
			t.Errorf("%s: %d %s", body, r.status, r.body)
		}
	}
	if len(reasons) != 3 {
		t.Errorf("%v", reasons)
	}
}

func TestDeleteOfAServerInUse(t *testing.T) {
	rt := testFleet()
	rt.remove = func(string) error {
		return errors.Join(fmt.Errorf("%w: server %q is in depends_on of flaky; delete those first", supervisor.ErrInUse, "math"))
	}
	r := send(t, testAPI(rt), request{method: "DELETE", path: "/api/mcp_servers/math"})
	wantError(t, r, 409, "McpServerInUseError", "in depends_on of flaky")
}
