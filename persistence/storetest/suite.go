// Package storetest is the contract of persistence.Store as a test suite that
// every implementation runs.
package storetest

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/aabb9013/hangar/persistence"
)

// Run runs the suite. open returns a new, empty store; the suite closes it. Its
// run id does not matter.
func Run(t *testing.T, open func(t *testing.T) persistence.Store) {
	for name, test := range map[string]func(*testing.T, persistence.Store){
		"NewStoreIsEmpty":                testEmpty,
		"DocumentsReplaceAndDelete":      testDocs,
		"DocumentNamesDoNotMix":          testDocNames,
		"CommitNumbersEventsWithoutGaps": testNumbers,
		"CommitFillsTimeAndData":         testDefaults,
		"CommitRefusesWhatIsMalformed":   testRefusals,
		"BatchIsAllOrNothing":            testAtomic,
		"CallsBecomeEvents":              testCalls,
		"LostCallsAreCounted":            testLost,
		"MalformedCallsAreRefused":       testMalformedCalls,
		"HistoryShowsOnlyCalls":          testHistory,
		"PagesEqualTheWhole":             testPaging,
		"AnswersBelongToTheCaller":       testOwnership,
		"WritersAndReadersAtOnce":        testConcurrent,
		"BigGroupsAreSplit":              testBigGroup,
		"ClosedStoreSaysSo":              testClosed,
	} {
		t.Run(name, func(t *testing.T) {
			s := open(t)
			t.Cleanup(func() {
				if err := s.Close(); err != nil {
					t.Errorf("close: %v", err)
				}
			})
			test(t, s)
		})
	}
}

// RunFailing proves that every method of a failing store returns its error.
func RunFailing(t *testing.T, s persistence.Store, want error) {
	for name, err := range callAll(s) {
		if !errors.Is(err, want) {
			t.Errorf("%s: got %v, want %v", name, err, want)
		}
	}
	if err := s.Close(); !errors.Is(err, want) {
		t.Errorf("Close: got %v, want %v", err, want)
	}
}

func callAll(s persistence.Store) map[string]error {
	errs := map[string]error{
		"Commit":       s.Commit(event("a", "K")),
		"Commit empty": s.Commit(),
		"AppendCalls":  s.AppendCalls(Pack(call("a", 1)), 0),
		"Append none":  s.AppendCalls(nil, 0),
	}
	_, errs["Docs"] = s.Docs("k")
	_, _, errs["Doc"] = s.Doc("k", "i")
	_, errs["History"] = s.History("a", 1, 1)
	_, errs["Events"] = s.Events(1, 1)
	_, errs["StreamEvents"] = s.StreamEvents("a", 1, 1)
	return errs
}

// Pack packs records as a CallBuffer does.
func Pack(records ...persistence.CallRecord) []byte {
	b := persistence.NewCallBuffer(0)
	for i := range records {
		b.Record(&records[i])
	}
	packed, _ := b.Drain(nil)
	return packed
}

func call(server string, id uint64) persistence.CallRecord {
	return persistence.CallRecord{
		Server: server, Tool: "echo", CallID: id, Start: 1_700_000_000_000_000_000 + int64(id),
		Duration: 1500 * time.Microsecond, RequestBytes: 10, ResultBytes: 20, Outcome: persistence.Completed,
	}
}

func event(stream, kind string) persistence.Batch {
	return persistence.Batch{Events: []persistence.Event{{Stream: stream, Kind: kind}}}
}

func must[T any](t *testing.T) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func commit(t *testing.T, s persistence.Store, batches ...persistence.Batch) {
	t.Helper()
	if err := s.Commit(batches...); err != nil {
		t.Fatal(err)
	}
}

