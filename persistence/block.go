package persistence

import (
	"encoding/binary"
	"hash/crc32"
)

// A block, the value of g/<first position>:
//
//	 0  1 byte   format, 1
//	 1  8 bytes  run id, big endian as all fixed numbers here
//	 9  4 bytes  number of records; the last position is first + records - 1
//	13  4 bytes  CRC-32C of the 8 key bytes (first position), bytes 0-12 and bytes 17 to the end
//	17  4 bytes  CRC-32C of the block before it, 0 in the first of a log
//	21  8 bytes  log offset: bytes of all blocks and index entries written before it
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
// An index entry, the value of i/<stream>\0<version>:
//
//	1 byte   format, 1
//	8 bytes  first position of the block
//	uvarint  number of the stream's records in it
//	uvarint  how many of these are calls
const (
	blockFormat     = 1
	blockHeaderSize = 29
	indexFormat     = 1
	// indexOverhead is what an index entry takes beside the stream's name, about.
	indexOverhead = 24
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// stream of a block's directory.
type dirEntry struct {
	stream string
	first  uint64 // version
	count  uint64
	calls  uint64 // known to the builder only
}

// blockBuilder collects records until they are sealed as one block.
type blockBuilder struct {
	numbers map[string]int // stream → place in dir
	dir     []dirEntry
	dirSize int
	records []byte
	count   uint32
	scratch []byte
}

func newBlockBuilder() *blockBuilder {
	return &blockBuilder{numbers: make(map[string]int)}
}

func (b *blockBuilder) reset() {
	clear(b.numbers)
	clear(b.dir) // drop the names
	b.dir = b.dir[:0]
	b.dirSize, b.count = 0, 0
	b.records = b.records[:0]
}

// size is at least the length of the block that seal would make.
func (b *blockBuilder) size() int { return blockHeaderSize + 10 + b.dirSize + len(b.records) }

// number finds or adds a stream. The name is copied only when it is new.
func (b *blockBuilder) number(stream []byte) int {
	if n, ok := b.numbers[string(stream)]; ok {
		return n
	}
	n := len(b.dir)
	name := string(stream)
	b.numbers[name] = n
	b.dir = append(b.dir, dirEntry{stream: name})
	b.dirSize += len(name) + 2 + 10 + 5
	return n
}

// addPacked adds one frame of a CallBuffer, without its length.
func (b *blockBuilder) addPacked(frame []byte) bool {
	r := reader{rest: frame}
	kind := r.byte()
	server := r.bytes()
	if r.failed || kind != recordCall || len(r.rest) == 0 {
		return false
	}
	n := b.number(server)
	size := 1 + uvarintLen(uint64(n)) + len(r.rest)
	b.records = binary.AppendUvarint(b.records, uint64(size))
	b.records = append(b.records, kind)
	b.records = binary.AppendUvarint(b.records, uint64(n))
	b.records = append(b.records, r.rest...)
	b.dir[n].count++
	b.dir[n].calls++
	b.count++
	return true
}

func (b *blockBuilder) addEvent(e *Event) {
	n := b.number([]byte(e.Stream))
	b.scratch = appendEventBody(b.scratch[:0], n, e)
	b.records = binary.AppendUvarint(b.records, uint64(len(b.scratch)))
	b.records = append(b.records, b.scratch...)
	b.dir[n].count++
	if e.Kind == KindCallCompleted || e.Kind == KindCallFailed {
		b.dir[n].calls++
	}
	b.count++
}

func uvarintLen(v uint64) int {
	n := 1
	for ; v >= 0x80; v >>= 7 {
		n++
	}
	return n
}

// sealedBlock is what one block adds to the store.
type sealedBlock struct {
	first uint64
	value []byte
	index []indexPut
}

type indexPut struct {
	stream string
	first  uint64 // version
	value  []byte
}

// seal numbers the records, makes the block and its index entries, and empties
// the builder. The ledger moves on, to be committed or rolled back by the caller.
func (b *blockBuilder) seal(l *ledger, runID uint64) (sealedBlock, error) {
	out := sealedBlock{first: l.tail().position + 1, index: make([]indexPut, 0, len(b.dir))}
	v := make([]byte, blockHeaderSize, b.size())
	v = binary.AppendUvarint(v, uint64(len(b.dir)))
	for _, d := range b.dir {
		last, err := l.version(d.stream)
		if err != nil {
			return sealedBlock{}, err
		}
		v = appendString(v, d.stream)
		v = binary.AppendUvarint(v, last+1)
		v = binary.AppendUvarint(v, d.count)
		l.setVersion(d.stream, last+d.count)
		out.index = append(out.index, indexPut{
			stream: d.stream, first: last + 1,
			value: appendIndexEntry(nil, indexEntry{block: out.first, count: d.count, calls: d.calls}),
		})
	}
	v = append(v, b.records...)
	t := l.tail()
	v[0] = blockFormat
	binary.BigEndian.PutUint64(v[1:], runID)
	binary.BigEndian.PutUint32(v[9:], b.count)
	binary.BigEndian.PutUint32(v[17:], t.checksum)
	binary.BigEndian.PutUint64(v[21:], t.offset)
	sum := blockChecksum(out.first, v)
	binary.BigEndian.PutUint32(v[13:], sum)
	out.value = v
	l.advance(tail{
		position: t.position + uint64(b.count),
		checksum: sum,
		offset:   t.offset + storedBytes(v, b.dir),
	})
	b.reset()
	return out, nil
}

// storedBytes is what a block with its index entries counts in the size of the log.
func storedBytes(value []byte, dir []dirEntry) uint64 {
	n := len(value) + len(prefixBlock) + 8
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

// block is a stored block, opened. It refers to the bytes it was opened from.
type block struct {
	first    uint64
	count    uint32
	runID    uint64
	checksum uint32
	previous uint32
	offset   uint64
	dir      []dirEntry
	records  []byte
}

func (b *block) last() uint64 { return b.first + uint64(b.count) - 1 }

func corrupt(position uint64, reason string) error {
	return &CorruptError{Position: position, Reason: reason}
}

// openBlock verifies the checksum and reads header and directory.
func openBlock(first uint64, v []byte) (*block, error) {
	if len(v) < blockHeaderSize {
		return nil, corrupt(first, "it is shorter than its header")
	}
	if binary.BigEndian.Uint32(v[13:]) != blockChecksum(first, v) {
		return nil, corrupt(first, "its checksum does not match")
	}
	b := &block{
		first:    first,
		runID:    binary.BigEndian.Uint64(v[1:]),
		count:    binary.BigEndian.Uint32(v[9:]),
		checksum: binary.BigEndian.Uint32(v[13:]),
		previous: binary.BigEndian.Uint32(v[17:]),
		offset:   binary.BigEndian.Uint64(v[21:]),
	}
	if v[0] != blockFormat {
		return nil, corrupt(first, "its format is unknown")
	}
	r := reader{rest: v[blockHeaderSize:]}
	streams := r.uvarint()
	if streams > uint64(b.count) || streams > uint64(len(r.rest))/3 {
		return nil, corrupt(first, "its directory is malformed")
	}
	b.dir = make([]dirEntry, streams)
	var total uint64
	for i := range b.dir {
		b.dir[i] = dirEntry{stream: string(r.bytes()), first: r.uvarint(), count: r.uvarint()}
		if b.dir[i].count > uint64(b.count) || b.dir[i].first == 0 {
			r.failed = true
		}
		total += b.dir[i].count
	}
	if r.failed || total != uint64(b.count) || b.count == 0 || uint64(b.count) > uint64(len(r.rest))/3 {
		return nil, corrupt(first, "its directory is malformed")
	}
	b.records = r.rest
	return b, nil
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
	limit     int // of events in the whole answer
}

// scan appends the wanted events to out.
func (b *block) scan(out []Event, want selection) ([]Event, error) {
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
		if at < want.from || want.callsOnly && !isCall(kind, body) {
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
