package persistence_test

import (
	"errors"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/aabb9013/hangar/persistence"
	"github.com/aabb9013/hangar/persistence/storetest"
)

func open(t *testing.T, o persistence.Options) *persistence.Badger {
	t.Helper()
	if o.Dir == "" {
		o.Dir = t.TempDir()
	}
	if o.MinFreeBytes == 0 {
		o.MinFreeBytes = 1
	}
	s, err := persistence.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return s
}

func TestBadgerKeepsTheContract(t *testing.T) {
	storetest.Run(t, func(t *testing.T) persistence.Store { return open(t, persistence.Options{}) })
}

func TestBadgerKeepsTheContractUnderPower(t *testing.T) {
	storetest.Run(t, func(t *testing.T) persistence.Store {
		return open(t, persistence.Options{Durability: persistence.Power})
	})
}

func TestMemoryKeepsTheContract(t *testing.T) {
	storetest.Run(t, func(t *testing.T) persistence.Store { return persistence.NewMemory() })
}

func TestFailingFailsEverywhere(t *testing.T) {
	want := errors.New("no disk today")
	storetest.RunFailing(t, persistence.NewFailing(want), want)
}

func TestReopenKeepsEverything(t *testing.T) {
	dir := t.TempDir()
	random := rand.New(rand.NewPCG(3, 4))
	var want []persistence.Event
	for round := range 4 {
		s := open(t, persistence.Options{Dir: dir, RunID: uint64(round)})
		got := storetest.CheckNumbers(t, s, 1)
		if diff := storetest.Diff(want, got); diff != "" {
			t.Fatalf("round %d (-before +after reopening):\n%s", round, diff)
		}
		storetest.Fill(t, s, random, 40)
		if err := s.Commit(persistence.Batch{Docs: []persistence.Doc{{Kind: "round", ID: "n", Body: []byte{byte(round)}}}}); err != nil {
			t.Fatal(err)
		}
		want = storetest.CheckNumbers(t, s, 1)
		before := s.Stats()
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = open(t, persistence.Options{Dir: dir})
		if after := s.Stats(); after.LogBytes != before.LogBytes || after.LastPosition != before.LastPosition {
			t.Errorf("stats: before %+v, after %+v", before, after)
		}
		if d, found, err := s.Doc("round", "n"); !found || err != nil || d.Body[0] != byte(round) {
			t.Errorf("document: %+v, found %v, err %v", d, found, err)
		}
		s.Close()
	}
}

func TestRetentionDropsTheOldestAndKeepsNumbers(t *testing.T) {
	dir := t.TempDir()
	const maxLog = 256 << 10
	s := open(t, persistence.Options{Dir: dir, MaxLogBytes: maxLog})
	random := rand.New(rand.NewPCG(5, 6))
	// A stream that is never written again must still not use a version twice.
	rare := persistence.Batch{Events: []persistence.Event{{Stream: "rare", Kind: "K"}, {Stream: "rare", Kind: "K"}}}
	if err := s.Commit(rare); err != nil {
		t.Fatal(err)
	}
	for range 20 {
		storetest.Fill(t, s, random, 40)
		st := s.Stats()
		if st.LogBytes > maxLog*3/2 {
			t.Fatalf("log of %d bytes, limit %d", st.LogBytes, maxLog)
		}
		if log := storetest.CheckRetained(t, s); len(log) == 0 || log[0].Position != st.FirstPosition {
			t.Fatalf("%d events are left from %d on", len(log), st.FirstPosition)
		}
	}
	if st := s.Stats(); st.FirstPosition == 1 || st.DroppedBlocks == 0 {
		t.Fatalf("nothing was dropped: %+v", st)
	}
	if ev, err := s.StreamEvents("rare", 1, 10); err != nil || len(ev) != 0 {
		t.Fatalf("dropped stream: %v, err %v", ev, err)
	}
	before := s.Stats()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, persistence.Options{Dir: dir, MaxLogBytes: maxLog})
	if after := s.Stats(); after.LogBytes != before.LogBytes || after.FirstPosition != before.FirstPosition {
		t.Errorf("stats: before %+v, after %+v", before, after)
	}
	if err := s.Commit(rare); err != nil {
		t.Fatal(err)
	}
	ev, err := s.StreamEvents("rare", 1, 10)
	if err != nil || len(ev) != 2 || ev[0].Version != 3 {
		t.Errorf("after retention and reopening: %+v, err %v", ev, err)
	}
}

func TestMemoryIsBounded(t *testing.T) {
	s := persistence.NewMemory()
	var records []persistence.CallRecord
	for i := range 10000 {
		records = append(records, persistence.CallRecord{
			Server: "server", Tool: "tool", CallID: uint64(i), Start: time.Now().UnixNano(), Outcome: persistence.Completed,
		})
	}
	packed := storetest.Pack(records...)
	for range 400 {
		if err := s.AppendCalls(packed, 0); err != nil {
			t.Fatal(err)
		}
	}
	st := s.Stats()
	if st.LogBytes > persistence.DefaultMemoryLogBytes+1<<20 || st.FirstPosition == 1 {
		t.Errorf("not bounded: %+v", st)
	}
	ev, err := s.History("server", 1, 3)
	if err != nil || len(ev) != 3 || ev[0].Position != st.FirstPosition {
		t.Errorf("history begins at %+v, err %v; log at %d", ev, err, st.FirstPosition)
	}
}