func testEmpty(t *testing.T, s persistence.Store) {
	for name, err := range callAll2(s) {
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if got := s.LastPosition(); got != 0 {
		t.Errorf("last position: got %d, want 0", got)
	}
	if st := s.Stats(); st.FirstPosition != 0 || st.LastPosition != 0 || st.ReadOnly || st.LogBytes != 0 {
		t.Errorf("stats of an empty store: %+v", st)
	}
	commit(t, s)
	commit(t, s, persistence.Batch{})
}

func callAll2(s persistence.Store) map[string]error {
	errs := map[string]error{}
	for _, limit := range []int{-1, 0, 1} {
		for _, from := range []uint64{0, 1, 99} {
			name := fmt.Sprintf(" from %d limit %d", from, limit)
			_, errs["History"+name] = s.History("a", from, limit)
			_, errs["Events"+name] = s.Events(from, limit)
			_, errs["StreamEvents"+name] = s.StreamEvents("", from, limit)
		}
	}
	_, errs["Docs"] = s.Docs("k")
	return errs
}

func testDocs(t *testing.T, s persistence.Store) {
	put := func(id, body string) persistence.Doc {
		return persistence.Doc{Kind: "server", ID: id, Body: []byte(body)}
	}
	commit(t, s, persistence.Batch{Docs: []persistence.Doc{put("b", "1"), put("a", "1"), put("c", "")}},
		persistence.Batch{Docs: []persistence.Doc{put("b", "2")}})
	want := []persistence.Doc{put("a", "1"), put("b", "2"), put("c", "")}
	if diff := cmp.Diff(want, must[[]persistence.Doc](t)(s.Docs("server"))); diff != "" {
		t.Errorf("documents (-want +got):\n%s", diff)
	}
	// In one batch the last word counts.
	commit(t, s, persistence.Batch{Docs: []persistence.Doc{
		{Kind: "server", ID: "a"}, put("a", "3"), put("b", "3"), {Kind: "server", ID: "b"}, {Kind: "server", ID: "none"},
	}})
	want = []persistence.Doc{put("a", "3"), put("c", "")}
	if diff := cmp.Diff(want, must[[]persistence.Doc](t)(s.Docs("server"))); diff != "" {
		t.Errorf("documents (-want +got):\n%s", diff)
	}
	if _, found, err := s.Doc("server", "b"); found || err != nil {
		t.Errorf("deleted document: found %v, err %v", found, err)
	}
	if d, found, err := s.Doc("server", "c"); !found || err != nil || d.Body == nil || len(d.Body) != 0 {
		t.Errorf("empty document: %+v, found %v, err %v", d, found, err)
	}
	// Longer than a block and than what stays in the tree.
	big := persistence.Doc{Kind: "tools", ID: "x", Body: []byte(strings.Repeat("tool ", 1<<20))}
	commit(t, s, persistence.Batch{Docs: []persistence.Doc{big}})
	if d, found, err := s.Doc("tools", "x"); !found || err != nil || string(d.Body) != string(big.Body) {
		t.Errorf("long document: %d bytes, found %v, err %v", len(d.Body), found, err)
	}
}

func testDocNames(t *testing.T, s persistence.Store) {
	names := []string{"a", "a\x00", "a\x00b", "a\x01", "a\x01\x01", "a\x01\x02", "a/b", "b", "é", "\xff"}
	var docs []persistence.Doc
	var events []persistence.Event
	for _, kind := range names {
		for _, id := range append([]string{""}, names...) {
			docs = append(docs, persistence.Doc{Kind: kind, ID: id, Body: []byte(kind + "|" + id)})
		}
		events = append(events, persistence.Event{Stream: kind, Kind: "K"})
	}
	commit(t, s, persistence.Batch{Docs: docs, Events: events})
	for _, name := range names {
		got := must[[]persistence.Doc](t)(s.Docs(name))
		if len(got) != len(names)+1 {
			t.Errorf("kind %q: got %d documents, want %d", name, len(got), len(names)+1)
		}
		for _, d := range got {
			if d.Kind != name || string(d.Body) != name+"|"+d.ID {
				t.Errorf("kind %q: got %+v", name, d)
			}
		}
		if !slices.IsSortedFunc(got, func(a, b persistence.Doc) int { return strings.Compare(a.ID, b.ID) }) {
			t.Errorf("kind %q: not in order of ids", name)
		}
		if ev := must[[]persistence.Event](t)(s.StreamEvents(name, 1, 10)); len(ev) != 1 || ev[0].Stream != name {
			t.Errorf("stream %q: got %+v", name, ev)
		}
	}
}

func testNumbers(t *testing.T, s persistence.Store) {
	commit(t, s, event("a", "1"), event("b", "2"), event("", "3"), event("a", "4"))
	commit(t, s, persistence.Batch{Events: []persistence.Event{
		{Stream: "a", Kind: "5", Position: 77, Version: 77}, {Stream: "c", Kind: "6"}, {Stream: "a", Kind: "7"},
	}})
	type row struct {
		Position, Version uint64
		Stream, Kind      string
	}
	want := []row{{1, 1, "a", "1"}, {2, 1, "b", "2"}, {3, 1, "", "3"}, {4, 2, "a", "4"}, {5, 3, "a", "5"}, {6, 1, "c", "6"}, {7, 4, "a", "7"}}
	var got []row
	for _, e := range must[[]persistence.Event](t)(s.Events(0, 0)) {
		got = append(got, row{e.Position, e.Version, e.Stream, e.Kind})
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("log (-want +got):\n%s", diff)
	}
	if got := s.LastPosition(); got != 7 {
		t.Errorf("last position: got %d, want 7", got)
	}
	if st := s.Stats(); st.FirstPosition != 1 || st.LastPosition != 7 || st.LogBytes == 0 {
		t.Errorf("stats: %+v", st)
	}
}

func testDefaults(t *testing.T, s persistence.Store) {
	at := time.Date(2030, 1, 2, 3, 4, 5, 678901234, time.FixedZone("x", 3600))
	long := json.RawMessage(`{"s":"` + strings.Repeat("x", 30000) + `"}`)
	commit(t, s, persistence.Batch{Events: []persistence.Event{
		{Kind: "A"}, {Kind: "B", At: at, Data: json.RawMessage(` {"n":1}`)}, {Kind: "C", At: time.Unix(-5, 7), Data: long},
	}})
	got := must[[]persistence.Event](t)(s.Events(1, 10))
	if len(got) != 3 {
		t.Fatalf("got %d events, want 3", len(got))
	}
	if string(got[0].Data) != "{}" || time.Since(got[0].At).Abs() > time.Minute {
		t.Errorf("defaults: data %s, time %v", got[0].Data, got[0].At)
	}
	if !got[1].At.Equal(at) || got[1].At.Location() != time.UTC || string(got[1].Data) != ` {"n":1}` {
		t.Errorf("given values: %v %s", got[1].At, got[1].Data)
	}
	if !got[2].At.Equal(time.Unix(-5, 7)) || string(got[2].Data) != string(long) {
		t.Errorf("early time, long data: %v, %d bytes", got[2].At, len(got[2].Data))
	}
}

func testRefusals(t *testing.T, s persistence.Store) {
	long := strings.Repeat("n", persistence.MaxName+1)
	ev := func(e persistence.Event) persistence.Batch {
		return persistence.Batch{Events: []persistence.Event{e}}
	}
	doc := func(d persistence.Doc) persistence.Batch { return persistence.Batch{Docs: []persistence.Doc{d}} }
	many := persistence.Batch{}
	for range 20000 {
		many.Events = append(many.Events, persistence.Event{Kind: "K"})
	}
	for name, c := range map[string]struct {
		batch persistence.Batch
		want  error
	}{
		"event without kind":     {ev(persistence.Event{Stream: "a"}), persistence.ErrInvalid},
		"document without kind":  {doc(persistence.Doc{ID: "a", Body: []byte("x")}), persistence.ErrInvalid},
		"data is an array":       {ev(persistence.Event{Kind: "K", Data: json.RawMessage(`[1]`)}), persistence.ErrInvalid},
		"data is cut off":        {ev(persistence.Event{Kind: "K", Data: json.RawMessage(`{"a":`)}), persistence.ErrInvalid},
		"data is empty":          {ev(persistence.Event{Kind: "K", Data: json.RawMessage(``)}), persistence.ErrInvalid},
		"long data":              {ev(persistence.Event{Kind: "K", Data: json.RawMessage(`{"a":"` + strings.Repeat("x", persistence.MaxEventData) + `"}`)}), persistence.ErrTooLarge},
		"long stream":            {ev(persistence.Event{Kind: "K", Stream: long}), persistence.ErrTooLarge},
		"long id":                {doc(persistence.Doc{Kind: "k", ID: long}), persistence.ErrTooLarge},
		"long document":          {doc(persistence.Doc{Kind: "k", ID: "i", Body: make([]byte, persistence.MaxDocBody+1)}), persistence.ErrTooLarge},
		"more than one can hold": {many, persistence.ErrTooLarge},
	} {
		// A good batch before the bad one is not stored either.
		if err := s.Commit(event("a", "good"), c.batch); !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", name, err, c.want)
		}
	}
	if got := s.LastPosition(); got != 0 {
		t.Errorf("last position after refusals: got %d, want 0", got)
	}
}

