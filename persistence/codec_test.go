package persistence

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"math"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

func goldenCall() CallRecord {
	return CallRecord{
		Server: "srv", Tool: "echo", CallID: 300, Start: 0x0102030405060708, Duration: 1000,
		RequestBytes: 5, ResultBytes: 200, Outcome: Failed, ErrorType: "Timeout", Error: "late",
	}
}

func TestPackedCallIsAsDocumented(t *testing.T) {
	r := goldenCall()
	want := "a7" + "00" + // length 39, padded to two bytes
		"01" + "03" + hex.EncodeToString([]byte("srv")) + // type, server
		"03" + "0102030405060708" + "ac02" + "e807" + "05" + "c801" + // outcome, start, id, duration, sizes
		"04" + hex.EncodeToString([]byte("echo")) +
		"07" + hex.EncodeToString([]byte("Timeout")) + "04" + hex.EncodeToString([]byte("late"))
	if got := hex.EncodeToString(appendPackedCall(nil, &r)); got != want {
		t.Errorf("packed call:\n got %s\nwant %s", got, want)
	}
}

// goldenBlock has a call, an event and a record of a type from the future.
func goldenBlock(t *testing.T) (sealedBlock, *ledger) {
	t.Helper()
	l := newLedger(tail{position: 6, checksum: 0xaabbccdd, offset: [classCount]uint64{999, 1000}}, func(stream string) (uint64, error) {
		return map[string]uint64{"srv": 4}[stream], nil
	})
	b := newBlockBuilder()
	r := goldenCall()
	if !b.addPacked(appendPackedCall(nil, &r)[2:]) {
		t.Fatal("packed call refused")
	}
	b.addEvent(&Event{Kind: "K", At: time.Unix(1, 2), Data: json.RawMessage(`{}`)})
	b.records = append(b.records, 3, 9, 0, 0xff) // length 3, type 9, stream 0, body
	b.dir[0].count++
	b.count++
	s, err := b.seal(l, 0xf00d)
	if err != nil {
		t.Fatal(err)
	}
	return s, l
}

func TestBlockIsAsDocumented(t *testing.T) {
	s, l := goldenBlock(t)
	want := "03" + "000000000000f00d" + "00000003" + "CHECKSUM" + "aabbccdd" + "00000000000003e8" +
		"02" + "03" + hex.EncodeToString([]byte("srv")) + "05" + "02" + "00" + "01" + "01" +
		"24" + "01" + "00" + "03" + "0102030405060708" + "ac02" + "e807" + "05" + "c801" + "04" + hex.EncodeToString([]byte("echo")) +
		"07" + hex.EncodeToString([]byte("Timeout")) + "04" + hex.EncodeToString([]byte("late")) +
		"12" + "02" + "01" + "0000000000000001" + "00000002" + "01" + hex.EncodeToString([]byte("K{}")) +
		"03" + "09" + "00" + "ff"
	got := hex.EncodeToString(s.value)
	sum := got[26:34]
	if got = strings.Replace(got, sum, "CHECKSUM", 1); got != want {
		t.Errorf("block:\n got %s\nwant %s", got, want)
	}
	if want := "d53d892b"; sum != want {
		t.Errorf("checksum: got %s, want %s", sum, want)
	}
	if got, want := hex.EncodeToString(s.index[0].value), "01"+"0000000000000007"+"02"+"01"; got != want {
		t.Errorf("index entry: got %s, want %s", got, want)
	}
	if end := l.tail(); end.position != 9 || hex.EncodeToString([]byte{byte(end.checksum >> 24)}) != sum[:2] {
		t.Errorf("tail after the block: %+v", end)
	}
}

func TestGapIsAsDocumented(t *testing.T) {
	gap := &block{form: formGap, first: 7, count: 300, checksum: 0xaabbccdd, previous: 0x01020304}
	v := gap.gapValue()
	if got, want := hex.EncodeToString(v), "04"+"000000000000012c"+"aabbccdd"+"CHECKSUM"+"01020304"; strings.Replace(got, got[26:34], "CHECKSUM", 1) != want {
		t.Errorf("got %s, want %s", got, want)
	}
	gap.size = len(v)
	got, err := openBlock(7, v)
	if err != nil || got.last() != 306 || cmp.Diff(gap, got, cmp.AllowUnexported(block{}, dirEntry{})) != "" {
		t.Errorf("got %+v, %v; want %+v", got, err, gap)
	}
	for i := range v {
		for bit := range 8 {
			v[i] ^= 1 << bit
			if _, err := openBlock(7, v); !errors.Is(err, ErrCorrupt) {
				t.Errorf("byte %d bit %d: got %v, want ErrCorrupt", i, bit, err)
			}
			v[i] ^= 1 << bit
		}
	}
}

