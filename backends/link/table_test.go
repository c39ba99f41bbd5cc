package link

import (
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// The table does what a map does.
func TestTableIsAMap(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	epoch := time.Unix(1_000_000, 0)
	var got table
	want := map[uint64]entry{}
	for step := range 20_000 {
		id := r.Uint64N(40)
		_, known := want[id]
		switch r.IntN(4) {
		case 0, 1:
			if known {
				break
			}
			e := entry{start: uint64(step)}
			if r.IntN(3) > 0 {
				e.deadline = epoch.Add(time.Duration(step+r.IntN(100)) * time.Second)
			}
			got.put(id, e)
			want[id] = e
		case 2:
			e, ok := got.take(id)
			if ok != known || e != want[id] {
				t.Fatalf("step %d: took %v, %v, want %v", step, e, ok, want[id])
			}
			delete(want, id)
		case 3:
			now := epoch.Add(time.Duration(step) * time.Second)
			due, next := got.takeDue(now)
			wantNext := time.Time{}
			for id, e := range want {
				switch {
				case e.deadline.IsZero():
				case !e.deadline.After(now):
					if !slices.Contains(due, e) {
						t.Fatalf("step %d: %v is not due", step, e)
					}
					delete(want, id)
				case wantNext.IsZero() || e.deadline.Before(wantNext):
					wantNext = e.deadline
				}
			}
			if next != wantNext {
				t.Fatalf("step %d: next at %v, want %v", step, next, wantNext)
			}
		}
		if got.len() != len(want) {
			t.Fatalf("step %d: %d entries, want %d", step, got.len(), len(want))
		}
		for id := range maps.Keys(want) {
			if e := got.find(id); e == nil || *e != want[id] {
				t.Fatalf("step %d: %d is %v, want %v", step, id, e, want[id])
			}
		}
	}
}

func TestEmptyTableGivesItsRoomBack(t *testing.T) {
	var c table
	for id := range uint64(10 * spareEntries) {
		c.put(id, entry{})
	}
	for id := range uint64(10 * spareEntries) {
		c.take(id)
	}
	if cap(c.entries) > spareEntries {
		t.Errorf("room for %d entries", cap(c.entries))
	}
}
