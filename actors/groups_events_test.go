package actors

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/aabb9013/hangar/persistence"
	"github.com/aabb9013/hangar/supervisor"
)

// openStore is the store that a runtime has on disk.
func openStore(t *testing.T) persistence.Store {
	t.Helper()
	store, err := persistence.Open(persistence.Options{Dir: t.TempDir(), MinFreeBytes: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	return store
}

// groupLines are the events of the group pool from a version on, each with all of its
// fields, sorted: members become ready in any order.
func groupLines(t *testing.T, store persistence.Store, from uint64) []string {
	t.Helper()
	events, err := store.StreamEvents("pool", from, 1000)
	if err != nil {
		t.Fatal(err)
	}
	lines := []string{}
	for _, e := range events {
		var data map[string]any
		if err := json.Unmarshal(e.Data, &data); err != nil {
			t.Fatal(err)
		}
		if data["group_id"] != "pool" || e.At.IsZero() {
			t.Errorf("%s of %v: %v", e.Kind, e.At, data)
		}
		delete(data, "group_id")
		line := e.Kind
		for _, field := range slices.Sorted(maps.Keys(data)) {
			line += fmt.Sprintf(" %s=%v", field, data[field])
		}
		lines = append(lines, line)
	}
	slices.Sort(lines)
	return lines
}

// TestGroupEventsInTheStoreOnDisk: each change of a group is told by exactly the
// contract's events (reference section 8.1), with exactly their fields.
func TestGroupEventsInTheStoreOnDisk(t *testing.T) {
	store := openStore(t)
	s := newTestSystemWith(t, nil, func(o *Options) {
		o.Store, o.Specs = store, specs(3)
		for i := range o.Specs {
			// It starts again when the group wants it, not by itself.
			o.Specs[i].Restart, o.Specs[i].HealthCheckInterval, o.Specs[i].IdleTTL = supervisor.Temporary, time.Hour, time.Hour
		}
	})
	ctx := context.Background()
	pool := groupSpec([]string{"s0", "s1"}, func(g *supervisor.GroupSpec) {
		g.BreakerThreshold, g.MinHealthy, g.BreakerReset = 1, 2, time.Hour
	})
	text := "new"
	from := uint64(1)
	for _, step := range []struct {
		name string
		do   func() error
		want string
	}{
		{"create", func() error { return s.CreateGroup(ctx, pool) }, `
			GroupCreated min_healthy=2 source=api strategy=round_robin
			GroupMemberAdded member_id=s0 priority=1 weight=1
			GroupMemberAdded member_id=s1 priority=1 weight=1
			GroupMemberHealthChanged in_rotation=true member_id=s0 reason=healthy_threshold_reached
			GroupMemberHealthChanged in_rotation=true member_id=s1 reason=healthy_threshold_reached
			GroupStateChanged healthy_count=1 new_state=partial old_state=inactive total_count=2
			GroupStateChanged healthy_count=2 new_state=healthy old_state=partial total_count=2`},
		{"crash", func() error { s.backend.Last("s0").Crash(1); return nil }, `
			CircuitBreakerStateChanged mcp_server_id=pool new_state=open old_state=closed
			GroupCircuitOpened failure_count=1
			GroupMemberHealthChanged in_rotation=false member_id=s0 reason=member_failed
			GroupStateChanged healthy_count=1 new_state=degraded old_state=healthy total_count=2`},
		{"rebalance", func() error { return s.Rebalance(ctx, "pool") }, `
			CircuitBreakerStateChanged mcp_server_id=pool new_state=closed old_state=open
			GroupCircuitClosed
			GroupMemberHealthChanged in_rotation=true member_id=s0 reason=healthy_threshold_reached
			GroupStateChanged healthy_count=1 new_state=partial old_state=degraded total_count=2
			GroupStateChanged healthy_count=2 new_state=healthy old_state=partial total_count=2`},
		{"update", func() error { return s.UpdateGroup(ctx, "pool", supervisor.GroupPatch{Description: &text}) }, `
			GroupUpdated`},
		{"remove a member", func() error { return s.RemoveMember(ctx, "pool", "s0") }, `
			GroupMemberRemoved member_id=s0
			GroupStateChanged healthy_count=1 new_state=partial old_state=healthy total_count=1`},
		{"add a member", func() error { return s.AddMember(ctx, "pool", supervisor.GroupMember{ID: "s0", Weight: 3}) }, `
			GroupMemberAdded member_id=s0 priority=1 weight=3
			GroupMemberHealthChanged in_rotation=true member_id=s0 reason=healthy_threshold_reached
			GroupStateChanged healthy_count=2 new_state=healthy old_state=partial total_count=2`},
		{"reload with other members", func() error {
			return s.PutGroup(ctx, groupSpec([]string{"s1", "s2"}, func(g *supervisor.GroupSpec) {
				g.MinHealthy, g.Provenance = 2, supervisor.FromConfig
			}))
		}, `
			GroupMemberAdded member_id=s2 priority=1 weight=1
			GroupMemberHealthChanged in_rotation=true member_id=s2 reason=healthy_threshold_reached
			GroupMemberRemoved member_id=s0
			GroupStateChanged healthy_count=1 new_state=partial old_state=healthy total_count=2
			GroupStateChanged healthy_count=2 new_state=healthy old_state=partial total_count=2
			GroupUpdated source=config`},
		{"stop a member", func() error { return s.Stop(ctx, "s2", "test") }, `
			GroupMemberHealthChanged in_rotation=false member_id=s2 reason=member_stopped
			GroupStateChanged healthy_count=1 new_state=partial old_state=healthy total_count=2`},
		{"delete a member's server", func() error { return s.Delete(ctx, "s2") }, `
			GroupMemberRemoved member_id=s2`},
		{"stop the last member", func() error {
			// The removal of s2 is told before it is applied.
			for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
				if v, _ := s.GroupView("pool"); len(v.Members) == 1 {
					break
				}
			}
			return s.Stop(ctx, "s1", "test")
		}, `
			GroupMemberHealthChanged in_rotation=false member_id=s1 reason=member_stopped
			GroupStateChanged healthy_count=0 new_state=inactive old_state=partial total_count=1`},
		{"delete", func() error { return s.DeleteGroup(ctx, "pool") }, `
			GroupDeleted`},
	} {
		if err := step.do(); err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		var want []string
		for line := range strings.Lines(strings.TrimSpace(step.want)) {
			want = append(want, strings.TrimSpace(line))
		}
		var got []string
		for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
			if got = groupLines(t, store, from); len(got) >= len(want) {
				break
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("%s (-want +got):\n%s", step.name, diff)
		}
		from += uint64(len(got))
	}
}

// TestEventsOfGroupsOfTheFile: a start tells the file's groups with their members.
func TestEventsOfGroupsOfTheFile(t *testing.T) {
	store := openStore(t)
	newTestSystemWith(t, nil, func(o *Options) {
		o.Store, o.Specs = store, specs(2)
		spec := groupSpec([]string{"s0", "s1"}, func(g *supervisor.GroupSpec) { g.AutoStart, g.Provenance = false, supervisor.FromConfig })
		other := spec
		other.ID = "other"
		o.Groups = []supervisor.GroupSpec{spec, other}
	})
	want := []string{
		"GroupCreated min_healthy=1 source=config strategy=round_robin",
		"GroupMemberAdded member_id=s0 priority=1 weight=1",
		"GroupMemberAdded member_id=s1 priority=1 weight=1",
	}
	if diff := cmp.Diff(want, groupLines(t, store, 1)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
