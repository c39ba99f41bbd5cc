package persistence

import (
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dgraph-io/badger/v4"
)

// kept is a block of the model: a plain list of what must be in the log.
type kept struct {
	class  class
	events []Event
	bytes  uint64
}

func (k *kept) newest() time.Time { return k.events[len(k.events)-1].At }

// retentionModel says what retention must have left, by the rules and without any
// of the code's ways: each class loses its oldest blocks while it is over its
// bound, or while they are too old, and the newest block of the log stays.
type retentionModel struct {
	t        *testing.T
	random   *rand.Rand
	now      time.Time
	max      [classCount]uint64
	age      [classCount]time.Duration
	blocks   []kept
	position uint64
	versions map[string]uint64
	dropped  int
}

func (m *retentionModel) add(c class, bytes uint64, events ...Event) {
	for i := range events {
		m.position++
		m.versions[events[i].Stream]++
		events[i].Position, events[i].Version = m.position, m.versions[events[i].Stream]
	}
	if len(events) > 0 {
		m.blocks = append(m.blocks, kept{c, events, bytes})
	}
}

func (m *retentionModel) drop(due func(c class, oldest kept, bytes uint64) bool) {
	for c := range classCount {
		for n := 0; n < retainBlocks; n++ {
			oldest, bytes := -1, uint64(0)
			for i, b := range m.blocks {
				if b.class == c {
					bytes += b.bytes
					if oldest < 0 {
						oldest = i
					}
				}
			}
			if oldest < 0 || oldest == len(m.blocks)-1 || !due(c, m.blocks[oldest], bytes) {
				break
			}
			m.blocks = append(m.blocks[:oldest], m.blocks[oldest+1:]...)
			m.dropped++
		}
	}
}

func (m *retentionModel) overBound(c class, _ kept, bytes uint64) bool { return bytes > m.max[c] }

func (m *retentionModel) tooOld(c class, oldest kept, _ uint64) bool {
	return m.age[c] > 0 && oldest.newest().Before(m.now.Add(-m.age[c]))
}

// retaining is what the model needs of a store beside its interface.
type retaining interface {
	Store
	written() [classCount]uint64
}

func (s *Badger) written() [classCount]uint64 { return s.ledger.committed.offset }
func (m *Memory) written() [classCount]uint64 { return m.ledger.committed.offset }

var modelStreams = []string{"", "a", "b", "rare"}

func (m *retentionModel) stream() string {
	if m.random.IntN(40) == 0 {
		return "rare"
	}
	return modelStreams[m.random.IntN(3)]
}

// appendCalls and commit write to the store and to the model.
func (m *retentionModel) appendCalls(s retaining) {
	var packed []byte
	var calls []Event
	for range 1 + m.random.IntN(60) {
		r := CallRecord{
			Server: m.stream(), Tool: "tool", CallID: m.random.Uint64N(1 << 40), Start: m.now.UnixNano(),
			Outcome: Outcome(1 + m.random.IntN(3)), Error: strings.Repeat("e", m.random.IntN(100)),
		}
		packed = appendPackedCall(packed, &r)
		e := Event{Stream: r.Server, Kind: KindCallCompleted, At: m.now, Data: fmt.Appendf(nil, `"0-%x"`, r.CallID)}
		if r.Outcome != Completed {
			e.Kind = KindCallFailed
		}
		calls = append(calls, e)
	}
	lost := uint64(max(0, m.random.IntN(12)-9))
	before := s.written()
	if err := s.AppendCalls(packed, lost); err != nil {
		m.t.Fatal(err)
	}
	after := s.written()
	m.add(classCalls, after[classCalls]-before[classCalls], calls...)
	if lost > 0 {
		m.add(classEvents, after[classEvents]-before[classEvents],
			Event{Kind: KindEventsDropped, At: m.now, Data: fmt.Appendf(nil, `{"count":%d}`, lost)})
	}
	m.drop(m.overBound)
}

