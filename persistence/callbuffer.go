package persistence

import (
	"cmp"
	"fmt"
	"hash/maphash"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/aabb9013/hangar/persistence/journal"
)

// DefaultCallBufferBytes is room for some 50,000 calls.
const DefaultCallBufferBytes = 4 << 20

const (
	callShards         = 8
	minCallBufferBytes = 64 << 10
	minSegmentBytes    = 4 << 10
	maxSegmentBytes    = 64 << 10
	// maxPackedCall bounds one packed record.
	maxPackedCall = 60 + maxServerName + maxToolName + maxErrorType + maxErrorText
)

// CallBuffer is the bounded buffer in front of the log: whoever finishes a
// call records it here and never waits for the disk; one goroutine moves it into
// the log with Store.FlushCalls. A full buffer counts what it refuses. All
// methods are safe for concurrent use. Records of one server keep their order.
//
// Its memory is a pool of segments. Those of a Badger are a mapped file, the
// journal, so a record survives kill -9 from the moment Record returns.
type CallBuffer struct {
	seed    maphash.Seed
	size    atomic.Int64  // recorded since the last flush began
	refused atomic.Uint64 // records that there was no room for, ever
	shards  [callShards]callShard

	pool segmentPool

	drain sync.Mutex // one flush at a time; guards the rest
	taken []*segment // not in the log yet, in their order
	lost  uint64     // not told to the log yet
}

type callShard struct {
	mu   sync.Mutex
	seg  *segment // nil until a record comes
	buf  []byte   // seg's memory, as far as it is used
	lost uint64
	_    [56]byte // keeps neighbours off the cache line
}

// segment is a piece of the buffer's memory. It belongs to one shard, then to
// the flush, then to the pool.
type segment struct {
	journal.Header
	mem  []byte
	seed uint32
	used int
}

// segmentPool hands out segments; the one that was used last goes first, so that
// a quiet node touches few pages.
type segmentPool struct {
	mu    sync.Mutex
	file  *journal.File // nil: the memory is the process's own
	bytes int           // of a segment
	owner uint64
	last  uint64 // sequence number
	free  []*segment
	full  []*segment
}

// NewCallBuffer returns a buffer in memory for maxBytes of packed records (at
// least 64 KiB; DefaultCallBufferBytes if <= 0), about 75 bytes a call. It
// grows as needed.
func NewCallBuffer(maxBytes int) *CallBuffer {
	if maxBytes <= 0 {
		maxBytes = DefaultCallBufferBytes
	}
	maxBytes = max(maxBytes, minCallBufferBytes)
	bytes := min(max(maxBytes/64, minSegmentBytes), maxSegmentBytes)
	b := &CallBuffer{seed: maphash.MakeSeed()}
	b.pool = segmentPool{bytes: bytes, free: make([]*segment, maxBytes/bytes)}
	for i := range b.pool.free {
		b.pool.free[i] = &segment{}
	}
	return b
}

// openCallBuffer returns a buffer over a journal file. What an earlier run left
// there and is not behind the mark waits for the first flush.
func openCallBuffer(path string, maxBytes int, owner uint64, mark journalMark) (*CallBuffer, journalState, error) {
	file, err := journal.Open(path, maxBytes, maxSegmentBytes)
	if err != nil {
		return nil, journalState{}, err
	}
	b := &CallBuffer{seed: maphash.MakeSeed()}
	b.pool = segmentPool{file: file, bytes: maxSegmentBytes, owner: owner, last: mark.sequence}
	state := journalState{}
	for i := range file.Segments() {
		s := &segment{mem: file.Segment(i)}
		if s.load(mark, &state) {
			b.taken = append(b.taken, s)
		} else {
			b.pool.free = append(b.pool.free, s)
		}
		b.pool.last = max(b.pool.last, s.Sequence)
	}
	b.lost = uint64(state.damaged)
	b.order()
	return b, state, nil
}

// journalMark is the last record of the journal that is in the log: all of
// earlier segments are, and of its own segment what stands before the offset.
type journalMark struct {
	sequence uint64
	offset   uint64
}

// journalState is what was found in a journal.
type journalState struct{ records, damaged, torn int }

// load reads what stands in the segment's memory; true when some of it is not
// in the log.
func (s *segment) load(mark journalMark, state *journalState) bool {
	h, seed, ok := journal.Read(s.mem)
	if !ok {
		return false
	}
	s.Header, s.seed = h, seed
	if h.Sequence < mark.sequence {
		return false
	}
	used, records, damaged, torn := journal.Check(s.mem, seed)
	s.used = used
	if h.Sequence == mark.sequence && uint64(used) <= mark.offset {
		return false
	}
	state.records += records
	state.damaged += damaged
	if torn {
		state.torn++
	}
	return true
}

