package link

import (
	"slices"
	"time"

	"github.com/aabb9013/hangar/backends"
)

// entry is a call in flight with its position in the outgoing stream.
type entry struct {
	call    *backends.Call
	start   uint64
	control bool
	// deadline is the call's own, which may be reused once it is finished.
	deadline time.Time
}

// table is the calls in flight by id. It is searched from the front: they are
// few, most answers come in order, and of an instance that was not in use for a
// while two lines of memory are fetched instead of the four or five of a map.
type table struct {
	ids     []uint64
	entries []entry // of the same index
}

// spareEntries is how many entries an empty table keeps room for.
const spareEntries = 16

func (t *table) len() int { return len(t.ids) }

func (t *table) put(id uint64, e entry) {
	t.ids = append(t.ids, id)
	t.entries = append(t.entries, e)
}

// find returns the entry, valid until the table changes, or nil.
func (t *table) find(id uint64) *entry {
	if i := slices.Index(t.ids, id); i >= 0 {
		return &t.entries[i]
	}
	return nil
}

func (t *table) take(id uint64) (entry, bool) {
	i := slices.Index(t.ids, id)
	if i < 0 {
		return entry{}, false
	}
	e := t.entries[i]
	t.drop(i)
	return e, true
}

// drop fills the gap with the youngest.
func (t *table) drop(i int) {
	last := len(t.ids) - 1
	t.ids[i], t.entries[i] = t.ids[last], t.entries[last]
	t.entries[last] = entry{}
	t.ids, t.entries = t.ids[:last], t.entries[:last]
	if last == 0 && cap(t.entries) > spareEntries {
		*t = table{}
	}
}

// takeDue takes the entries whose deadline is not after now, and returns the
// earliest of the others, zero if none has one.
func (t *table) takeDue(now time.Time) (due []entry, next time.Time) {
	for i := 0; i < len(t.ids); {
		switch at := t.entries[i].deadline; {
		case at.IsZero():
		case !at.After(now):
			due = append(due, t.entries[i])
			t.drop(i)
			continue
		case next.IsZero() || at.Before(next):
			next = at
		}
		i++
	}
	return due, next
}
