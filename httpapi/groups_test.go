package httpapi

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/aabb9013/hangar/backends"
	"github.com/aabb9013/hangar/supervisor"
)

func TestGroupAnswersAreAsRecorded(t *testing.T) {
	for _, c := range []struct {
		name   string
		req    request
		status int
	}{
		{"group_list", request{method: "GET", path: "/api/groups"}, 200},
		{"group_get", request{method: "GET", path: "/api/groups/pool"}, 200},
		{"group_create", request{method: "POST", path: "/api/groups", body: `{"group_id":"new"}`}, 201},
		{"group_update", request{method: "PUT", path: "/api/groups/pool", body: `{"strategy":"random"}`}, 200},
		{"group_delete", request{method: "DELETE", path: "/api/groups/pool"}, 200},
		{"group_rebalance", request{method: "POST", path: "/api/groups/pool/rebalance"}, 200},
		{"group_add", request{method: "POST", path: "/api/groups/pool/members", body: `{"member_id":"planned"}`}, 201},
		{"group_remove", request{method: "DELETE", path: "/api/groups/pool/members/math"}, 200},
		{"group_not_found", request{method: "GET", path: "/api/groups/math"}, 404},
		{"group_call", request{method: "POST", path: "/api/mcp_servers/pool/tools/add/call"}, 200},
		{"group_tools", request{method: "GET", path: "/api/mcp_servers/pool/tools"}, 200},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := send(t, testAPI(groupFleet()), c.req)
			if r.status != c.status {
				t.Fatalf("status %d, want %d: %s", r.status, c.status, r.body)
			}
			golden(t, c.name, r.body)
		})
	}
}

func TestGroupBodiesAreRead(t *testing.T) {
	rt := groupFleet()
	a := testAPI(rt)
	r := send(t, a, request{method: "POST", path: "/api/groups", body: `{"group_id":"g","strategy":"priority","min_healthy":0,"description":"d","auto_start":false,"affinity":"session","slow_start_s":0}`})
	want := supervisor.GroupSpec{ID: "g", Strategy: supervisor.ByPriority, Description: "d", Affinity: supervisor.AffinitySession, SlowStart: -1, Provenance: supervisor.FromAPI}.WithDefaults()
	if r.status != 201 || fmt.Sprint(rt.created) != fmt.Sprint(want) {
		t.Errorf("%d: %+v, want %+v", r.status, rt.created, want)
	}
	send(t, a, request{method: "POST", path: "/api/groups", body: `{"group_id":"g"}`})
	if want := (supervisor.GroupSpec{ID: "g", AutoStart: true}).WithDefaults(); fmt.Sprint(rt.created) != fmt.Sprint(want) {
		t.Errorf("%+v, want the defaults %+v", rt.created, want)
	}
	send(t, a, request{method: "PUT", path: "/api/groups/pool", body: `{"canary":{"member":"math","percent":7},"min_healthy":3,"affinity":"none"}`})
	if p := rt.patched; **p.Canary != (supervisor.Canary{Member: "math", Percent: 7}) || *p.MinHealthy != 3 || *p.Affinity != "" || p.Strategy != nil {
		t.Errorf("%+v", rt.patched)
	}
	send(t, a, request{method: "PUT", path: "/api/groups/pool", body: `{"canary":null,"strategy":null}`})
	if p := rt.patched; p.Canary == nil || *p.Canary != nil || p.Strategy != nil {
		t.Errorf("a null must end the canary and nothing else: %+v", p)
	}
	send(t, a, request{method: "POST", path: "/api/groups/pool/members", body: `{"member_id":"planned","weight":9,"priority":4}`})
	if rt.added != (supervisor.GroupMember{ID: "planned", Weight: 9, Priority: 4}) {
		t.Errorf("%+v", rt.added)
	}
}

func TestWrongGroupBodiesAreRefused(t *testing.T) {
	for _, c := range []struct {
		method, path, body string
		status             int
		name, text         string
	}{
		{"POST", "/api/groups", ``, 400, "InvalidRequestError", "JSON object"},
		{"POST", "/api/groups", `{}`, 422, "ValidationError", "group_id is required"},
		{"POST", "/api/groups", `{"group_id":"a__b"}`, 422, "ValidationError", "group_id"},
		{"POST", "/api/groups", `{"group_id":"g","strategy":"best"}`, 422, "ValidationError", "strategy"},
		{"POST", "/api/groups", `{"group_id":"g","members":[]}`, 422, "ValidationError", "unknown field"},
		{"POST", "/api/groups", `{"group_id":"g","min_healthy":"x"}`, 422, "ValidationError", "min_healthy"},
		{"PUT", "/api/groups/pool", `{"strategy":"best"}`, 422, "ValidationError", "strategy"},
		{"PUT", "/api/groups/pool", `{"canary":{"member":"math","percent":101}}`, 422, "ValidationError", "canary.percent must be an integer between 0 and 100"},
		{"PUT", "/api/groups/pool", `{"canary":{"member":"math"}}`, 422, "ValidationError", "canary.percent is required"},
		{"PUT", "/api/groups/none", `{}`, 404, "McpServerNotFoundError", "none"},
		{"DELETE", "/api/groups/none", ``, 404, "McpServerNotFoundError", "none"},
		{"POST", "/api/groups/none/rebalance", ``, 404, "McpServerNotFoundError", "none"},
		{"POST", "/api/groups/none/members", `{"member_id":"math"}`, 404, "McpServerNotFoundError", "none"},
		{"POST", "/api/groups/pool/members", `{"member_id":"math","weight":0}`, 422, "ValidationError", "weight"},
		{"POST", "/api/groups/pool/members", `{"weight":1}`, 422, "ValidationError", "member_id"},
		{"DELETE", "/api/groups/pool/members/none", ``, 404, "McpServerNotFoundError", "no member of group"},
	} {
		rt := groupFleet()
		wantError(t, send(t, testAPI(rt), request{method: c.method, path: c.path, body: c.body}), c.status, c.name, c.text)
		if c.status != 404 && rt.changed() != 0 {
			t.Errorf("%s %s: %d changes", c.path, c.body, rt.changed())
		}
	}
}

