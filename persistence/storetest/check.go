package storetest

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/aabb9013/hangar/persistence"
)

// ReadAll pages through the whole log.
func ReadAll(t *testing.T, s persistence.Store, page int) []persistence.Event {
	t.Helper()
	return pages(t, page, func(from uint64) ([]persistence.Event, error) { return s.Events(from, page) },
		func(e persistence.Event) uint64 { return e.Position })
}

func pages(t *testing.T, page int, read func(from uint64) ([]persistence.Event, error), number func(persistence.Event) uint64) []persistence.Event {
	t.Helper()
	var all []persistence.Event
	for from := uint64(1); ; {
		events, err := read(from)
		if err != nil {
			t.Fatalf("page from %d: %v", from, err)
		}
		if len(events) > page {
			t.Fatalf("page of %d events, limit %d", len(events), page)
		}
		if len(events) == 0 {
			return all
		}
		all = append(all, events...)
		from = number(events[len(events)-1]) + 1
	}
}

// CheckNumbers reads everything and proves that positions, from first on, and
// versions have no gaps and that every stream reads the same on its own. It
// returns the log.
func CheckNumbers(t *testing.T, s persistence.Store, first uint64) []persistence.Event {
	t.Helper()
	log := CheckRetained(t, s)
	last := map[string]uint64{}
	for i, e := range log {
		if want := first + uint64(i); e.Position != want {
			t.Fatalf("event %d: position %d, want %d", i, e.Position, want)
		}
		if before, ok := last[e.Stream]; ok && e.Version != before+1 {
			t.Fatalf("position %d: version %d of %q after %d", e.Position, e.Version, e.Stream, before)
		} else if !ok && first == 1 && e.Version != 1 {
			t.Fatalf("position %d: %q begins with version %d", e.Position, e.Stream, e.Version)
		}
		last[e.Stream] = e.Version
	}
	return log
}

// CheckRetained is CheckNumbers for a log that retention has dropped something
// of: positions and versions may jump, forward only, and only together.
func CheckRetained(t *testing.T, s persistence.Store) []persistence.Event {
	t.Helper()
	log := ReadAll(t, s, 997)
	streams := map[string][]persistence.Event{}
	dropped := map[string]uint64{} // versions left out
	var left uint64                // positions left out
	for i, e := range log {
		if i > 0 {
			if e.Position <= log[i-1].Position {
				t.Fatalf("position %d after %d", e.Position, log[i-1].Position)
			}
			left += e.Position - log[i-1].Position - 1
		} else {
			left = e.Position - 1
		}
		before := uint64(0)
		if own := streams[e.Stream]; len(own) > 0 {
			before = own[len(own)-1].Version
		}
		if e.Version <= before {
			t.Fatalf("position %d: version %d of %q after %d", e.Position, e.Version, e.Stream, before)
		}
		if dropped[e.Stream] += e.Version - before - 1; dropped[e.Stream] > left {
			t.Fatalf("position %d: %q lacks %d versions, the log %d positions", e.Position, e.Stream, dropped[e.Stream], left)
		}
		streams[e.Stream] = append(streams[e.Stream], e)
	}
	if len(log) > 0 && s.LastPosition() != log[len(log)-1].Position {
		t.Fatalf("last position %d, log ends at %d", s.LastPosition(), log[len(log)-1].Position)
	}
	var control []persistence.Event
	for _, e := range log {
		if e.Kind != persistence.KindCallCompleted && e.Kind != persistence.KindCallFailed {
			control = append(control, e)
		}
	}
	got := pages(t, 7, func(from uint64) ([]persistence.Event, error) { return s.ControlEvents(from, 7) },
		func(e persistence.Event) uint64 { return e.Position })
	if diff := Diff(control, got); diff != "" {
		t.Fatalf("control events (-from the log +on their own):\n%s", diff)
	}
	for stream, want := range streams {
		version := func(e persistence.Event) uint64 { return e.Version }
		got := pages(t, 991, func(from uint64) ([]persistence.Event, error) { return s.StreamEvents(stream, from, 991) }, version)
		if diff := Diff(want, got); diff != "" {
			t.Fatalf("stream %q (-from the log +on its own):\n%s", stream, diff)
		}
		var calls []persistence.Event
		for _, e := range want {
			if e.Kind == persistence.KindCallCompleted || e.Kind == persistence.KindCallFailed {
				calls = append(calls, e)
			}
		}
		page := 7
		if len(calls) > 5000 {
			page = 2011 // every page opens its blocks again
		}
		got = pages(t, page, func(from uint64) ([]persistence.Event, error) { return s.History(stream, from, page) }, version)
		if diff := Diff(calls, got); diff != "" {
			t.Fatalf("history of %q (-want +got):\n%s", stream, diff)
		}
	}
	return log
}

// Fill writes random batches and call blocks and returns how many events.
func Fill(t *testing.T, s persistence.Store, random *rand.Rand, writes int) (events int) {
	t.Helper()
	stream := func() string { return []string{"", "a", "b", "c", "long-server-name", "x\x00y"}[random.IntN(6)] }
	for range writes {
		if random.IntN(2) == 0 {
			var records []persistence.CallRecord
			for range random.IntN(200) {
				r := call(stream(), random.Uint64())
				r.Outcome = persistence.Outcome(1 + random.IntN(3))
				r.Tool = fmt.Sprint("tool", random.IntN(9))
				records = append(records, r)
			}
			lost := uint64(max(0, random.IntN(12)-10))
			if err := s.AppendCalls(Pack(records...), lost); err != nil {
				t.Fatal(err)
			}
			events += len(records) + int(min(lost, 1))
			continue
		}
		batches := make([]persistence.Batch, random.IntN(5))
		for i := range batches {
			for range random.IntN(4) {
				kind := []string{"A", "B", persistence.KindCallCompleted}[random.IntN(3)]
				batches[i].Events = append(batches[i].Events, persistence.Event{Stream: stream(), Kind: kind})
				events++
			}
		}
		commit(t, s, batches...)
	}
	return events
}

func testPaging(t *testing.T, s persistence.Store) {
	random := rand.New(rand.NewPCG(1, 2))
	want := Fill(t, s, random, 120)
	log := CheckNumbers(t, s, 1)
	if len(log) != want {
		t.Fatalf("log has %d events, want %d", len(log), want)
	}
	for _, page := range []int{1, 3, 64} {
		if diff := Diff(log, ReadAll(t, s, page)); diff != "" {
			t.Fatalf("pages of %d (-whole +pages):\n%s", page, diff)
		}
	}
}

// Diff says where two lists of events differ first, "" if nowhere. cmp.Diff
// alone takes minutes for a long log.
func Diff(want, got []persistence.Event) string {
	for i := range min(len(want), len(got)) {
		w, g := want[i], got[i]
		same := w.Position == g.Position && w.Version == g.Version && w.Stream == g.Stream &&
			w.Kind == g.Kind && w.At.Equal(g.At) && bytes.Equal(w.Data, g.Data)
		if !same {
			return fmt.Sprintf("event %d:\n%s", i, cmp.Diff(w, g))
		}
	}
	if len(want) != len(got) {
		return fmt.Sprintf("-%d events\n+%d events", len(want), len(got))
	}
	return ""
}
