package persistence

import "encoding/binary"

// blockBuilder collects records until they are sealed as one block.
type blockBuilder struct {
	class   class          // of the records in it
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

// takes reports whether another record, of a class, may go into a block of at
// most limit bytes; else the block is to be sealed before it.
func (b *blockBuilder) takes(c class, limit int) bool {
	return b.count == 0 || b.class == c && b.size()+packedRoom <= limit && len(b.dir) < maxBlockStreams
}

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
	b.class = classCalls
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
	b.class = classEvents
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
	v[0] = b.class.form()
	binary.BigEndian.PutUint64(v[1:], runID)
	binary.BigEndian.PutUint32(v[9:], b.count)
	binary.BigEndian.PutUint32(v[17:], t.checksum)
	binary.BigEndian.PutUint64(v[21:], t.offset[b.class])
	t.checksum = blockChecksum(out.first, v)
	binary.BigEndian.PutUint32(v[13:], t.checksum)
	out.value = v
	t.position += uint64(b.count)
	t.offset[b.class] += storedBytes(len(v), b.dir)
	l.advance(t)
	b.reset()
	return out, nil
}
