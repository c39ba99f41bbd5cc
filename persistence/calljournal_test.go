package persistence_test

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aabb9013/hangar/persistence"
	"github.com/aabb9013/hangar/persistence/storetest"
)

const recorders = 4

func recorded(server int, id uint64) *persistence.CallRecord {
	return &persistence.CallRecord{
		Server: fmt.Sprint("server-", server), Tool: "t", CallID: id, Start: time.Now().UnixNano(), Outcome: persistence.Completed,
	}
}

// childRecord records calls of several servers and acknowledges each by a line
// "<server> <id>", while it flushes now and then.
func childRecord(dir string) error {
	s, err := persistence.Open(persistence.Options{Dir: dir, MinFreeBytes: 1, RunID: 77})
	if err != nil {
		return err
	}
	for server := range recorders {
		go func() {
			for id := uint64(1); ; id++ {
				s.CallBuffer().Record(recorded(server, id))
				fmt.Fprintf(os.Stdout, "%d %d\n", server, id) // one write
			}
		}()
	}
	for {
		time.Sleep(time.Duration(rand.IntN(30)) * time.Millisecond)
		if err := s.FlushCalls(0); err != nil {
			return err
		}
	}
}

// What was recorded before the process died is in the log after it, once, in the
// order of its server, although most of it had not been flushed.
func TestKilledRecorderLosesNoCall(t *testing.T) {
	rounds := 6
	if testing.Short() {
		rounds = 3
	}
	total := 0
	for round := range rounds {
		dir := t.TempDir()
		cmd := child("record", dir)
		stdout, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		var acked [recorders]uint64
		var kill *time.Timer
		for in := bufio.NewReader(stdout); ; {
			line, err := in.ReadString('\n')
			if errors.Is(err, io.EOF) {
				break
			}
			var server int
			var id uint64
			if _, err := fmt.Sscan(line, &server, &id); err != nil {
				t.Fatalf("ack %q: %v", line, err)
			}
			acked[server] = id
			if kill == nil {
				kill = time.AfterFunc(time.Duration(rand.IntN(150))*time.Millisecond, func() { _ = cmd.Process.Kill() })
				defer kill.Stop()
			}
		}
		if err := cmd.Wait(); err == nil || !strings.Contains(err.Error(), "killed") {
			t.Fatalf("the recorder ended by itself: %v", err)
		}
		for again := range 2 { // what was recovered must not be recovered again
			s := open(t, persistence.Options{Dir: dir, RunID: 78})
			storetest.CheckNumbers(t, s, 1)
			for server, last := range acked {
				wantCalls(t, s, server, last)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			if t.Failed() {
				t.Fatalf("in round %d, opened %d times", round, again+1)
			}
		}
		for _, last := range acked {
			total += int(last)
		}
	}
	t.Logf("%d calls acknowledged in %d rounds, none lost, none doubled", total, rounds)
}

// wantCalls wants the calls 1 to acked of a server, and at most one that
// was recorded and not acknowledged.
func wantCalls(t *testing.T, s persistence.Store, server int, acked uint64) {
	t.Helper()
	next, from := uint64(1), uint64(1)
	for {
		events, err := s.History(fmt.Sprint("server-", server), from, 1000)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range events {
			var data struct {
				ID string `json:"correlation_id"`
			}
			if want := persistence.CorrelationID(77, next); json.Unmarshal(e.Data, &data) != nil || data.ID != want {
				t.Fatalf("server %d version %d: got %s, want call %s", server, e.Version, e.Data, want)
			}
			next, from = next+1, e.Version+1
		}
		if len(events) == 0 {
			break
		}
	}
	if got := next - 1; got < acked || got > acked+1 {
		t.Errorf("server %d: %d calls in the log, %d were acknowledged", server, got, acked)
	}
}

func TestDamagedJournalIsReportedAndTheRestKept(t *testing.T) {
	dir := t.TempDir()
	cmd := child("record-and-die", dir)
	if err := cmd.Run(); cmd.ProcessState == nil || cmd.ProcessState.ExitCode() != 3 {
		t.Fatalf("the recorder ended with %v", err)
	}
	path := filepath.Join(dir, "calls.journal")
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	at := strings.Index(string(b), "server-1")
	if at < 0 {
		t.Fatal("the journal does not hold the calls")
	}
	b[at] ^= 1
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	s := open(t, persistence.Options{Dir: dir})
	calls, lost := 0, 0
	for _, e := range storetest.CheckNumbers(t, s, 1) {
		switch e.Kind {
		case persistence.KindCallCompleted:
			calls++
		case persistence.KindEventsDropped:
			lost++
		}
	}
	if calls != 9 || lost != 1 {
		t.Errorf("%d calls and %d reports of a loss, want 9 and 1", calls, lost)
	}
}

// childRecordAndDie records ten calls of one server and is gone without a flush.
func childRecordAndDie(dir string) error {
	s, err := persistence.Open(persistence.Options{Dir: dir, MinFreeBytes: 1})
	if err != nil {
		return err
	}
	for id := range uint64(10) {
		s.CallBuffer().Record(recorded(1, id))
	}
	os.Exit(3)
	return nil
}

func TestRecordAfterCloseIsRefused(t *testing.T) {
	s := open(t, persistence.Options{Dir: t.TempDir()})
	b := s.CallBuffer()
	b.Record(recorded(0, 1))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if b.Record(recorded(0, 2)) {
		t.Error("a record was taken after Close")
	}
	if err := s.FlushCalls(1); !errors.Is(err, persistence.ErrClosed) {
		t.Errorf("FlushCalls: got %v", err)
	}
}
