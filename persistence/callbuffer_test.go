package persistence

import (
	"encoding/binary"
	"fmt"
	"sync"
	"testing"
)

func TestFirstRecordAsksForTheFlush(t *testing.T) {
	b := NewCallBuffer(0)
	r := goldenCall()
	for round := range 3 {
		if !b.Record(&r) {
			t.Errorf("round %d: first record is not first", round)
		}
		r.Server += "x" // another shard
		if b.Record(&r) || b.Size() == 0 {
			t.Errorf("round %d: second record is first", round)
		}
		if records, lost := b.Drain(nil); lost != 0 || b.Size() != 0 || countFrames(t, records) != 2 {
			t.Errorf("round %d: drained %d bytes, %d lost", round, len(records), lost)
		}
	}
	if records, lost := b.Drain([]byte("kept")); string(records) != "kept" || lost != 0 {
		t.Errorf("empty buffer: drained %q, %d lost", records, lost)
	}
}

func countFrames(t *testing.T, records []byte) int {
	t.Helper()
	n, err := checkPacked(records)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestFullBufferCountsWhatItLoses(t *testing.T) {
	const size = minCallBufferBytes
	b := NewCallBuffer(1)
	r := goldenCall()
	const total = 10000
	for range total {
		b.Record(&r)
	}
	if b.Size() > size || b.Size() < size/2 {
		t.Errorf("buffer of %d bytes, bound %d", b.Size(), size)
	}
	records, lost := b.Drain(nil)
	if kept := countFrames(t, records); kept+int(lost) != total || lost == 0 {
		t.Errorf("kept %d and lost %d of %d", kept, lost, total)
	}
	if !b.Record(&r) {
		t.Error("a drained buffer does not take records")
	}
	if b.Refused() != lost {
		t.Errorf("lost %d, but refused %d", lost, b.Refused())
	}
	if _, lost := b.Drain(nil); lost != 0 {
		t.Errorf("%d lost twice", lost)
	}
}

// Whoever waits for the first record of a buffer must be told of every one,
// whatever Drain does meanwhile; and nothing is lost, doubled or disordered.
func TestRecordAndDrainAtOnce(t *testing.T) {
	const writers, each = 8, 20000
	b := NewCallBuffer(0)
	armed := make(chan struct{}, 1)
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			r := CallRecord{Server: fmt.Sprint("server", w), Tool: "t", Outcome: Completed}
			for i := range each {
				r.CallID = uint64(i)
				if b.Record(&r) {
					armed <- struct{}{} // blocks, should two flushes ever be due at once
				}
			}
		})
	}
	finished := make(chan struct{})
	go func() { wg.Wait(); close(finished) }()
	var records []byte
	var lost uint64
	drain := func() {
		more, l := b.Drain(nil)
		records = append(records, more...)
		lost += l
	}
loop:
	for {
		select {
		case <-armed:
			drain()
		case <-finished:
			break loop
		}
	}
	select {
	case <-armed:
		drain()
	default:
	}
	if b.Size() != 0 {
		t.Errorf("%d bytes wait for a flush that nobody was asked for", b.Size())
	}
	drain() // tells what was refused since
	next := map[string]uint64{}
	err := eachFrame(records, func(frame []byte) error {
		r := reader{rest: frame}
		r.byte()
		server := string(r.bytes())
		r.byte()
		r.uint64()
		id := r.uvarint()
		if id < next[server] || lost == 0 && id != next[server] {
			t.Fatalf("%s: call %d after %d", server, id, next[server])
		}
		next[server] = id + 1
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if n := countFrames(t, records); n+int(lost) != writers*each {
		t.Errorf("drained %d and lost %d of %d", n, lost, writers*each)
	}
}

func TestRecordDoesNotAllocate(t *testing.T) {
	b := NewCallBuffer(0)
	r := goldenCall()
	var dst []byte
	fill := func() {
		for range 1000 {
			b.Record(&r)
		}
		dst, _ = b.Drain(dst[:0])
	}
	for range 10 {
		fill() // both halves of the shard grow
	}
	if n := testing.AllocsPerRun(20, fill); n > 0 {
		t.Errorf("%v allocations in 1000 records and a drain", n)
	}
}

func TestPaddedLengthIsAVarint(t *testing.T) {
	r := CallRecord{Outcome: Completed}
	packed := appendPackedCall(nil, &r)
	if n, k := binary.Uvarint(packed); k != 2 || int(n) != len(packed)-2 {
		t.Errorf("length %d in %d bytes, record has %d", n, k, len(packed))
	}
}