// Record packs a record, or counts it as lost when the buffer is full. It is
// true when this record is the first since the buffer was created or a flush
// began: the caller then arms the next. r is not kept. No allocation once the
// buffer has grown.
func (b *CallBuffer) Record(r *CallRecord) (first bool) {
	s := &b.shards[maphash.String(b.seed, r.Server)%callShards]
	s.mu.Lock()
	if len(s.buf)+packedBound(r)+journal.Overhead > cap(s.buf) && !b.renew(s) {
		s.lost++
		s.mu.Unlock()
		b.refused.Add(1)
		return false
	}
	start := len(s.buf)
	packed := appendPackedCall(s.buf, r)
	end := journal.Seal(packed[:cap(packed)], start, len(packed), s.seg.seed)
	s.buf = packed[:end]
	n := int64(end - start)
	first = b.size.Add(n) == n
	s.mu.Unlock()
	return first
}

// Refused is how many records were counted as lost since the buffer was made.
func (b *CallBuffer) Refused() uint64 { return b.refused.Load() }

// renew gives a shard whose segment is full another one. The shard is locked.
func (b *CallBuffer) renew(s *callShard) bool {
	p := &b.pool
	p.mu.Lock()
	defer p.mu.Unlock()
	n := len(p.free)
	if n == 0 {
		return false
	}
	if s.seg != nil {
		s.seg.used = len(s.buf)
		p.full = append(p.full, s.seg)
	}
	s.seg = p.free[n-1]
	p.free = p.free[:n-1]
	if s.seg.mem == nil {
		s.seg.mem = make([]byte, p.bytes)
	}
	p.last++
	s.seg.Header = journal.Header{Sequence: p.last, Owner: p.owner}
	s.seg.seed = journal.Begin(s.seg.mem, s.seg.Header)
	s.buf = s.seg.mem[:journal.HeaderSize]
	return true
}

// take ends every segment under way: all that was recorded before it is in
// b.taken, and what comes later has higher numbers. The caller holds drain.
func (b *CallBuffer) take() {
	// All shards at once: a record that is taken in between two of them would
	// neither be drained nor be the first of an empty buffer, and would wait
	// for a flush that nobody arms.
	for i := range b.shards {
		b.shards[i].mu.Lock()
	}
	for i := range b.shards {
		s := &b.shards[i]
		if s.seg != nil {
			s.seg.used = len(s.buf)
			b.taken = append(b.taken, s.seg)
			s.seg, s.buf = nil, nil
		}
		b.lost += s.lost
		s.lost = 0
	}
	b.pool.mu.Lock()
	b.taken = append(b.taken, b.pool.full...)
	b.pool.full = b.pool.full[:0]
	b.pool.mu.Unlock()
	b.size.Store(0)
	for i := range b.shards {
		b.shards[i].mu.Unlock()
	}
	b.order()
}

func (b *CallBuffer) order() {
	slices.SortFunc(b.taken, func(x, y *segment) int { return cmp.Compare(x.Sequence, y.Sequence) })
}

// release gives back what was taken: it is in the log. The caller holds drain.
func (b *CallBuffer) release() {
	b.pool.mu.Lock()
	b.pool.free = append(b.pool.free, b.taken...)
	b.pool.mu.Unlock()
	b.taken, b.lost = b.taken[:0], 0
}

// takenBytes is what waits in the taken segments.
func (b *CallBuffer) takenBytes() (n int) {
	for _, s := range b.taken {
		n += s.used - journal.HeaderSize
	}
	return n
}

// each calls yield with every taken record behind the mark: the frame without
// its length, and the mark that it moves to.
func (b *CallBuffer) each(mark journalMark, yield func(frame []byte, owner uint64, at journalMark) error) error {
	for _, s := range b.taken {
		from := journal.HeaderSize
		if s.Sequence < mark.sequence {
			continue
		}
		if s.Sequence == mark.sequence {
			from = int(mark.offset)
		}
		err := journal.Each(s.mem, from, s.used, s.seed, func(frame []byte, next int) error {
			return yield(frame[2:], s.Owner, journalMark{s.Sequence, uint64(next)})
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// Drain takes everything out and appends it to dst, for Store.AppendCalls. lost
// is the number of records refused since the last Drain.
func (b *CallBuffer) Drain(dst []byte) (records []byte, lost uint64) {
	b.drain.Lock()
	defer b.drain.Unlock()
	b.take()
	lost = b.lost
	dst = slices.Grow(dst, b.takenBytes())
	for _, s := range b.taken {
		_ = journal.Each(s.mem, journal.HeaderSize, s.used, s.seed, func(frame []byte, _ int) error {
			dst = append(dst, frame...)
			return nil
		})
	}
	b.release()
	return dst, lost
}

// Size is the number of bytes recorded since the last flush began.
func (b *CallBuffer) Size() int { return int(b.size.Load()) }

// close makes the buffer refuse every record from now on, as a full one does,
// and gives its memory up.
func (b *CallBuffer) close() error {
	b.drain.Lock()
	defer b.drain.Unlock()
	b.take()
	b.pool.mu.Lock()
	defer b.pool.mu.Unlock()
	b.taken, b.pool.free = nil, nil
	if b.pool.file == nil {
		return nil
	}
	file := b.pool.file
	b.pool.file = nil
	if err := file.Close(); err != nil {
		return fmt.Errorf("cannot close the journal: %w", err)
	}
	return nil
}
