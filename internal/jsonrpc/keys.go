package jsonrpc

import (
	"bytes"
	"encoding/binary"
	"hash/maphash"
)

const (
	// maxKeyRefs is how many keys of inspected objects are kept on the stack.
	// MCP messages have about ten; an object that does not fit goes on in a map.
	maxKeyRefs = 64
	// maxMembers is how many members an inspected object may have at all. The
	// map costs some thirty times the bytes of a short member, so without a bound
	// a message of legal size could claim far more memory than it has.
	maxMembers = 4096
)

// keyRef is a key already seen: a range of the message, or, if start is negative,
// of the decoded keys, where it starts at ^start.
type keyRef struct {
	hash       uint32
	start, end int32
}

// keySet holds the keys of one inspected object. The references are those from
// base on in the scanner, so that nested objects share one array.
type keySet struct {
	base  int
	count int
	bloom uint64 // a bit per hash: most keys are new, and this says so at once
	many  map[string]struct{}
}

// readKey reads the key at i and the colon after it. It returns the decoded key,
// valid until the next call, and the start of the value. A duplicate is noted.
func (s *scanner) readKey(set *keySet, i int) (key []byte, next int) {
	b := s.b
	if i >= len(b) {
		return nil, s.fail(i, errEnd)
	}
	if b[i] != '"' {
		return nil, s.fail(i, errKey)
	}
	end, escaped, err := scanString(b, i+1)
	if err != nil {
		return nil, s.fail(end, err)
	}
	key = b[i+1 : end-1]
	ref := keyRef{start: int32(i + 1), end: int32(end - 1)}
	if escaped {
		from := len(s.decoded)
		s.decoded = appendUnescaped(s.decoded, key)
		key = s.decoded[from:]
		ref.start, ref.end = ^int32(from), int32(len(s.decoded))
	}
	if set.count++; set.count > maxMembers {
		return nil, s.fail(i, errMembers)
	}
	ref.hash = hashKey(key)
	bit := uint64(1) << (ref.hash & 63)
	if set.bloom&bit != 0 && s.hasKey(set, ref.hash, key) {
		s.note(i, ErrDuplicateKey)
		if set.base == 0 && string(key) == "id" {
			s.twoIDs = true
		}
	} else {
		set.bloom |= bit
		s.addKey(set, ref, key)
	}
	return key, s.colon(end)
}

// addKey adds a key that is not in the set.
func (s *scanner) addKey(set *keySet, ref keyRef, key []byte) {
	if set.many == nil && s.nkeys < len(s.keys) {
		s.keys[s.nkeys] = ref
		s.nkeys++
		return
	}
	if set.many == nil {
		set.many = make(map[string]struct{})
	}
	set.many[string(key)] = struct{}{}
}

// hasKey reports whether the key is in the set.
func (s *scanner) hasKey(set *keySet, hash uint32, key []byte) bool {
	for _, ref := range s.keys[set.base:s.nkeys] {
		if ref.hash == hash && bytes.Equal(s.keyAt(ref), key) {
			return true
		}
	}
	_, ok := set.many[string(key)]
	return ok
}

func (s *scanner) keyAt(ref keyRef) []byte {
	if ref.start < 0 {
		return s.decoded[^ref.start:ref.end]
	}
	return s.b[ref.start:ref.end]
}

// keySeed makes the hashes of long keys unpredictable.
var keySeed = maphash.MakeSeed()

// hashKey mixes the length and both ends of a short key. That need not withstand
// an adversary: a collision costs one short comparison with each of at most
// maxKeyRefs keys. Long keys, which would make it long comparisons, are hashed well.
func hashKey(k []byte) uint32 {
	const odd = 0x9e3779b97f4a7c15
	h := uint64(len(k))
	switch {
	case len(k) > 64:
		return uint32(maphash.Bytes(keySeed, k))
	case len(k) >= 8:
		h ^= binary.LittleEndian.Uint64(k) * odd
		h ^= binary.LittleEndian.Uint64(k[len(k)-8:])
	case len(k) >= 4:
		h ^= uint64(binary.LittleEndian.Uint32(k)) << 8
		h ^= uint64(binary.LittleEndian.Uint32(k[len(k)-4:])) << 32
	case len(k) > 0:
		h ^= uint64(k[0])<<8 ^ uint64(k[len(k)/2])<<16 ^ uint64(k[len(k)-1])<<24
	}
	return uint32(h * odd >> 32)
}

// The keys of each inspected object, for lookalike.
var (
	messageKeys = keyList("jsonrpc", "id", "method", "params", "result", "error")
	paramsKeys  = keyList("name", "arguments", "_meta", "progressToken", "requestId")
	metaKeys    = keyList("progressToken")
)

func keyList(names ...string) [][]byte {
	list := make([][]byte, len(names))
	for i, name := range names {
		list[i] = []byte(name)
	}
	return list
}

// lookalike reports whether key, which is none of known, is one of them for a
// parser that ignores case. encoding/json is such a parser, so a server built on
// it would take "Name" for the name of the tool and "ProgressToken" for a token
// that was never replaced.
func lookalike(key []byte, known [][]byte) bool {
	for _, k := range known {
		// The first byte decides nearly always. Letters fold onto the other case or
		// onto non-ASCII; '_' onto nothing, which EqualFold settles.
		if len(key) >= len(k) && ((key[0]^k[0])&^0x20 == 0 || key[0] >= 0x80) && bytes.EqualFold(key, k) {
			return true
		}
	}
	return false
}
