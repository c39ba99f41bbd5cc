package persistence_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/aabb9013/hangar/persistence"
	"github.com/aabb9013/hangar/persistence/storetest"
)

// childWrite commits and appends without end and prints the last position after
// every acknowledgement: "c <position> <n>" for a commit whose document and
// event say n, "a <position> <calls>" for a block of calls.
func childWrite(dir string) error {
	s, err := persistence.Open(persistence.Options{Dir: dir, MinFreeBytes: 1, Durability: durabilityOf(dir), Calls: boundsOf(dir)})
	if err != nil {
		return err
	}
	out := bufio.NewWriterSize(os.Stdout, 64)
	for n := 1; ; n++ {
		body := fmt.Sprintf(`{"n":%d}`, n)
		err := s.Commit(persistence.Batch{
			Docs:   []persistence.Doc{{Kind: "n", ID: "n", Body: []byte(body)}},
			Events: []persistence.Event{{Stream: "control", Kind: "K", Data: json.RawMessage(body)}},
		})
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "c %d %d\n", s.LastPosition(), n)
		out.Flush()
		var records []persistence.CallRecord
		for i := range n % 90 {
			records = append(records, persistence.CallRecord{
				Server: fmt.Sprint("s", i%5), Tool: strings.Repeat("t", n%100), CallID: uint64(n), Outcome: persistence.Completed,
			})
		}
		if err := s.AppendCalls(storetest.Pack(records...), 0); err != nil {
			return err
		}
		fmt.Fprintf(out, "a %d %d\n", s.LastPosition(), len(records))
		out.Flush()
	}
}

func durabilityOf(dir string) persistence.Durability {
	if strings.HasSuffix(dir, "power") {
		return persistence.Power
	}
	return persistence.Process
}

func TestKilledWriterLosesNothingAcknowledged(t *testing.T) {
	for _, durability := range []persistence.Durability{persistence.Process, persistence.Power} {
		t.Run(durability.String(), func(t *testing.T) {
			t.Parallel()
			rounds := 12
			if testing.Short() {
				rounds = 3
			}
			dir := t.TempDir() + "/" + durability.String()
			var position uint64
			var acked int
			var slowest time.Duration
			for round := range rounds {
				acks := killedWriter(t, dir, time.Duration(10+rand.IntN(150))*time.Millisecond)
				opened := time.Now()
				s := open(t, persistence.Options{Dir: dir})
				slowest = max(slowest, time.Since(opened))
				position = checkAcks(t, s, acks, position)
				acked += len(acks)
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
				if t.Failed() {
					t.Fatalf("in round %d", round)
				}
			}
			t.Logf("%d acknowledgements in %d rounds, none lost; %d events; slowest open %v", acked, rounds, position, slowest)
			if acked == 0 {
				t.Error("no write was acknowledged")
			}
		})
	}
}

type ack struct {
	kind     string
	position uint64
	n        int
}

func killedWriter(t *testing.T, dir string, after time.Duration) []ack {
	t.Helper()
	cmd := child("write", dir)
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	in := bufio.NewReader(stdout)
	var acks []ack
	var kill *time.Timer
	for {
		line, err := in.ReadString('\n')
		if err == io.EOF {
			break // a line cut off was not acknowledged
		}
		if err != nil {
			t.Fatal(err)
		}
		var a ack
		if _, err := fmt.Sscan(line, &a.kind, &a.position, &a.n); err != nil {
			t.Fatalf("ack %q: %v", line, err)
		}
		acks = append(acks, a)
		if kill == nil { // from the first ack, however slow the start was
			kill = time.AfterFunc(after, func() { _ = cmd.Process.Kill() })
			defer kill.Stop()
		}
	}
	if err := cmd.Wait(); err == nil || !strings.Contains(err.Error(), "killed") {
		t.Fatalf("writer ended by itself: %v", err)
	}
	return acks
}

// checkAcks reads the whole log and proves every ack. before is its last
// position before the round.
func checkAcks(t *testing.T, s *persistence.Badger, acks []ack, before uint64) uint64 {
	t.Helper()
	log := storetest.CheckNumbers(t, s, 1)
	position := s.LastPosition()
	last := acks[len(acks)-1]
	if position < last.position {
		t.Errorf("log ends at %d, acknowledged was %d", position, last.position)
		return position
	}
	committed := 0
	for _, a := range acks {
		if a.kind == "a" {
			if a.position-before != uint64(a.n) {
				t.Errorf("ack %+v after position %d", a, before)
			}
			before = a.position
			continue
		}
		e := log[a.position-1]
		if want := fmt.Sprintf(`{"n":%d}`, a.n); e.Stream != "control" || string(e.Data) != want {
			t.Errorf("position %d: got %+v, want %s", a.position, e, want)
		}
		before, committed = a.position, a.n
	}
	d, found, err := s.Doc("n", "n")
	var doc struct{ N int }
	if err != nil || !found || json.Unmarshal(d.Body, &doc) != nil || doc.N < committed || doc.N > committed+1 {
		t.Errorf("document %s, found %v, err %v; acknowledged was %d", d.Body, found, err, committed)
	}
	return position
}
