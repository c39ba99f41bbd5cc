package hangar_test

import (
	"fmt"
	"testing"

	"github.com/aabb9013/hangar"
)

// TestCallOptionsReachTheGroup: a pinned principal goes to its member, a
// session stays with one, and calls without either take turns.
func TestCallOptionsReachTheGroup(t *testing.T) {
	rt := open(t, hangar.Options{})
	ctx := t.Context()
	group := hangar.GroupSpec{ID: "pool", Affinity: "session", Pins: map[string]string{"alice": "s2"}}
	for i := range 3 {
		id := fmt.Sprint("s", i)
		create(t, rt, stub(id))
		if _, err := rt.Servers().Start(ctx, id); err != nil {
			t.Fatal(err)
		}
		group.Members = append(group.Members, hangar.GroupMember{ID: id})
	}
	if err := rt.Groups().Create(ctx, group); err != nil {
		t.Fatal(err)
	}
	counts := func(opts ...hangar.CallOption) (of [3]uint64) {
		t.Helper()
		for i, v := range rt.Servers().List() {
			of[i] -= uint64(v.Counters.Calls.Load())
		}
		for range 6 {
			if _, err := rt.Call(ctx, "pool", "pid", nil, opts...); err != nil {
				t.Fatal(err)
			}
		}
		for i, v := range rt.Servers().List() {
			of[i] += uint64(v.Counters.Calls.Load())
		}
		return of
	}
	if of := counts(hangar.AsPrincipal("alice")); of != [3]uint64{0, 0, 6} {
		t.Errorf("alice's calls: %v", of)
	}
	if of := counts(hangar.AsPrincipal("bob")); of != [3]uint64{2, 2, 2} {
		t.Errorf("bob's calls: %v", of)
	}
	used := map[[3]uint64]bool{}
	for n := range 12 {
		in := hangar.InSession(fmt.Sprint("session ", n))
		of := counts(in)
		if of[0] != 6 && of[1] != 6 && of[2] != 6 {
			t.Errorf("one session's calls: %v", of)
		}
		used[of] = true
	}
	if len(used) < 2 {
		t.Error("twelve sessions are all with one member")
	}
}