func testAtomic(t *testing.T, s persistence.Store) {
	commit(t, s, persistence.Batch{
		Docs:   []persistence.Doc{{Kind: "server", ID: "a", Body: []byte("spec")}},
		Events: []persistence.Event{{Stream: "a", Kind: "McpServerRegistered"}},
	})
	bad := persistence.Batch{
		Docs:   []persistence.Doc{{Kind: "server", ID: "a"}},
		Events: []persistence.Event{{Stream: "a", Kind: ""}},
	}
	if err := s.Commit(bad); err == nil {
		t.Fatal("malformed batch was stored")
	}
	if _, found, err := s.Doc("server", "a"); !found || err != nil {
		t.Errorf("document after a refused batch: found %v, err %v", found, err)
	}
}

func testCalls(t *testing.T, s persistence.Store) {
	records := []persistence.CallRecord{call("srv", 1), call("srv", 2), call("srv", 3)}
	records[1].Outcome, records[1].Error = persistence.ToolError, "bad <input>"
	records[2].Outcome, records[2].ErrorType, records[2].Error = persistence.Failed, "Timeout", "no answer"
	if err := s.AppendCalls(Pack(records...), 0); err != nil {
		t.Fatal(err)
	}
	got := must[[]persistence.Event](t)(s.History("srv", 0, 0))
	if len(got) != 3 {
		t.Fatalf("got %d events, want 3", len(got))
	}
	wantKinds := []string{persistence.KindCallCompleted, persistence.KindCallFailed, persistence.KindCallFailed}
	wantFields := []map[string]any{{}, {"error_message": "bad <input>", "error_type": "ToolError"}, {"error_message": "no answer", "error_type": "Timeout"}}
	for i, e := range got {
		var data map[string]any
		if err := json.Unmarshal(e.Data, &data); err != nil {
			t.Fatalf("data %s: %v", e.Data, err)
		}
		id, _ := data["correlation_id"].(string)
		if !strings.HasSuffix(id, fmt.Sprintf("-%d", i+1)) {
			t.Errorf("correlation id: got %q", id)
		}
		delete(data, "correlation_id")
		want := map[string]any{
			"mcp_server_id": "srv", "tool_name": "echo", "duration_ms": 1.5,
			"result_size_bytes": 20.0, "request_size_bytes": 10.0, "is_error": i > 0,
		}
		for k, v := range wantFields[i] {
			want[k] = v
		}
		if diff := cmp.Diff(want, data); diff != "" {
			t.Errorf("call %d (-want +got):\n%s", i, diff)
		}
		if e.Kind != wantKinds[i] || e.Stream != "srv" || e.Version != uint64(i+1) || e.Position != uint64(i+1) {
			t.Errorf("call %d: got %+v", i, e)
		}
		if want := time.Unix(0, records[i].Start).Add(records[i].Duration); !e.At.Equal(want) {
			t.Errorf("call %d: happened %v, want %v", i, e.At, want)
		}
	}
}

