package persistence

import (
	"errors"
	"fmt"
	"math"

	"github.com/dgraph-io/badger/v4"
)

// blocksPerView bounds how long a read keeps one transaction, which holds back
// badger's compactions; the next page begins a new one.
const blocksPerView = 32

// view runs fn in a read transaction. A panic of badger over a damaged file
// becomes an error.
func (s *Badger) view(fn func(txn *badger.Txn) error) (err error) {
	s.state.RLock()
	defer s.state.RUnlock()
	if s.closed {
		return ErrClosed
	}
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("cannot read %s: %w: %v", s.opts.Dir, ErrCorrupt, p)
		}
		if errors.Is(err, ErrCorrupt) {
			s.damaged.Add(1)
		}
	}()
	return s.db.View(fn)
}

// Docs returns the documents of a kind; see Store.
func (s *Badger) Docs(kind string) ([]Doc, error) {
	var docs []Doc
	prefix := docPrefix(kind)
	err := s.view(func(txn *badger.Txn) error {
		docs = nil
		it := txn.NewIterator(badger.IteratorOptions{Prefix: prefix, PrefetchValues: true, PrefetchSize: 32})
		defer it.Close()
		for it.Rewind(); it.Valid(); it.Next() {
			body, err := it.Item().ValueCopy([]byte{})
			if err != nil {
				return err
			}
			docs = append(docs, Doc{Kind: kind, ID: string(it.Item().Key()[len(prefix):]), Body: body})
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return docs, nil
}

// Doc returns one document; see Store.
func (s *Badger) Doc(kind, id string) (Doc, bool, error) {
	d := Doc{Kind: kind, ID: id}
	var found bool
	err := s.view(func(txn *badger.Txn) (err error) {
		d.Body, found, err = getCopy(txn, docKey(kind, id))
		return err
	})
	if err != nil || !found {
		return Doc{}, false, err
	}
	return d, true, nil
}

// Events reads the whole log; see Store.
func (s *Badger) Events(fromPosition uint64, limit int) ([]Event, error) {
	return s.readLog(selection{whole: true, from: max(fromPosition, 1), limit: orDefault(limit)})
}

// ControlEvents reads the log without its calls; see Store.
func (s *Badger) ControlEvents(fromPosition uint64, limit int) ([]Event, error) {
	return s.readLog(selection{whole: true, noCalls: true, from: max(fromPosition, 1), limit: orDefault(limit)})
}

func (s *Badger) readLog(want selection) ([]Event, error) {
	var out []Event
	chain := chain{next: 0}
	for more := true; more && len(out) < want.limit; {
		err := s.view(func(txn *badger.Txn) (err error) {
			out, more, err = s.readBlocks(txn, out, &want, &chain)
			return err
		})
		if err != nil {
			return out, err
		}
	}
	return out, nil
}

func orDefault(limit int) int {
	if limit <= 0 {
		return DefaultLimit
	}
	return limit
}

// chain checks that blocks follow each other.
type chain struct {
	next     uint64 // first position that is due; 0 before the first block
	checksum uint32
}

func (c *chain) follow(b *block, retained uint64) error {
	switch {
	case c.next == 0: // the first
	case b.first == c.next && b.previous != c.checksum:
		return corrupt(b.first, "it does not follow the block before it")
	case b.isGap() && b.first < c.next: // retention made it grow since the page before
	case b.first != c.next && b.first > retained: // nor did retention drop the oldest blocks since then
		return corrupt(c.next, "it is missing")
	}
	c.next, c.checksum = b.last()+1, b.checksum
	return nil
}

// readBlocks reads one page; more is false at the end of the log.
func (s *Badger) readBlocks(txn *badger.Txn, out []Event, want *selection, c *chain) (_ []Event, more bool, err error) {
	start, err := seekAtOrBefore(txn, []byte(prefixBlock), blockKey(want.from))
	if err != nil {
		return out, false, err
	}
	if start == nil {
		start = blockKey(max(s.firstPosition.Load(), want.from))
	}
	it := txn.NewIterator(badger.IteratorOptions{Prefix: []byte(prefixBlock)})
	defer it.Close()
	n := 0
	for it.Seek(start); it.Valid(); it.Next() {
		if n == blocksPerView || len(out) >= want.limit {
			return out, true, nil
		}
		first, ok := parseBlockKey(it.Item().Key())
		if !ok {
			return out, false, corrupt(want.from, "a block has a malformed key")
		}
		err := it.Item().Value(func(v []byte) error {
			b, err := openBlock(first, v)
			if err != nil {
				return err
			}
			if b.last() < want.from {
				return nil // the block before the one that is due, when that is missing
			}
			if err := c.follow(b, s.firstPosition.Load()); err != nil {
				return err
			}
			out, err = b.scan(out, *want)
			if err == nil && len(out) > 0 {
				want.from = max(want.from, out[len(out)-1].Position+1)
			}
			if err == nil && len(out) < want.limit {
				want.from = max(want.from, b.last()+1) // also past what nobody wants
			}
			return err
		})
		if err != nil {
			return out, false, err
		}
		n++
	}
	return out, false, nil
}

// seekAtOrBefore returns the greatest key with the prefix that is <= key, nil
// if there is none.
func seekAtOrBefore(txn *badger.Txn, prefix, key []byte) ([]byte, error) {
	it := txn.NewIterator(badger.IteratorOptions{Reverse: true, Prefix: prefix})
	defer it.Close()
	it.Seek(key)
	if !it.Valid() {
		return nil, nil
	}
	return it.Item().KeyCopy(nil), nil
}

// StreamEvents reads one stream; see Store.
func (s *Badger) StreamEvents(stream string, fromVersion uint64, limit int) ([]Event, error) {
	return s.readStream(selection{stream: stream, from: max(fromVersion, 1), limit: orDefault(limit)})
}

// History reads the calls of one stream; see Store.
func (s *Badger) History(stream string, fromVersion uint64, limit int) ([]Event, error) {
	return s.readStream(selection{stream: stream, from: max(fromVersion, 1), limit: orDefault(limit), callsOnly: true})
}

func (s *Badger) readStream(want selection) ([]Event, error) {
	var out []Event
	for more := true; more && len(out) < want.limit; {
		err := s.view(func(txn *badger.Txn) (err error) {
			out, more, err = s.readIndex(txn, out, &want)
			return err
		})
		if err != nil {
			return out, err
		}
	}
	return out, nil
}

// readIndex reads one page through the index and moves want.from behind it.
func (s *Badger) readIndex(txn *badger.Txn, out []Event, want *selection) (_ []Event, more bool, err error) {
	prefix := indexPrefix(want.stream)
	start, err := seekAtOrBefore(txn, prefix, indexKey(want.stream, want.from))
	if err != nil {
		return out, false, err
	}
	if start == nil {
		start = indexKey(want.stream, want.from)
	}
	it := txn.NewIterator(badger.IteratorOptions{Prefix: prefix})
	defer it.Close()
	blocks := 0
	for it.Seek(start); it.Valid(); it.Next() {
		if blocks == blocksPerView || len(out) >= want.limit {
			return out, true, nil
		}
		first := indexVersion(it.Item().Key())
		var entry indexEntry
		var ok bool
		err := it.Item().Value(func(v []byte) error {
			entry, ok = decodeIndexEntry(v)
			return nil
		})
		if err != nil {
			return out, false, err
		}
		if !ok {
			return out, false, corrupt(0, fmt.Sprintf("the index entry of %q at version %d is malformed", want.stream, first))
		}
		if entry.count > math.MaxUint64-first || first+entry.count <= want.from || want.callsOnly && entry.calls == 0 {
			continue
		}
		blocks++
		if out, err = s.readIndexed(txn, out, *want, entry.block, first); err != nil {
			return out, false, err
		}
		if len(out) < want.limit {
			want.from = first + entry.count
		}
	}
	return out, false, nil
}

func (s *Badger) readIndexed(txn *badger.Txn, out []Event, want selection, position, version uint64) ([]Event, error) {
	item, err := txn.Get(blockKey(position))
	if errors.Is(err, badger.ErrKeyNotFound) {
		if dropped, err := s.wasDropped(txn, position); dropped || err != nil {
			return out, err // retention could not read it and left its entries
		}
		return out, corrupt(position, "it is missing")
	}
	if err != nil {
		return out, err
	}
	err = item.Value(func(v []byte) error {
		b, err := openBlock(position, v)
		if err != nil {
			return err
		}
		if !b.isGap() && !b.begins(want.stream, version) {
			return corrupt(position, fmt.Sprintf("the index says that it has version %d of %q", version, want.stream))
		}
		out, err = b.scan(out, want)
		return err
	})
	return out, err
}

// wasDropped reports whether the position lies before the oldest block or in a gap.
func (s *Badger) wasDropped(txn *badger.Txn, position uint64) (bool, error) {
	if position < s.firstPosition.Load() {
		return true, nil
	}
	key, err := seekAtOrBefore(txn, []byte(prefixBlock), blockKey(position))
	first, ok := parseBlockKey(key)
	if err != nil || !ok {
		return false, err
	}
	b, err := readBlock(txn, first)
	if errors.Is(err, ErrCorrupt) {
		return false, nil
	}
	return err == nil && b.isGap() && b.last() >= position, err
}