func TestBlockReadsBack(t *testing.T) {
	s, _ := goldenBlock(t)
	b, err := openBlock(7, s.value)
	if err != nil {
		t.Fatal(err)
	}
	got, err := b.scan(nil, selection{whole: true, limit: 10})
	if err != nil {
		t.Fatal(err)
	}
	want := []Event{
		{Position: 7, Version: 5, Stream: "srv", Kind: KindCallFailed, At: time.Unix(0, 0x0102030405060708+1000).UTC(), Data: json.RawMessage(
			`{"mcp_server_id":"srv","tool_name":"echo","correlation_id":"f00d-12c","duration_ms":0.001,` +
				`"result_size_bytes":200,"request_size_bytes":5,"is_error":true,"error_message":"late","error_type":"Timeout"}`)},
		{Position: 8, Version: 1, Kind: "K", At: time.Unix(1, 2).UTC(), Data: json.RawMessage(`{}`)},
		{Position: 9, Version: 6, Stream: "srv", Kind: KindUnknown, At: time.Unix(0, 0).UTC(), Data: json.RawMessage(`{"record_type":9}`)},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	if got := CorrelationID(0xf00d, 300); got != "f00d-12c" {
		t.Errorf("correlation id: got %s", got)
	}
}

func TestEveryFlippedBitOfABlockIsFound(t *testing.T) {
	s, _ := goldenBlock(t)
	for i := range s.value {
		for bit := range 8 {
			s.value[i] ^= 1 << bit
			if _, err := openBlock(7, s.value); !errors.Is(err, ErrCorrupt) {
				t.Errorf("byte %d bit %d: got %v, want ErrCorrupt", i, bit, err)
			}
			s.value[i] ^= 1 << bit
		}
		if _, err := openBlock(7, s.value[:i]); !errors.Is(err, ErrCorrupt) {
			t.Errorf("cut to %d bytes: got %v, want ErrCorrupt", i, err)
		}
	}
	if _, err := openBlock(8, s.value); !errors.Is(err, ErrCorrupt) {
		t.Errorf("in another place: got %v, want ErrCorrupt", err)
	}
}

func TestLongStringsAreCutAtACharacter(t *testing.T) {
	long := strings.Repeat("é", 500)
	r := CallRecord{Server: long, Tool: long, ErrorType: long, Error: long, Outcome: Failed, CallID: math.MaxUint64,
		Duration: math.MaxInt64, RequestBytes: math.MaxInt, ResultBytes: -1, Start: math.MaxInt64}
	packed := appendPackedCall(nil, &r)
	if len(packed) > packedBound(&r) || packedBound(&r) > maxPackedCall {
		t.Errorf("packed call of %d bytes, bounds %d and %d", len(packed), packedBound(&r), maxPackedCall)
	}
	for n := range 6 {
		if s := clip("aéz\xff\xff", n); !strings.HasPrefix("aéz\xff\xff", s) || len(s) > n || n < 4 && !utf8.ValidString(s) {
			t.Errorf("cut to %d: %q", n, s)
		}
	}
	m := NewMemory()
	if err := m.AppendCalls(packed, 0); err != nil {
		t.Fatal(err)
	}
	ev, err := m.Events(1, 1)
	if err != nil || !json.Valid(ev[0].Data) || len(ev[0].Stream) != maxServerName {
		t.Errorf("got %+v, err %v", ev, err)
	}
}

func TestAppendJSONIsJSON(t *testing.T) {
	for _, s := range []string{"", "a", `"\`, "\x00\n", "é", "\xff", "<&>", "\u2028", "\x7f"} {
		want, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		if got := string(appendJSON(nil, s)); got != string(want) {
			t.Errorf("%q: got %s, want %s", s, got, want)
		}
	}
}

func FuzzBlock(f *testing.F) {
	l := newLedger(tail{}, func(string) (uint64, error) { return 0, nil })
	b := newBlockBuilder()
	r := goldenCall()
	b.addPacked(appendPackedCall(nil, &r)[2:])
	b.addEvent(&Event{Kind: "K", Data: json.RawMessage(`{}`)})
	s, _ := b.seal(l, 1)
	f.Add(s.value, true)
	f.Add((&block{first: 1, count: 9}).gapValue(), true)
	f.Add([]byte{}, false)
	f.Fuzz(func(t *testing.T, v []byte, fix bool) {
		if fix && len(v) >= gapSize { // let the fuzzer past the checksum
			sum := blockChecksum(1, v)
			v[13], v[14], v[15], v[16] = byte(sum>>24), byte(sum>>16), byte(sum>>8), byte(sum)
		}
		b, err := openBlock(1, v)
		if err != nil {
			if !errors.Is(err, ErrCorrupt) {
				t.Fatalf("got %v, want ErrCorrupt", err)
			}
			return
		}
		for _, want := range []selection{{whole: true, limit: 1 << 20}, {stream: "srv", limit: 3, callsOnly: true}} {
			events, err := b.scan(nil, want)
			if err != nil && !errors.Is(err, ErrCorrupt) {
				t.Fatalf("got %v, want ErrCorrupt", err)
			}
			if len(events) > want.limit {
				t.Fatalf("%d events, limit %d", len(events), want.limit)
			}
		}
	})
}

func FuzzPackedCalls(f *testing.F) {
	r := goldenCall()
	good := appendPackedCall(nil, &r)
	f.Add(good)
	f.Add(append(good, good...))
	f.Fuzz(func(t *testing.T, b []byte) {
		n, err := checkPacked(b)
		if err != nil {
			return
		}
		m := NewMemory()
		if err := m.AppendCalls(b, 0); err != nil {
			t.Fatalf("accepted, then: %v", err)
		}
		if got := m.LastPosition(); got != uint64(n) {
			t.Fatalf("stored %d records of %d", got, n)
		}
		events, err := m.Events(1, n+1)
		if err == nil && len(events) != n {
			t.Fatalf("read %d records of %d", len(events), n)
		}
		for _, e := range events {
			if !json.Valid(e.Data) {
				t.Fatalf("data is no JSON: %s", e.Data)
			}
		}
	})
}

func FuzzIndexEntry(f *testing.F) {
	f.Add(appendIndexEntry(nil, indexEntry{block: 7, count: 300, calls: 2}))
	f.Fuzz(func(t *testing.T, b []byte) {
		e, ok := decodeIndexEntry(b)
		if !ok {
			return
		}
		if again, ok := decodeIndexEntry(appendIndexEntry(nil, e)); !ok || again != e {
			t.Fatalf("%+v became %+v", e, again)
		}
	})
}
