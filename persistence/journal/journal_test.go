package journal

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

const segmentSize = 4096

// put writes one record and returns where the next begins.
func put(segment []byte, at int, seed uint32, text string) int {
	segment[at], segment[at+1] = byte(len(text))|0x80, byte(len(text)>>7)
	end := at + lengthSize + copy(segment[at+lengthSize:], text)
	return Seal(segment, at, end, seed)
}

func texts(t *testing.T, segment []byte, from int) (all []string) {
	t.Helper()
	_, seed, ok := Read(segment)
	if !ok {
		t.Fatal("the segment has no header")
	}
	used, _, _, _ := Check(segment, seed)
	err := Each(segment, from, used, seed, func(frame []byte, _ int) error {
		all = append(all, string(frame[lengthSize:]))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestRecordsAreReadBackFromAnyOffset(t *testing.T) {
	segment := make([]byte, segmentSize)
	seed := Begin(segment, Header{Sequence: 7, Owner: 9})
	if h, s, ok := Read(segment); !ok || s != seed || h != (Header{7, 9}) {
		t.Fatalf("header: got %+v, %v", h, ok)
	}
	offsets, at := []int{HeaderSize}, HeaderSize
	for i := range 20 {
		at = put(segment, at, seed, fmt.Sprint("record ", i))
		offsets = append(offsets, at)
	}
	if used, records, damaged, torn := Check(segment, seed); used != at || records != 20 || damaged != 0 || torn {
		t.Errorf("got used %d, %d records, %d damaged, torn %v", used, records, damaged, torn)
	}
	for i, from := range offsets {
		if got := texts(t, segment, from); len(got) != 20-i || len(got) > 0 && got[0] != fmt.Sprint("record ", i) {
			t.Errorf("from record %d: got %q", i, got)
		}
	}
}

// What an earlier use left in a segment stands exactly where the records of the
// present one end, and must never be read as one of them.
func TestEarlierUseOfASegmentIsNotRead(t *testing.T) {
	segment := make([]byte, segmentSize)
	old := Begin(segment, Header{Sequence: 1})
	for i, at := 0, HeaderSize; i < 50; i++ {
		at = put(segment, at, old, fmt.Sprintf("old %02d", i))
	}
	seed := Begin(segment, Header{Sequence: 2})
	if got := texts(t, segment, HeaderSize); len(got) != 0 {
		t.Errorf("a fresh segment has %q", got)
	}
	at := put(segment, HeaderSize, seed, "new 00")
	// The process dies before it writes the end mark: the next old record follows.
	segment[at], segment[at+1] = byte(len("old 01"))|0x80, 0
	used, records, damaged, torn := Check(segment, seed)
	if used != at || records != 1 || damaged != 0 || !torn {
		t.Errorf("got used %d, %d records, %d damaged, torn %v; want %d, 1, 0, true", used, records, damaged, torn, at)
	}
}

func TestTornTailAndDamageInTheMiddleAreToldApart(t *testing.T) {
	build := func() (segment []byte, seed uint32, offsets []int) {
		segment = make([]byte, segmentSize)
		seed = Begin(segment, Header{Sequence: 3})
		at := HeaderSize
		for i := range 10 {
			offsets = append(offsets, at)
			at = put(segment, at, seed, fmt.Sprint("record ", i))
		}
		return segment, seed, offsets
	}
	segment, seed, offsets := build()
	segment[offsets[9]+4] ^= 1
	if _, records, damaged, torn := Check(segment, seed); records != 9 || damaged != 0 || !torn {
		t.Errorf("last record: got %d records, %d damaged, torn %v", records, damaged, torn)
	}
	segment, seed, offsets = build()
	segment[offsets[4]+4] ^= 1
	if _, records, damaged, torn := Check(segment, seed); records != 9 || damaged != 1 || torn {
		t.Errorf("record in the middle: got %d records, %d damaged, torn %v", records, damaged, torn)
	}
	if got := texts(t, segment, HeaderSize); len(got) != 9 || got[4] != "record 5" {
		t.Errorf("around the damage: got %q", got)
	}
	segment[2] ^= 1
	if _, _, ok := Read(segment); ok {
		t.Error("a damaged header is read")
	}
}

// Flipped bytes never make a record that was not written, nor a panic.
func TestFlippedBytesNeverBecomeARecord(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	for range 2000 {
		segment := make([]byte, segmentSize)
		seed := Begin(segment, Header{Sequence: random.Uint64()})
		at := HeaderSize
		written := map[string]bool{}
		for i := 0; at < segmentSize-300; i++ {
			text := fmt.Sprintf("%d:%0*d", i, 1+random.IntN(200), random.IntN(1000))
			written[text] = true
			at = put(segment, at, seed, text)
		}
		for range 1 + random.IntN(4) {
			segment[random.IntN(len(segment))] ^= byte(1 + random.IntN(255))
		}
		if _, found, ok := Read(segment); !ok || found != seed {
			continue
		}
		for _, text := range texts(t, segment, HeaderSize) {
			if !written[text] {
				t.Fatalf("read %q, which nobody wrote", text)
			}
		}
	}
}

func TestFileKeepsItsSegmentsAndItsPages(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal")
	f, err := Open(path, 3*segmentSize-1, segmentSize)
	if err != nil {
		t.Fatal(err)
	}
	if f.Segments() != 3 {
		t.Fatalf("got %d segments", f.Segments())
	}
	put(f.Segment(1), HeaderSize, Begin(f.Segment(1), Header{Sequence: 5}), "kept")
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil || st.Blocks*512 < 3*segmentSize || st.Mode&0o777 != 0o600 {
		t.Errorf("file: %d blocks, mode %o, %v; its pages must be allocated", st.Blocks, st.Mode&0o777, err)
	}
	f, err = Open(path, segmentSize, segmentSize)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if got := texts(t, f.Segment(1), HeaderSize); f.Segments() != 3 || len(got) != 1 || got[0] != "kept" {
		t.Errorf("reopened: %d segments, %q", f.Segments(), got)
	}
}

func TestOpenRefusesWhatIsNoFile(t *testing.T) {
	if _, err := Open(t.TempDir(), segmentSize, segmentSize); !errors.Is(err, unix.EISDIR) {
		t.Errorf("a directory: got %v", err)
	}
	if _, err := Open(filepath.Join(t.TempDir(), "none", "journal"), segmentSize, segmentSize); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no directory: got %v", err)
	}
}
