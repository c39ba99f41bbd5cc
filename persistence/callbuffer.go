package persistence

import (
	"hash/maphash"
	"sync"
	"sync/atomic"
)

// DefaultCallBufferBytes is room for some 50,000 calls.
const DefaultCallBufferBytes = 4 << 20

const (
	callShards         = 8
	minCallBufferBytes = 64 << 10
	// maxPackedCall bounds one packed record.
	maxPackedCall = 60 + maxServerName + maxToolName + maxErrorType + maxErrorText
)

// CallBuffer is the bounded buffer in front of the log: whoever finishes a
// call records it here and never waits for the disk; one goroutine drains it into
// Store.AppendCalls. A full buffer counts what it refuses. All methods are safe
// for concurrent use. Records of one server keep their order.
type CallBuffer struct {
	// max leaves room for one record per shard: each checks it on its own.
	max  int64
	seed maphash.Seed
	// size is changed only under the lock of a shard, so that with all of them
	// held it is exact.
	size   atomic.Int64
	shards [callShards]callShard

	drain sync.Mutex // one Drain at a time; guards the spares
}

type callShard struct {
	mu    sync.Mutex
	buf   []byte
	lost  uint64
	spare []byte
	_     [56]byte // keeps neighbours off the cache line
}

// NewCallBuffer returns a buffer for maxBytes of packed records (at least 64
// KiB; DefaultCallBufferBytes if <= 0), about 70 bytes a call. It grows as needed.
func NewCallBuffer(maxBytes int) *CallBuffer {
	if maxBytes <= 0 {
		maxBytes = DefaultCallBufferBytes
	}
	maxBytes = max(maxBytes, minCallBufferBytes) - callShards*maxPackedCall
	return &CallBuffer{max: int64(maxBytes), seed: maphash.MakeSeed()}
}

// Record packs a record, or counts it as lost when the buffer is full. It is
// true when this record is the first since the buffer was created or drained:
// the caller then arms the flush. r is not kept. No allocation once the buffer has grown.
func (b *CallBuffer) Record(r *CallRecord) (first bool) {
	s := &b.shards[maphash.String(b.seed, r.Server)%callShards]
	s.mu.Lock()
	if b.size.Load()+int64(packedBound(r)) > b.max {
		s.lost++
		s.mu.Unlock()
		return false
	}
	before := len(s.buf)
	s.buf = appendPackedCall(s.buf, r)
	n := int64(len(s.buf) - before)
	first = b.size.Add(n) == n
	s.mu.Unlock()
	return first
}

// Drain takes everything out and appends it to dst. lost is the number of
// records refused since the last Drain.
func (b *CallBuffer) Drain(dst []byte) (records []byte, lost uint64) {
	b.drain.Lock()
	defer b.drain.Unlock()

	// All shards at once: a record that is taken in between two of them would
	// neither be drained nor be the first of an empty buffer, and would wait
	// for a flush that nobody arms.
	for i := range b.shards {
		b.shards[i].mu.Lock()
	}
	for i := range b.shards {
		s := &b.shards[i]
		s.buf, s.spare = s.spare[:0], s.buf
		lost += s.lost
		s.lost = 0
	}
	total := b.size.Swap(0)
	for i := range b.shards {
		b.shards[i].mu.Unlock()
	}

	if free := cap(dst) - len(dst); int64(free) < total {
		dst = append(make([]byte, 0, len(dst)+int(total)), dst...)
	}
	for i := range b.shards {
		s := &b.shards[i]
		dst = append(dst, s.spare...)
		// A burst of one server must not leave its memory in every shard.
		if cap(s.spare) > int(b.max)/callShards && len(s.spare) < cap(s.spare)/4 {
			s.spare = nil
		}
	}
	return dst, lost
}

// Size is the number of bytes that wait to be drained.
func (b *CallBuffer) Size() int { return int(b.size.Load()) }
