package persistence

import (
	"bytes"
	"math"
	"slices"
	"sort"
	"sync"
	"time"
)

// DefaultMemoryLogBytes bounds the log of a Memory.
const DefaultMemoryLogBytes = 32 << 20

// Memory is the Store of a node without a directory, and of tests. It keeps
// the same blocks as Badger, with the same limits, and forgets them with the process.
type Memory struct {
	sizing sizing
	now    func() time.Time
	runID  uint64

	calls *CallBuffer

	mu      sync.RWMutex
	closed  bool
	docs    map[string]map[string][]byte
	blocks  []memoryBlock
	index   map[string][]memoryEntry
	last    map[string]uint64 // version of every stream
	ledger  *ledger
	builder *blockBuilder
	start   uint64 // log offset of the oldest block
	commits uint64
	dropped uint64
}

type memoryBlock struct {
	first uint64
	value []byte
}

type memoryEntry struct {
	first uint64 // version
	indexEntry
}

var _ Store = (*Memory)(nil)

// NewMemory returns an empty store. Its log keeps DefaultMemoryLogBytes.
func NewMemory() *Memory {
	m := &Memory{
		sizing:  sizeFor(math.MaxUint64, Options{MaxLogBytes: DefaultMemoryLogBytes}),
		now:     time.Now,
		docs:    make(map[string]map[string][]byte),
		index:   make(map[string][]memoryEntry),
		last:    make(map[string]uint64),
		builder: newBlockBuilder(),
		calls:   NewCallBuffer(0),
	}
	m.ledger = newLedger(tail{}, func(stream string) (uint64, error) { return m.last[stream], nil })
	return m
}

// WithRunID sets what Options.RunID is to Badger and returns m. Call it before use.
func (m *Memory) WithRunID(id uint64) *Memory {
	m.runID = id
	return m
}

// Commit stores documents and control events; see Store.
func (m *Memory) Commit(batches ...Batch) error {
	if _, _, err := measureAll(batches, m.sizing); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return ErrClosed
	}
	now := m.now()
	for i := range batches {
		for _, d := range batches[i].Docs {
			m.putDoc(d)
		}
		if err := addEvents(m.builder, batches[i].Events, now, m.sealIfFull); err != nil {
			return err
		}
	}
	return m.commit()
}

func (m *Memory) putDoc(d Doc) {
	if d.Body == nil {
		delete(m.docs[d.Kind], d.ID)
		return
	}
	if m.docs[d.Kind] == nil {
		m.docs[d.Kind] = make(map[string][]byte)
	}
	m.docs[d.Kind][d.ID] = append([]byte{}, d.Body...)
}

// AppendCalls stores packed call records; see Store.
func (m *Memory) AppendCalls(records []byte, lost uint64) error {
	if _, err := checkPacked(records); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return ErrClosed
	}
	err := eachFrame(records, func(frame []byte) error {
		if err := m.sealIfFull(); err != nil {
			return err
		}
		m.builder.addPacked(frame)
		return nil
	})
	if err != nil {
		return err
	}
	if lost > 0 {
		event := droppedEvent(lost, m.now())
		m.builder.addEvent(&event)
	}
	return m.commit()
}

// CallBuffer is the buffer in front of the log; see Store.
func (m *Memory) CallBuffer() *CallBuffer { return m.calls }

// FlushCalls moves the buffer into the log; see Store.
func (m *Memory) FlushCalls(lost uint64) error {
	records, refused := m.calls.Drain(nil)
	return m.AppendCalls(records, lost+refused)
}

func (m *Memory) sealIfFull() error {
	if m.builder.size()+packedRoom <= m.sizing.block && len(m.builder.dir) < maxBlockStreams {
		return nil
	}
	return m.seal()
}

func (m *Memory) seal() error {
	if m.builder.count == 0 {
		return nil
	}
	b, err := m.builder.seal(m.ledger, m.runID)
	if err != nil {
		return err
	}
	m.blocks = append(m.blocks, memoryBlock{first: b.first, value: b.value})
	for _, p := range b.index {
		e, _ := decodeIndexEntry(p.value)
		m.index[p.stream] = append(m.index[p.stream], memoryEntry{first: p.first, indexEntry: e})
		m.last[p.stream] = p.first + e.count - 1
	}
	return nil
}

func (m *Memory) commit() error {
	if err := m.seal(); err != nil {
		return err
	}
	m.ledger.commit()
	m.commits++
	return m.retain()
}