func testLost(t *testing.T, s persistence.Store) {
	if err := s.AppendCalls(Pack(call("a", 1)), 7); err != nil {
		t.Fatal(err)
	}
	if err := s.AppendCalls(nil, 2); err != nil {
		t.Fatal(err)
	}
	if err := s.AppendCalls(nil, 0); err != nil {
		t.Fatal(err)
	}
	got := must[[]persistence.Event](t)(s.StreamEvents("", 1, 10))
	if len(got) != 2 || got[0].Kind != persistence.KindEventsDropped ||
		string(got[0].Data) != `{"count":7}` || string(got[1].Data) != `{"count":2}` {
		t.Errorf("got %+v", got)
	}
	if got := s.LastPosition(); got != 3 {
		t.Errorf("last position: got %d, want 3", got)
	}
}

func testMalformedCalls(t *testing.T, s persistence.Store) {
	good := Pack(call("a", 1))
	for name, b := range map[string][]byte{
		"cut off":        good[:len(good)-1],
		"one byte":       {1},
		"endless length": slices.Repeat([]byte{0xff}, 20),
		"huge length":    {0xff, 0xff, 0xff, 0xff, 0x7f, 1},
		"unknown type":   {3, 9, 0, 0},
		"empty frame":    {0},
		"good, then bad": append(slices.Clone(good), 5, 1),
	} {
		if err := s.AppendCalls(b, 0); !errors.Is(err, persistence.ErrInvalid) {
			t.Errorf("%s: got %v, want ErrInvalid", name, err)
		}
	}
	if got := s.LastPosition(); got != 0 {
		t.Errorf("last position: got %d, want 0", got)
	}
}

