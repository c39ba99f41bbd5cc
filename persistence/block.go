package persistence

import (
	"encoding/binary"
	"hash/crc32"
)

// A block, the value of g/<first position>:
//
//	 0  1 byte   form: 1 records of both classes (before format 3), 2 calls, 3 events
//	 1  8 bytes  run id, big endian as all fixed numbers here
//	 9  4 bytes  number of records; the last position is first + records - 1
//	13  4 bytes  CRC-32C of the 8 key bytes (first position), bytes 0-12 and bytes 17 to the end
//	17  4 bytes  CRC-32C of the block before it, 0 in the first of a log
//	21  8 bytes  log offset: bytes of all blocks of its class, with their index entries,
//	             written before it; in form 1 of all blocks
//	29  directory: uvarint number of streams, and for each
//	             uvarint + bytes  stream
//	             uvarint          version of its first record here
//	             uvarint          number of its records here
//	..  records, see codec.go, in the order of their positions
//
// A stream's records keep their order, so position and version of every record
// follow from its place. The chain of checksums and the unbroken positions show
// a block that is missing or stands in the wrong place.
//
// A gap stands for the blocks that retention dropped between two that stay, so
// that the chain goes on. There are no two in a row and none before the oldest
// block. Under the key of the first block dropped:
//
//	 0  1 byte   form, 4
//	 1  8 bytes  number of positions
//	 9  4 bytes  checksum of the last block dropped
//	13  4 bytes  CRC-32C as above
//	17  4 bytes  checksum of the block before the gap
//
// An index entry, the value of i/<stream>\0<version>:
//
//	1 byte   format, 1
//	8 bytes  first position of the block
//	uvarint  number of the stream's records in it
//	uvarint  how many of these are calls
const (
	blockHeaderSize = 29
	gapSize         = 21
	indexFormat     = 1
	// indexOverhead is what an index entry takes beside the stream's name, about.
	indexOverhead = 24
	// gapOverhead is what the gap behind a block takes, about. Every block pays
	// for one, whether or not there will be.
	gapOverhead = 64
)

// Forms of a block.
const (
	formMixed byte = 1 + iota
	formCalls
	formEvents
	formGap
)

// class is what retention tells apart: each has its own bound. A block holds
// records of one.
type class uint8

const (
	classCalls  class = iota // what a CallBuffer delivered
	classEvents              // everything else
	classCount
)

func (c class) form() byte { return formCalls + byte(c) }