func (m *Memory) retain() error {
	n := 0
	for ; n < len(m.blocks)-1 && m.ledger.tail().offset-m.start > m.sizing.maxLog; n++ {
		b, err := openBlock(m.blocks[n].first, m.blocks[n].value)
		if err != nil {
			return err
		}
		for _, d := range b.dir {
			m.index[d.stream] = m.index[d.stream][1:]
			if len(m.index[d.stream]) == 0 {
				delete(m.index, d.stream)
			}
		}
		m.start = b.offset + storedBytes(m.blocks[n].value, b.dir)
		m.blocks[n] = memoryBlock{} // its bytes go at once
		m.dropped++
	}
	m.blocks = m.blocks[n:]
	return nil
}

// Docs returns the documents of a kind; see Store.
func (m *Memory) Docs(kind string) ([]Doc, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if m.closed {
		return nil, ErrClosed
	}
	var docs []Doc
	for id, body := range m.docs[kind] {
		docs = append(docs, Doc{Kind: kind, ID: id, Body: bytes.Clone(body)})
	}
	sort.Slice(docs, func(i, j int) bool { return docs[i].ID < docs[j].ID })
	return docs, nil
}

// Doc returns one document; see Store.
func (m *Memory) Doc(kind, id string) (Doc, bool, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if m.closed {
		return Doc{}, false, ErrClosed
	}
	body, ok := m.docs[kind][id]
	if !ok {
		return Doc{}, false, nil
	}
	return Doc{Kind: kind, ID: id, Body: bytes.Clone(body)}, true, nil
}

// Events reads the whole log; see Store.
func (m *Memory) Events(fromPosition uint64, limit int) ([]Event, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if m.closed {
		return nil, ErrClosed
	}
	want := selection{whole: true, from: max(fromPosition, 1), limit: orDefault(limit)}
	var out []Event
	for i := m.blockAt(want.from); i < len(m.blocks) && len(out) < want.limit; i++ {
		var err error
		if out, err = m.scan(out, i, want); err != nil {
			return out, err
		}
	}
	return out, nil
}

// blockAt is the place of the block that holds a position, or of the oldest.
func (m *Memory) blockAt(position uint64) int {
	i, found := slices.BinarySearchFunc(m.blocks, position, func(b memoryBlock, p uint64) int {
		switch {
		case b.first < p:
			return -1
		case b.first > p:
			return 1
		}
		return 0
	})
	if !found {
		i--
	}
	return max(i, 0)
}

func (m *Memory) scan(out []Event, i int, want selection) ([]Event, error) {
	b, err := openBlock(m.blocks[i].first, m.blocks[i].value)
	if err != nil {
		return out, err
	}
	return b.scan(out, want)
}

// StreamEvents reads one stream; see Store.
func (m *Memory) StreamEvents(stream string, fromVersion uint64, limit int) ([]Event, error) {
	return m.readStream(selection{stream: stream, from: max(fromVersion, 1), limit: orDefault(limit)})
}

// History reads the calls of one stream; see Store.
func (m *Memory) History(stream string, fromVersion uint64, limit int) ([]Event, error) {
	return m.readStream(selection{stream: stream, from: max(fromVersion, 1), limit: orDefault(limit), callsOnly: true})
}

func (m *Memory) readStream(want selection) ([]Event, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if m.closed {
		return nil, ErrClosed
	}
	entries := m.index[want.stream]
	var out []Event
	i := sort.Search(len(entries), func(i int) bool { return entries[i].first+entries[i].count > want.from })
	for ; i < len(entries) && len(out) < want.limit; i++ {
		if want.callsOnly && entries[i].calls == 0 {
			continue
		}
		var err error
		if out, err = m.scan(out, m.blockAt(entries[i].block), want); err != nil {
			return out, err
		}
	}
	return out, nil
}

// LastPosition is the position of the newest event.
func (m *Memory) LastPosition() uint64 {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.ledger.tail().position
}

// Stats returns the state as of now; it knows no volume.
func (m *Memory) Stats() Stats {
	m.mu.RLock()
	defer m.mu.RUnlock()
	st := Stats{
		LastPosition:  m.ledger.tail().position,
		LogBytes:      m.ledger.tail().offset - m.start,
		MaxLogBytes:   m.sizing.maxLog,
		Commits:       m.commits,
		DroppedBlocks: m.dropped,
	}
	if len(m.blocks) > 0 {
		st.FirstPosition = m.blocks[0].first
	}
	if m.closed {
		st.ReadOnly, st.Reason = true, ErrClosed.Error()
	}
	return st
}

// Close forgets everything. Closing again returns nil.
func (m *Memory) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = true
	m.docs, m.blocks, m.index = nil, nil, nil
	return m.calls.close()
}
