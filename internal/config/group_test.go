package config

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/aabb9013/hangar/supervisor"
)

func TestGroupsBecomeSpecs(t *testing.T) {
	t.Parallel()
	c := mustParse(t, `
mcp_servers:
  pool:
    mode: group
    strategy: priority
    auto_start: false
    health: {unhealthy_threshold: 3, healthy_threshold: 2}
    circuit_breaker: {failure_threshold: 5, reset_timeout_s: 30}
    affinity: session
    slow_start_s: 0
    canary: {member: own, percent: 10}
    pins: {alice: math}
    outlier: {factor: 3.5, interval_s: 5}
    members:
      - {id: own, command: [run], weight: 7, priority: 2}
      - {id: math}
  other: {mode: group, members: [{id: own}]}
  math: {command: [calc]}
`, nil)
	want := []supervisor.GroupSpec{
		{
			ID: "pool", Strategy: supervisor.ByPriority, MinHealthy: 1, UnhealthyThreshold: 3, HealthyThreshold: 2,
			BreakerThreshold: 5, BreakerReset: 30 * time.Second, SlowStart: -1, Affinity: supervisor.AffinitySession,
			Canary: &supervisor.Canary{Member: "own", Percent: 10}, Pins: map[string]string{"alice": "math"},
			Outlier: supervisor.OutlierPolicy{Factor: 3.5, Interval: 5 * time.Second, Ejection: 30 * time.Second, MinCalls: 20},
			Members: []supervisor.GroupMember{{ID: "own", Weight: 7, Priority: 2, Owned: true}, {ID: "math", Weight: 1, Priority: 1}},
		},
		{ID: "other", AutoStart: true, Members: []supervisor.GroupMember{{ID: "own"}}},
	}
	for i := range want {
		want[i].Provenance = supervisor.FromConfig
		want[i] = want[i].WithDefaults()
	}
	if diff := cmp.Diff(want, c.GroupSpecs); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	var ids []string
	for i, s := range c.Servers {
		ids = append(ids, s.ID)
		if c.Definitions[i].ID != s.ID || s.Validate() != nil {
			t.Errorf("server %d is %s and %s: %v", i, s.ID, c.Definitions[i].ID, s.Validate())
		}
	}
	if got := strings.Join(ids, " "); got != "math own" {
		t.Errorf("servers %s", got)
	}
	if list := c.Unsupported(); len(list) != 0 {
		t.Errorf("%v", list)
	}
}

func TestFaultsOfGroupsAreToldWhereTheyAre(t *testing.T) {
	t.Parallel()
	for keys, want := range map[string]string{
		"members: [{id: s}], canary: {member: t, percent: 5}":     "mcp_servers.g.canary: canary must name a member",
		"members: [{id: s}], pins: {alice: t}":                    "mcp_servers.g.pins: pins: \"alice\" is pinned to \"t\"",
		"members: [{id: s}], outlier: {factor: 0.5}":              "mcp_servers.g.outlier: outlier factor",
		"members: [{id: t}]":                                      "mcp_servers.g.members[0].id: no server t",
		"members: [{id: g}]":                                      "is a group",
		"members: [{id: s}, {id: s}]":                             "already",
		"members: [{id: s, weight: 101}]":                         "mcp_servers.g.members[0].weight",
		"strategy: best":                                          "mcp_servers.g.strategy",
		"members: [{id: a, command: [x]}, {id: a, command: [x]}]": "already",
	} {
		_, err := Parse("hangar.yaml", []byte(oneGroup(keys)), nil)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v", keys, err)
		}
	}
	_, err := Parse("hangar.yaml", []byte("mcp_servers: {g: {mode: group, members: [{id: a, command: [x]}]}, h: {mode: group, members: [{id: a, command: [y]}]}}"), nil)
	if err == nil || !strings.Contains(err.Error(), "group g defines a too") {
		t.Errorf("got %v", err)
	}
}
