package persistence

import (
	"bytes"
	"cmp"
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
	logs    [classCount]memoryLog
	last    map[string]uint64 // version of every stream
	ledger  *ledger
	builder *blockBuilder
	commits uint64
	dropped uint64
}

// memoryLog has the blocks of one class in their order. Readers merge the two.
type memoryLog struct {
	blocks []memoryBlock
	index  map[string][]memoryEntry
	start  uint64 // bytes dropped
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
		last:    make(map[string]uint64),
		builder: newBlockBuilder(),
		calls:   NewCallBuffer(0),
	}
	for c := range m.logs {
		m.logs[c].index = make(map[string][]memoryEntry)
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
		if err := addEvents(m.builder, batches[i].Events, now, func() error { return m.makeRoom(classEvents) }); err != nil {
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
		if err := m.makeRoom(classCalls); err != nil {
			return err
		}
		m.builder.addPacked(frame)
		return nil
	})
	if err != nil {
		return err
	}
	if lost > 0 {
		if err := m.makeRoom(classEvents); err != nil {
			return err
		}
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

func (m *Memory) makeRoom(c class) error {
	if m.builder.takes(c, m.sizing.block) {
		return nil
	}
	return m.seal()
}

func (m *Memory) seal() error {
	if m.builder.count == 0 {
		return nil
	}
	log := &m.logs[m.builder.class]
	b, err := m.builder.seal(m.ledger, m.runID)
	if err != nil {
		return err
	}
	log.blocks = append(log.blocks, memoryBlock{first: b.first, value: b.value})
	for _, p := range b.index {
		e, _ := decodeIndexEntry(p.value)
		log.index[p.stream] = append(log.index[p.stream], memoryEntry{first: p.first, indexEntry: e})
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
	for c := range classCount {
		if err := m.retain(c); err != nil {
			return err
		}
	}
	return nil
}

// retain drops the oldest blocks of a class while it is too large, but never the
// newest of the log.
func (m *Memory) retain(c class) error {
	log, end, n := &m.logs[c], m.ledger.tail(), 0
	for ; n < len(log.blocks) && end.offset[c]-log.start > m.sizing.maxLog[c]; n++ {
		b, err := openBlock(log.blocks[n].first, log.blocks[n].value)
		if err != nil {
			return err
		}
		if b.last() == end.position {
			break
		}
		for _, d := range b.dir {
			log.index[d.stream] = log.index[d.stream][1:]
			if len(log.index[d.stream]) == 0 {
				delete(log.index, d.stream)
			}
		}
		log.start = b.offset + storedBytes(b.size, b.dir)
		log.blocks[n] = memoryBlock{} // its bytes go at once
		m.dropped++
	}
	log.blocks = log.blocks[n:]
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
	return m.readLog(selection{whole: true, from: max(fromPosition, 1), limit: orDefault(limit)})
}

// ControlEvents reads the log without its calls; see Store.
func (m *Memory) ControlEvents(fromPosition uint64, limit int) ([]Event, error) {
	return m.readLog(selection{whole: true, noCalls: true, from: max(fromPosition, 1), limit: orDefault(limit)})
}

func (m *Memory) readLog(want selection) ([]Event, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if m.closed {
		return nil, ErrClosed
	}
	var out []Event
	var at [classCount]int
	for c := range m.logs {
		at[c] = m.logs[c].blockAt(want.from)
	}
	for len(out) < want.limit {
		c, more := earlier(func(c class) (uint64, bool) {
			if at[c] == len(m.logs[c].blocks) {
				return 0, false
			}
			return m.logs[c].blocks[at[c]].first, true
		})
		if !more {
			break
		}
		var err error
		if out, err = m.logs[c].scan(out, at[c], want); err != nil {
			return out, err
		}
		at[c]++
	}
	return out, nil
}

// earlier is the class whose next entry has the lower number; number is false
// for one without further entries, earlier when both have none.
func earlier(number func(c class) (uint64, bool)) (class, bool) {
	calls, haveCalls := number(classCalls)
	events, haveEvents := number(classEvents)
	if haveCalls && (!haveEvents || calls < events) {
		return classCalls, true
	}
	return classEvents, haveEvents
}

// blockAt is the place of the block that holds a position, or of the oldest.
func (l *memoryLog) blockAt(position uint64) int {
	i, found := slices.BinarySearchFunc(l.blocks, position, func(b memoryBlock, p uint64) int { return cmp.Compare(b.first, p) })
	if !found {
		i--
	}
	return max(i, 0)
}

func (l *memoryLog) scan(out []Event, i int, want selection) ([]Event, error) {
	b, err := openBlock(l.blocks[i].first, l.blocks[i].value)
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
	var entries [classCount][]memoryEntry
	for c := range m.logs {
		all := m.logs[c].index[want.stream]
		i := sort.Search(len(all), func(i int) bool { return all[i].first+all[i].count > want.from })
		entries[c] = all[i:]
	}
	var out []Event
	for len(out) < want.limit {
		c, more := earlier(func(c class) (uint64, bool) {
			if len(entries[c]) == 0 {
				return 0, false
			}
			return entries[c][0].first, true
		})
		if !more {
			break
		}
		e, log := entries[c][0], &m.logs[c]
		entries[c] = entries[c][1:]
		if want.callsOnly && e.calls == 0 {
			continue
		}
		var err error
		if out, err = log.scan(out, log.blockAt(e.block), want); err != nil {
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

func (m *Memory) share(c class) LogShare {
	return LogShare{Bytes: m.ledger.tail().offset[c] - m.logs[c].start, MaxBytes: m.sizing.maxLog[c]}
}

// Stats returns the state as of now; it knows no volume.
func (m *Memory) Stats() Stats {
	m.mu.RLock()
	defer m.mu.RUnlock()
	st := Stats{
		LastPosition:  m.ledger.tail().position,
		Calls:         m.share(classCalls),
		Events:        m.share(classEvents),
		Commits:       m.commits,
		DroppedBlocks: m.dropped,
	}
	st.LogBytes, st.MaxLogBytes = st.Calls.Bytes+st.Events.Bytes, st.Calls.MaxBytes+st.Events.MaxBytes
	for _, log := range m.logs {
		if len(log.blocks) > 0 && (st.FirstPosition == 0 || log.blocks[0].first < st.FirstPosition) {
			st.FirstPosition = log.blocks[0].first
		}
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
	m.docs, m.logs = nil, [classCount]memoryLog{}
	return m.calls.close()
}