func TestGroupRefusalsHaveTheirStatus(t *testing.T) {
	for _, c := range []struct {
		err    error
		status int
		name   string
	}{
		{fmt.Errorf("%w: %q", supervisor.ErrServerNotFound, "math"), 404, "McpServerNotFoundError"},
		{fmt.Errorf("%w: twice", supervisor.ErrInvalidSpec), 422, "ValidationError"},
		{supervisor.ErrGroupExists, 422, "ValidationError"},
		{supervisor.ErrReadOnly, 507, "StateReadOnlyError"},
	} {
		rt := groupFleet()
		rt.change = func(string) error { return c.err }
		wantError(t, send(t, testAPI(rt), request{method: "POST", path: "/api/groups/pool/members", body: `{"member_id":"math"}`}), c.status, c.name, "")
		wantError(t, send(t, testAPI(rt), request{method: "POST", path: "/api/groups", body: `{"group_id":"g"}`}), c.status, c.name, "")
	}
}

func TestHangarToolsTakeGroups(t *testing.T) {
	f := frontOf(groupFleet())
	for _, tc := range []struct{ golden, tool, arguments string }{
		{"mcp_group_start", "hangar_start", `{"mcp_server":"pool"}`},
		{"mcp_group_stop", "hangar_stop", `{"mcp_server":"pool"}`},
		{"mcp_group_tools", "hangar_tools", `{"mcp_server":"pool"}`},
		{"mcp_group_details", "hangar_details", `{"mcp_server":"pool"}`},
		{"mcp_group_list", "hangar_group_list", `{}`},
		{"mcp_group_rebalance", "hangar_group_rebalance", `{"group":"pool"}`},
	} {
		body, isError := own(t, f, tc.tool, tc.arguments)
		if isError {
			t.Errorf("%s: %s", tc.golden, body)
		}
		golden(t, tc.golden, body)
	}
	for _, tool := range []string{"hangar_list", "hangar_status"} {
		if body, _ := own(t, f, tool, `{}`); !strings.Contains(string(body), `"pool"`) {
			t.Errorf("%s shows no group: %s", tool, body)
		}
	}
	if body, isError := own(t, f, "hangar_group_rebalance", `{"group":"none"}`); !isError || !strings.Contains(string(body), "McpServerNotFoundError") {
		t.Errorf("%s", body)
	}
	body, _ := own(t, f, "hangar_call", `{"calls":[{"mcp_server":"pool","tool":"add","arguments":{}},{"mcp_server":"pool","tool":"none","arguments":{}}]}`)
	if !strings.Contains(string(body), `has no tool`) {
		t.Errorf("%s", body)
	}
}

func TestToolsOfAGroupAreListedOnceAndCalled(t *testing.T) {
	rt := groupFleet()
	f := frontOf(rt)
	listing := strings.Join(listed(t, f), "\n")
	for _, name := range []string{`"pool__add"`, `"math__add"`, `"pool__old"`} {
		if strings.Count(listing, name) != 1 {
			t.Errorf("%s is listed %d times", name, strings.Count(listing, name))
		}
	}
	answer := string(f.ask(t, local(), callBody("1", "pool__add", `{}`)))
	if !strings.Contains(answer, `"content"`) {
		t.Errorf("%s", answer)
	}
	answer = string(f.ask(t, local(), callBody("1", "pool__none", `{}`)))
	if !strings.Contains(answer, "unknown tool") {
		t.Errorf("%s", answer)
	}
}

// A group's refusal wraps what the last member answered, and is told first.
func TestUnavailableGroupIsToldAsSuch(t *testing.T) {
	for _, last := range []error{nil, supervisor.ErrServerNotFound, &supervisor.CannotStartError{Server: "math"}, supervisor.ErrOverloaded} {
		rt := groupFleet()
		refusal := &supervisor.GroupUnavailableError{Group: "pool", Members: 2, Circuit: supervisor.CircuitOpen, Last: last}
		rt.do = func(*backends.Call, time.Duration) error { return refusal }
		r := send(t, testAPI(rt), request{method: "POST", path: "/api/mcp_servers/pool/tools/add/call"})
		wantError(t, r, 503, "NoAvailableMemberError", "group_unavailable")
		if r.header.Get("Retry-After") == "" {
			t.Error("no Retry-After")
		}
		f := frontOf(rt)
		if answer := string(f.ask(t, local(), callBody("1", "pool__add", `{}`))); !strings.Contains(answer, "-32014") || !strings.Contains(answer, "group_unavailable") {
			t.Errorf("%v at /mcp: %s", last, answer)
		}
		body, _ := own(t, f, "hangar_call", `{"calls":[{"mcp_server":"pool","tool":"add","arguments":{}}]}`)
		if !strings.Contains(string(body), "NoAvailableMemberError") {
			t.Errorf("%v in a batch: %s", last, body)
		}
	}
}