func (m *retentionModel) commit(s retaining) {
	var batches []Batch
	var events []Event
	for range 1 + m.random.IntN(3) {
		var b Batch
		for range m.random.IntN(3) {
			e := Event{Stream: m.stream(), Kind: []string{"A", "B", KindCallFailed}[m.random.IntN(3)], At: m.now,
				Data: fmt.Appendf(nil, `{"n":%d,"x":"%s"}`, m.random.Uint64(), strings.Repeat("x", m.random.IntN(200)))}
			b.Events = append(b.Events, e)
			events = append(events, e)
		}
		batches = append(batches, b)
	}
	before := s.written()
	if err := s.Commit(batches...); err != nil {
		m.t.Fatal(err)
	}
	m.add(classEvents, s.written()[classEvents]-before[classEvents], events...)
	m.drop(m.overBound)
}

// check reads the store in every way and compares with the model.
func (m *retentionModel) check(s retaining) {
	m.t.Helper()
	var all []Event
	streams := map[string][]Event{}
	var bytes [classCount]uint64
	for _, b := range m.blocks {
		bytes[b.class] += b.bytes
		for _, e := range b.events {
			all = append(all, e)
			streams[e.Stream] = append(streams[e.Stream], e)
		}
	}
	page := 1 + m.random.IntN(300)
	m.compare("the log", all, page, s.Events, func(e Event) uint64 { return e.Position })
	for _, name := range modelStreams {
		version := func(e Event) uint64 { return e.Version }
		m.compare("stream "+name, streams[name], page,
			func(from uint64, limit int) ([]Event, error) { return s.StreamEvents(name, from, limit) }, version)
		var calls []Event
		for _, e := range streams[name] {
			if isCallKind([]byte(e.Kind)) {
				calls = append(calls, e)
			}
		}
		m.compare("history of "+name, calls, page,
			func(from uint64, limit int) ([]Event, error) { return s.History(name, from, limit) }, version)
	}
	st := s.Stats()
	if st.Calls.Bytes != bytes[classCalls] || st.Events.Bytes != bytes[classEvents] || st.LogBytes != bytes[0]+bytes[1] || st.LastPosition != m.position {
		m.t.Fatalf("stats: got %+v, want %d bytes of calls, %d of events, last position %d", st, bytes[classCalls], bytes[classEvents], m.position)
	}
	if len(all) > 0 && st.FirstPosition != all[0].Position {
		m.t.Fatalf("first position: got %d, want %d", st.FirstPosition, all[0].Position)
	}
	if s, ok := s.(*Badger); ok {
		m.checkGaps(s, bytes)
	}
}

func (m *retentionModel) compare(what string, want []Event, page int, read func(from uint64, limit int) ([]Event, error), number func(Event) uint64) {
	m.t.Helper()
	from, i := uint64(1), 0
	for {
		got, err := read(from, page)
		if err != nil {
			m.t.Fatalf("%s from %d: %v", what, from, err)
		}
		if len(got) == 0 {
			break
		}
		for _, e := range got {
			if i == len(want) {
				m.t.Fatalf("%s: %+v is there, and should not be", what, e)
			}
			w := want[i]
			if e.Position != w.Position || e.Version != w.Version || e.Stream != w.Stream || e.Kind != w.Kind || !e.At.Equal(w.At) ||
				!strings.Contains(string(e.Data), string(w.Data)) {
				m.t.Fatalf("%s, event %d:\n got %+v %s\nwant %+v %s", what, i, e, e.Data, w, w.Data)
			}
			i++
		}
		from = number(got[len(got)-1]) + 1
	}
	if i != len(want) {
		m.t.Fatalf("%s ends after %d events, want %d; the next is %+v", what, i, len(want), want[i])
	}
}

// checkGaps proves what bounds the gaps, and that the counters are true.
func (m *retentionModel) checkGaps(s *Badger, want [classCount]uint64) {
	m.t.Helper()
	if got, entries := storedClasses(m.t, s); got != want || entries > 2*len(m.blocks) {
		m.t.Fatalf("stored are %v bytes in %d entries; want %v in %d blocks", got, entries, want, len(m.blocks))
	}
}