func (c class) String() string {
	if c == classCalls {
		return "calls"
	}
	return "events"
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// stream of a block's directory.
type dirEntry struct {
	stream string
	first  uint64 // version
	count  uint64
	calls  uint64 // known to the builder only
}

// storedBytes is what a block with its index entries counts in the size of the log.
func storedBytes(size int, dir []dirEntry) uint64 {
	n := size + len(prefixBlock) + 8 + gapOverhead
	for _, d := range dir {
		n += len(d.stream) + indexOverhead
	}
	return uint64(n)
}

func blockChecksum(first uint64, v []byte) uint32 {
	var key [8]byte
	binary.BigEndian.PutUint64(key[:], first)
	sum := crc32.Update(0, castagnoli, key[:])
	sum = crc32.Update(sum, castagnoli, v[:13])
	return crc32.Update(sum, castagnoli, v[17:])
}

// block is a stored block or gap, opened. It refers to the bytes it was opened from.
type block struct {
	first    uint64
	count    uint64 // positions
	form     byte
	class    class // of a block
	runID    uint64
	checksum uint32 // what the next block names: its own, of a gap that of the last block dropped
	previous uint32
	offset   uint64
	size     int // of the value
	dir      []dirEntry
	records  []byte // in openHeader with the directory before them
}

func (b *block) last() uint64 { return b.first + b.count - 1 }
func (b *block) isGap() bool  { return b.form == formGap }

func corrupt(position uint64, reason string) error {
	return &CorruptError{Position: position, Reason: reason}
}

// openHeader verifies the checksum and reads what stands before the directory.
func openHeader(first uint64, v []byte) (*block, error) {
	if len(v) < gapSize {
		return nil, corrupt(first, "it is shorter than its header")
	}
	if binary.BigEndian.Uint32(v[13:]) != blockChecksum(first, v) {
		return nil, corrupt(first, "its checksum does not match")
	}
	b := &block{first: first, form: v[0], previous: binary.BigEndian.Uint32(v[17:]), size: len(v)}
	switch {
	case b.form == formGap:
		b.count, b.checksum = binary.BigEndian.Uint64(v[1:]), binary.BigEndian.Uint32(v[9:])
	case b.form < formMixed || b.form > formGap:
		return nil, corrupt(first, "its form is unknown")
	case len(v) < blockHeaderSize:
		return nil, corrupt(first, "it is shorter than its header")
	default:
		b.runID = binary.BigEndian.Uint64(v[1:])
		b.count = uint64(binary.BigEndian.Uint32(v[9:]))
		b.checksum = binary.BigEndian.Uint32(v[13:])
		b.offset = binary.BigEndian.Uint64(v[21:])
		b.records = v[blockHeaderSize:]
		b.class = classOf(b.form, b.records)
	}
	if b.count == 0 || b.last() < first {
		return nil, corrupt(first, "its number of positions is impossible")
	}
	return b, nil
}

// classOf is the class of a block: before format 3 that of its first record,
// since only the note of lost calls ever stood behind records of the other class.
func classOf(form byte, rest []byte) class {
	if form != formMixed {
		return class(form - formCalls)
	}
	r := reader{rest: rest}
	for n := r.uvarint(); n > 0 && !r.failed; n-- {
		r.bytes()
		r.uvarint()
		r.uvarint()
	}
	if record := (reader{rest: r.bytes()}); record.byte() == recordCall {
		return classCalls
	}
	return classEvents
}

// openBlock is openHeader with the directory.
func openBlock(first uint64, v []byte) (*block, error) {
	b, err := openHeader(first, v)
	if err == nil {
		err = b.openDirectory()
	}
	if err != nil {
		return nil, err
	}
	return b, nil
}

// openDirectory reads the directory that openHeader left; a gap has none.
func (b *block) openDirectory() error {
	if b.isGap() {
		return nil
	}
	r := reader{rest: b.records}
	streams := r.uvarint()
	if streams > b.count || streams > uint64(len(r.rest))/3 {
		return corrupt(b.first, "its directory is malformed")
	}
	b.dir = make([]dirEntry, streams)
	var total uint64
	for i := range b.dir {
		b.dir[i] = dirEntry{stream: string(r.bytes()), first: r.uvarint(), count: r.uvarint()}
		if b.dir[i].count > b.count || b.dir[i].first == 0 {
			r.failed = true
		}
		total += b.dir[i].count
	}
	if r.failed || total != b.count || b.count > uint64(len(r.rest))/3 {
		return corrupt(b.first, "its directory is malformed")
	}
	b.records = r.rest
	return nil
}

// gapValue is the stored form of a gap.
func (b *block) gapValue() []byte {
	v := make([]byte, gapSize)
	v[0] = formGap
	binary.BigEndian.PutUint64(v[1:], b.count)
	binary.BigEndian.PutUint32(v[9:], b.checksum)
	binary.BigEndian.PutUint32(v[17:], b.previous)
	binary.BigEndian.PutUint32(v[13:], blockChecksum(b.first, v))
	return v
}

// begins says whether the block's first record of a stream has that version.
func (b *block) begins(stream string, version uint64) bool {
	for _, d := range b.dir {
		if d.stream == stream {
			return d.first == version
		}
	}
	return false
}

// selection is what a read wants of a block.
type selection struct {
	whole     bool   // every stream, from a position
	stream    string // else this one, from a version
	from      uint64
	callsOnly bool
	noCalls   bool
	limit     int // of events in the whole answer
}

// scan appends the wanted events to out; a gap has none.
func (b *block) scan(out []Event, want selection) ([]Event, error) {
	if b.isGap() || want.noCalls && b.form == formCalls {
		return out, nil
	}
	next := make([]uint64, len(b.dir))
	wanted := -1
	for i, d := range b.dir {
		next[i] = d.first
		if !want.whole && d.stream == want.stream {
			wanted = i
		}
	}
	r := reader{rest: b.records}
	for position := b.first; position <= b.last() && len(out) < want.limit; position++ {
		body := reader{rest: r.bytes()}
		kind, n := body.byte(), body.uvarint()
		if r.failed || body.failed || n >= uint64(len(b.dir)) {
			return out, corrupt(b.first, "a record is malformed")
		}
		version := next[n]
		next[n]++
		at := version
		if want.whole {
			at = position
		} else if int(n) != wanted {
			continue
		}
		if at < want.from || want.callsOnly && !isCall(kind, body) || want.noCalls && isCall(kind, body) {
			continue
		}
		e := Event{Position: position, Version: version, Stream: b.dir[n].stream}
		if !decodeRecord(kind, &body, b.runID, &e) {
			return out, corrupt(b.first, "a record is malformed")
		}
		out = append(out, e)
	}
	return out, nil
}

type indexEntry struct {
	block        uint64 // first position of the block
	count, calls uint64
}

func appendIndexEntry(dst []byte, e indexEntry) []byte {
	dst = append(dst, indexFormat)
	dst = binary.BigEndian.AppendUint64(dst, e.block)
	dst = binary.AppendUvarint(dst, e.count)
	return binary.AppendUvarint(dst, e.calls)
}

func decodeIndexEntry(v []byte) (indexEntry, bool) {
	r := reader{rest: v}
	format := r.byte()
	e := indexEntry{block: r.uint64(), count: r.uvarint(), calls: r.uvarint()}
	return e, format == indexFormat && !r.failed && e.count > 0 && e.calls <= e.count
}