func testHistory(t *testing.T, s persistence.Store) {
	commit(t, s, event("a", "McpServerStarted"))
	if err := s.AppendCalls(Pack(call("a", 1), call("b", 2)), 0); err != nil {
		t.Fatal(err)
	}
	commit(t, s, event("a", "HealthCheckPassed"), event("a", persistence.KindCallFailed), event("b", "X"))
	var got []uint64
	for _, e := range must[[]persistence.Event](t)(s.History("a", 1, 10)) {
		got = append(got, e.Version)
	}
	if diff := cmp.Diff([]uint64{2, 4}, got); diff != "" {
		t.Errorf("versions of calls (-want +got):\n%s", diff)
	}
	if n := len(must[[]persistence.Event](t)(s.StreamEvents("a", 1, 10))); n != 4 {
		t.Errorf("stream has %d events, want 4", n)
	}
}

func testOwnership(t *testing.T, s persistence.Store) {
	data := []byte(`{"n":1}`)
	body := []byte("body")
	b := persistence.Batch{
		Docs:   []persistence.Doc{{Kind: "k", ID: "i", Body: body}},
		Events: []persistence.Event{{Kind: "K", Data: data}},
	}
	packed := Pack(call("a", 1))
	commit(t, s, b)
	if err := s.AppendCalls(packed, 0); err != nil {
		t.Fatal(err)
	}
	clear(data)
	clear(body)
	clear(packed)
	first := must[[]persistence.Event](t)(s.Events(1, 10))
	docs := must[[]persistence.Doc](t)(s.Docs("k"))
	for i := range first {
		clear(first[i].Data)
	}
	clear(docs[0].Body)
	again := must[[]persistence.Event](t)(s.Events(1, 10))
	doc, _, _ := s.Doc("k", "i")
	if string(again[0].Data) != `{"n":1}` || again[1].Stream != "a" || !json.Valid(again[1].Data) || string(doc.Body) != "body" {
		t.Errorf("stored data changed with the caller's: %s, %s, %s", again[0].Data, again[1].Data, doc.Body)
	}
	if b.Events[0].Position != 0 {
		t.Error("Commit wrote into the caller's events")
	}
}

func testConcurrent(t *testing.T, s persistence.Store) {
	const writers, rounds = 4, 40
	var wg sync.WaitGroup
	for w := range writers {
		stream := fmt.Sprintf("s%d", w)
		wg.Go(func() {
			for i := range rounds {
				if err := s.Commit(event(stream, "K"), event("shared", "K")); err != nil {
					t.Error(err)
				}
				if err := s.AppendCalls(Pack(call(stream, uint64(i))), 0); err != nil {
					t.Error(err)
				}
			}
		})
		wg.Go(func() {
			next := uint64(1)
			for next <= writers*rounds {
				events, err := s.Events(next, 50)
				if err != nil {
					t.Error(err)
					return
				}
				for _, e := range events {
					if e.Position != next {
						t.Errorf("read position %d, want %d", e.Position, next)
						return
					}
					next++
				}
			}
		})
	}
	wg.Wait()
	CheckNumbers(t, s, 1)
	if got, want := s.LastPosition(), uint64(writers*rounds*3); got != want {
		t.Errorf("last position: got %d, want %d", got, want)
	}
}

func testBigGroup(t *testing.T, s persistence.Store) {
	var batches []persistence.Batch
	for i := range 300 {
		b := event(fmt.Sprintf("s%d", i%7), "K")
		b.Docs = []persistence.Doc{{Kind: "d", ID: fmt.Sprint(i), Body: make([]byte, 50_000)}}
		b.Events[0].Data = json.RawMessage(`{"s":"` + strings.Repeat("x", 9000) + `"}`)
		batches = append(batches, b)
	}
	commit(t, s, batches...)
	if n := len(must[[]persistence.Doc](t)(s.Docs("d"))); n != 300 {
		t.Errorf("got %d documents, want 300", n)
	}
	if got := s.LastPosition(); got != 300 {
		t.Errorf("last position: got %d, want 300", got)
	}
	CheckNumbers(t, s, 1)
}

func testClosed(t *testing.T, s persistence.Store) {
	commit(t, s, event("a", "K"))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for name, err := range callAll(s) {
		if !errors.Is(err, persistence.ErrClosed) {
			t.Errorf("%s: got %v, want ErrClosed", name, err)
		}
	}
	if st := s.Stats(); !st.ReadOnly || st.Reason == "" {
		t.Errorf("stats of a closed store: %+v", st)
	}
}