// storedClasses adds up what is stored, and proves that a block stands before
// every gap.
func storedClasses(t *testing.T, s *Badger) (bytes [classCount]uint64, entries int) {
	t.Helper()
	afterGap := true // none before the oldest block
	err := s.db.View(func(txn *badger.Txn) error {
		for _, key := range blockKeys(txn) {
			first, _ := parseBlockKey(key)
			b, err := readBlock(txn, first)
			if err != nil {
				return err
			}
			if entries++; b.isGap() && afterGap {
				return fmt.Errorf("the gap at %d has no block before it", first)
			}
			if afterGap = b.isGap(); !afterGap {
				bytes[b.class] += storedBytes(b.size, b.dir)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return bytes, entries
}

// runRetention plays random appends, ages and, on disk, reopenings.
func runRetention(t *testing.T, seed uint64, steps int, onDisk bool) *retentionModel {
	t.Helper()
	random := rand.New(rand.NewPCG(seed, 1))
	m := &retentionModel{
		t: t, random: random, now: time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC), versions: map[string]uint64{},
		max: [classCount]uint64{1 + random.Uint64N(20000), 1 + random.Uint64N(6000)},
	}
	if random.IntN(2) == 0 && onDisk {
		m.age = [classCount]time.Duration{time.Duration(random.IntN(60)) * time.Minute, time.Duration(random.IntN(300)) * time.Minute}
	}
	memory := NewMemory()
	memory.now = func() time.Time { return m.now }
	memory.sizing.maxLog = m.max
	var s retaining = memory
	var dir string
	reopen := func() {
		b, err := Open(Options{
			Dir: dir, MinFreeBytes: 1, Now: func() time.Time { return m.now },
			Calls: Retention{MaxBytes: m.max[classCalls]}, Events: Retention{MaxBytes: m.max[classEvents]},
		})
		if err != nil {
			t.Fatal(err)
		}
		s = b
	}
	if onDisk {
		dir = t.TempDir()
		reopen()
	}
	for range steps {
		m.now = m.now.Add(time.Duration(random.IntN(600)) * time.Second)
		switch n := random.IntN(20); {
		case n < 9:
			m.appendCalls(s)
		case n < 17:
			m.commit(s)
		case !onDisk:
		case n < 19:
			for c, age := range m.age { // not by the store itself, which would choose the moment
				if age > 0 {
					s.(*Badger).retainNewer(class(c), m.now.Add(-age))
				}
			}
			m.drop(m.tooOld)
		default:
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			m.verify(dir)
			reopen()
		}
		m.check(s)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if onDisk {
		m.verify(dir)
	}
	return m
}

func (m *retentionModel) verify(dir string) {
	m.t.Helper()
	report, err := Verify(dir, nil)
	if err != nil || !report.Sound() {
		m.t.Fatalf("verify: %+v, %v", report, err)
	}
	var events uint64
	for _, b := range m.blocks {
		events += uint64(len(b.events))
	}
	if report.Events != events || report.Blocks != len(m.blocks) || events > 0 && report.Dropped != report.Last-report.First+1-events {
		m.t.Fatalf("verify: got %+v, want %d events in %d blocks", report, events, len(m.blocks))
	}
}

func TestRetentionFollowsTheModel(t *testing.T) {
	seeds, steps := 8, 100
	if testing.Short() {
		seeds = 3
	}
	for _, onDisk := range []bool{true, false} {
		dropped := 0
		for seed := range seeds {
			t.Run(fmt.Sprintf("disk=%v/seed=%d", onDisk, seed), func(t *testing.T) {
				dropped += runRetention(t, uint64(seed), steps, onDisk).dropped
			})
		}
		if dropped < 20*seeds {
			t.Errorf("disk %v: only %d blocks were dropped", onDisk, dropped)
		}
	}
}

func FuzzRetention(f *testing.F) {
	f.Add(uint64(1), uint8(30), true)
	f.Add(uint64(2), uint8(100), false)
	f.Fuzz(func(t *testing.T, seed uint64, steps uint8, onDisk bool) {
		runRetention(t, seed, int(steps), onDisk)
	})
}

func TestSharesOfTheLog(t *testing.T) {
	const mib = 1 << 20
	for _, c := range []struct{ whole, calls, events, wantCalls, wantEvents uint64 }{
		{0, 0, 0, 192 * mib, 64 * mib},
		{100, 0, 0, 75, 25},
		{1, 0, 0, 1, 0},
		{100, 10, 0, 10, 90},
		{100, 0, 60, 40, 60},
		{100, 10, 20, 10, 20},
		{0, 56 * mib, 0, 56 * mib, 200 * mib},
		{0, 0, 6 * mib, 250 * mib, 6 * mib},
		{0, 1024 * mib, 0, 1024 * mib, 64 * mib}, // leaves nothing of what nobody asked for
		{0, 0, 1024 * mib, 192 * mib, 1024 * mib},
	} {
		o := Options{Dir: "x", MaxLogBytes: c.whole, Calls: Retention{MaxBytes: c.calls}, Events: Retention{MaxBytes: c.events}}
		s := sizeFor(100<<30, o)
		if got := s.maxLog; got != [classCount]uint64{c.wantCalls, c.wantEvents} || o.Validate() != nil {
			t.Errorf("%d, calls %d, events %d: got %v, %v", c.whole, c.calls, c.events, got, o.Validate())
		}
	}
	for _, o := range []Options{
		{MaxLogBytes: 100, Calls: Retention{MaxBytes: 60}, Events: Retention{MaxBytes: 41}},
		{MaxLogBytes: 100, Calls: Retention{MaxBytes: 100}},
		{MaxLogBytes: 100, Events: Retention{MaxBytes: 100}},
		{MaxLogBytes: 100, Events: Retention{MaxBytes: 1 << 63}, Calls: Retention{MaxBytes: 1 << 63}},
		{Calls: Retention{MaxAge: -1}},
		{Events: Retention{MaxAge: -1}},
	} {
		o.Dir = "x"
		if o.Validate() == nil {
			t.Errorf("accepted: %+v", o)
		}
	}
	o := Options{MaxLogAge: 1, Events: Retention{MaxAge: 2}}
	if o.maxAge(classCalls) != 1 || o.maxAge(classEvents) != 2 {
		t.Errorf("ages: %v, %v", o.maxAge(classCalls), o.maxAge(classEvents))
	}
}

// Pages that were read before and after retention dropped something must fit.
func TestReadersPassWhatIsDroppedMeanwhile(t *testing.T) {
	s, err := Open(Options{Dir: t.TempDir(), MinFreeBytes: 1, Calls: Retention{MaxBytes: 15000}, Events: Retention{MaxBytes: 30000}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	r := goldenCall()
	packed := appendPackedCall(nil, &r)
	stop := make(chan struct{})
	var readers sync.WaitGroup
	for range 2 {
		readers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				events, err := s.Events(1, 1<<20)
				if err != nil {
					t.Error(err)
					return
				}
				if _, err := s.StreamEvents("srv", 1, 1<<20); err != nil {
					t.Error(err)
					return
				}
				for i := 1; i < len(events); i++ {
					if events[i].Position <= events[i-1].Position {
						t.Errorf("position %d after %d", events[i].Position, events[i-1].Position)
						return
					}
				}
			}
		})
	}
	for i := range 600 {
		err := s.AppendCalls(packed, 0)
		if err == nil && i%3 == 0 {
			err = s.Commit(Batch{Events: []Event{{Stream: "srv", Kind: "K"}}})
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	close(stop)
	readers.Wait()
	if st := s.Stats(); st.DroppedBlocks < 100 || st.Damaged > 0 {
		t.Errorf("stats: %+v", st)
	}
}

func blockKeys(txn *badger.Txn) (keys [][]byte) {
	it := txn.NewIterator(badger.IteratorOptions{Prefix: []byte(prefixBlock)})
	defer it.Close()
	for it.Rewind(); it.Valid(); it.Next() {
		keys = append(keys, it.Item().KeyCopy(nil))
	}
	return keys
}

// A block that is damaged or missing between blocks that stay goes when either
// class passes it, and leaves a sound log.
func TestRetentionPassesOverDamageInTheMiddle(t *testing.T) {
	remove := func(txn *badger.Txn, key, _ []byte) error { return txn.Delete(key) }
	spoil := func(txn *badger.Txn, key, v []byte) error {
		return txn.Set(key, append(v[:len(v)-1:len(v)-1], v[len(v)-1]^1))
	}
	for name, damage := range map[string]func(*badger.Txn, []byte, []byte) error{"missing": remove, "damaged": spoil} {
		for at := range 10 {
			t.Run(fmt.Sprint(name, at), func(t *testing.T) { passOverDamage(t, at, damage) })
		}
	}
}

func passOverDamage(t *testing.T, at int, damage func(*badger.Txn, []byte, []byte) error) {
	opts := Options{Dir: t.TempDir(), MinFreeBytes: 1, Calls: Retention{MaxBytes: 1000}, Events: Retention{MaxBytes: 1 << 20}}
	r := goldenCall()
	// write opens the store, writes, and looks at what can be read of it.
	write := func(steps int, look func(s *Badger)) *Report {
		s, err := Open(opts)
		if err != nil {
			t.Fatal(err)
		}
		for range steps {
			err = errors.Join(err, s.Commit(Batch{Events: []Event{{Stream: "srv", Kind: "K"}}}), s.AppendCalls(appendPackedCall(nil, &r), 0))
		}
		look(s)
		report, verifyErr := (*Report)(nil), error(nil)
		if err = errors.Join(err, s.Close()); err == nil {
			report, verifyErr = Verify(opts.Dir, nil)
		}
		if err = errors.Join(err, verifyErr); err != nil {
			t.Fatal(err)
		}
		return report
	}
	reads := func(s *Badger) {
		events, err := s.Events(1, 1000)
		own, ownErr := s.StreamEvents("srv", 1, 1000)
		if err != nil || ownErr != nil || len(events) == 0 || len(own) != len(events) {
			t.Errorf("%d events, %v; %d of the stream, %v", len(events), err, len(own), ownErr)
		}
		st, stored := s.Stats(), [classCount]uint64{}
		if stored, _ = storedClasses(t, s); stored != [classCount]uint64{st.Calls.Bytes, st.Events.Bytes} || st.Calls.Bytes > 1000 {
			t.Errorf("stored are %v bytes, the store says %+v", stored, st)
		}
	}
	var calls bool // have not passed what will be damaged
	report := write(16, func(s *Badger) {
		search := s.start.classes[classCalls].search
		err := s.db.Update(func(txn *badger.Txn) error {
			keys := blockKeys(txn)
			key := blockKey(search)
			if at > 0 { // blocks and gaps, where calls have left and where they have not
				key = keys[len(keys)*at/10]
			}
			position, _ := parseBlockKey(key)
			calls = position >= search
			v, _, err := getCopy(txn, key)
			return cmp.Or(err, damage(txn, key, v))
		})
		if err != nil {
			t.Fatal(err)
		}
	})
	if report.Sound() {
		t.Fatal("verify sees no damage")
	}
	if calls {
		report = write(40, func(s *Badger) {
			if events, err := s.Events(1, 1000); err != nil || len(events) < 40 {
				t.Errorf("%d events, %v", len(events), err)
			}
			if events, err := s.StreamEvents("srv", 1, 1000); err != nil || len(events) < 40 {
				t.Errorf("stream: %d events, %v", len(events), err)
			}
			if st := s.Stats(); st.Calls.Bytes > 1000 {
				t.Errorf("calls do not go: %+v", st)
			}
		})
		if !report.Sound() {
			t.Errorf("after calls have passed it: %v", report.Faults)
		}
	}
	opts.Events.MaxBytes = 3000 // now the events before the damage go as well
	if report = write(40, reads); !report.Sound() {
		t.Errorf("after both have passed it: %v", report.Faults)
	}
}

// A stream's newest versions may be dropped while older ones stay.
func TestDroppedVersionsAreNotUsedAgain(t *testing.T) {
	opts := Options{Dir: t.TempDir(), MinFreeBytes: 1, Calls: Retention{MaxBytes: 1}}
	r := goldenCall()
	for range 3 {
		s, err := Open(opts)
		if err != nil {
			t.Fatal(err)
		}
		before := s.LastPosition()
		err = errors.Join(
			s.Commit(Batch{Events: []Event{{Stream: r.Server, Kind: "K"}}}),
			s.AppendCalls(appendPackedCall(nil, &r), 0),
			s.Commit(Batch{Events: []Event{{Kind: "K"}}}), // the call is not the newest block any more
		)
		if err != nil {
			t.Fatal(err)
		}
		events, err := s.StreamEvents(r.Server, 1, 100)
		if last := events[len(events)-1]; err != nil || last.Position != before+1 || last.Version != 2*before/3+1 {
			t.Errorf("after %d events: got %+v, %v", before, last, err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
