package persistence

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"time"
)

// What an entry costs in a transaction beside key and value, about; and what a
// record and its stream cost in a block and in the index.
const (
	entryOverhead  = 64
	recordOverhead = 32
)

// cost is what a write takes of a transaction and of the volume.
type cost struct {
	bytes   int    // that count towards the transaction
	entries int    // keys
	disk    uint64 // all bytes
}

func (c *cost) add(o cost) {
	c.bytes += o.bytes
	c.entries += o.entries
	c.disk += o.disk
}

func (c cost) fits(s sizing) bool { return c.bytes <= s.budget && c.entries <= s.entries }

// measure checks one batch and says what it takes at most. Documents beyond the
// threshold go to the value log and do not burden the transaction.
func (b *Batch) measure(s sizing) (cost, error) {
	var c cost
	for i := range b.Docs {
		d := &b.Docs[i]
		if err := checkNames("document", d.Kind, d.ID); err != nil {
			return c, err
		}
		if len(d.Body) > MaxDocBody {
			return c, fmt.Errorf("document %s %q of %d bytes: %w: limit %d", d.Kind, d.ID, len(d.Body), ErrTooLarge, MaxDocBody)
		}
		n := len(d.Kind)*2 + len(d.ID) + entryOverhead
		c.disk += uint64(n + len(d.Body))
		if int64(len(d.Body)) < s.threshold {
			n += len(d.Body)
		}
		c.bytes += n
		c.entries++
	}
	for i := range b.Events {
		e := &b.Events[i]
		if err := checkNames("event", e.Kind, e.Stream); err != nil {
			return c, err
		}
		if len(e.Data) > MaxEventData {
			return c, fmt.Errorf("event %s with %d bytes of data: %w: limit %d", e.Kind, len(e.Data), ErrTooLarge, MaxEventData)
		}
		if e.Data != nil && !isJSONObject(e.Data) {
			return c, fmt.Errorf("event %s of %q: %w: its data is no JSON object", e.Kind, e.Stream, ErrInvalid)
		}
		n := len(e.Data) + len(e.Kind) + 4*len(e.Stream) + recordOverhead + 2*entryOverhead
		c.bytes += n
		c.disk += uint64(n)
		c.entries += 2
	}
	if !c.fits(s) {
		return c, fmt.Errorf("batch of %d documents and %d events: %w: it takes %d bytes and %d entries, limits are %d and %d",
			len(b.Docs), len(b.Events), ErrTooLarge, c.bytes, c.entries, s.budget, s.entries)
	}
	return c, nil
}

func checkNames(what, kind, name string) error {
	if kind == "" {
		return fmt.Errorf("%s %q: %w: it has no kind", what, name, ErrInvalid)
	}
	if len(kind) > MaxName || len(name) > MaxName {
		return fmt.Errorf("%s %.40q %.40q: %w: names are limited to %d bytes", what, kind, name, ErrTooLarge, MaxName)
	}
	return nil
}

func isJSONObject(data []byte) bool {
	t := bytes.TrimLeft(data, " \t\r\n")
	return len(t) > 0 && t[0] == '{' && json.Valid(data)
}

// measureAll checks every batch before anything is written.
func measureAll(batches []Batch, s sizing) (costs []cost, disk uint64, err error) {
	costs = make([]cost, len(batches))
	for i := range batches {
		if costs[i], err = batches[i].measure(s); err != nil {
			return nil, 0, err
		}
		disk += costs[i].disk
	}
	return costs, disk, nil
}

// firstFit is how many of the batches one transaction takes, at least one.
func firstFit(costs []cost, s sizing) int {
	var sum cost
	for i := range costs {
		sum.add(costs[i])
		if i > 0 && !sum.fits(s) {
			return i
		}
	}
	return len(costs)
}

// addEvents puts events into the builder and seals blocks as they fill.
func addEvents(b *blockBuilder, events []Event, now time.Time, full func() error) error {
	for i := range events {
		e := events[i]
		if e.At.IsZero() {
			e.At = now
		}
		if e.Data == nil {
			e.Data = emptyObject
		}
		if err := full(); err != nil {
			return err
		}
		b.addEvent(&e)
	}
	return nil
}

var emptyObject = json.RawMessage("{}")

func droppedEvent(lost uint64, now time.Time) Event {
	return Event{Kind: KindEventsDropped, At: now, Data: fmt.Appendf(nil, `{"count":%d}`, lost)}
}

// eachFrame calls add with every frame of a CallBuffer's bytes, without length.
func eachFrame(records []byte, add func(frame []byte) error) error {
	for n := 0; len(records) > 0; n++ {
		size, k := binary.Uvarint(records)
		if k <= 0 || size > uint64(len(records)-k) {
			return fmt.Errorf("call record %d: %w: its frame is cut off", n, ErrInvalid)
		}
		if err := add(records[k : k+int(size)]); err != nil {
			return err
		}
		records = records[k+int(size):]
	}
	return nil
}

// checkPacked proves that every frame can be stored and says how many there are.
func checkPacked(records []byte) (n int, err error) {
	err = eachFrame(records, func(frame []byte) error {
		r := reader{rest: frame}
		kind := r.byte()
		server := r.bytes()
		if r.failed || kind != recordCall || len(r.rest) == 0 || len(server) > MaxName || len(frame) > MaxEventData {
			return fmt.Errorf("call record %d: %w", n, ErrInvalid)
		}
		n++
		return nil
	})
	return n, err
}
