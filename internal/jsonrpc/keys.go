package jsonrpc

import (
	"bytes"
	"encoding/binary"
	"hash/maphash"
)

// place says which inspected object the scanner is in.
type place uint8

const (
	inMessage place = iota
	inParams
	inMeta
	inResult
)

// field is a member the scanner knows by name. Those that it need not note are
// there because they are common: a duplicate of a known key costs one bit to
// find, that of another key a look into the set.
type field uint8

const (
	fieldOther field = iota
	fieldVersion
	fieldID
	fieldMethod
	fieldParams
	fieldResult
	fieldError
	fieldName
	fieldArguments
	fieldMeta
	fieldParamsToken
	fieldRequestID
	fieldMetaToken
	fieldIsError
	fieldContent
	fieldStructured
)

// fieldOf finds the field of a decoded key. Keys match exactly.
func fieldOf(in place, key []byte) field {
	switch in {
	case inMessage:
		switch string(key) {
		case "jsonrpc":
			return fieldVersion
		case "id":
			return fieldID
		case "method":
			return fieldMethod
		case "params":
			return fieldParams
		case "result":
			return fieldResult
		case "error":
			return fieldError
		}
	case inParams:
		switch string(key) {
		case "name":
			return fieldName
		case "arguments":
			return fieldArguments
		case "_meta":
			return fieldMeta
		case "progressToken":
			return fieldParamsToken
		case "requestId":
			return fieldRequestID
		}
	case inMeta:
		if string(key) == "progressToken" {
			return fieldMetaToken
		}
	case inResult:
		switch string(key) {
		case "isError":
			return fieldIsError
		case "content":
			return fieldContent
		case "structuredContent":
			return fieldStructured
		}
	}
	return fieldOther
}

const (
	// maxKeyRefs is how many keys without a field are kept on the stack. MCP
	// messages have a handful; an object that does not fit goes on in a map.
	maxKeyRefs = 16
	// maxMembers is how many keys without a field an inspected object may have.
	// The map costs some thirty times the bytes of a short member, so without a
	// bound a message of legal size could claim far more memory than it has.
	maxMembers = 4096
)

// keyRef is a key of an inspected object: a range of the message, or, if it had
// an escape and start is negative, of the decoded keys, where it starts at ^start.
type keyRef struct {
	hash       uint32
	start, end int32
}

// keySet holds the keys of one inspected object. The references are those from
// base on in the scanner, so that nested objects share one array.
type keySet struct {
	known uint32 // a bit per field
	count int    // of the others
	base  int
	bloom uint64 // a bit per hash: most keys are new, and this says so at once
	many  map[string]struct{}
}

// addKey adds a key without a field to the set and reports whether it was new.
func (s *scanner) addKey(set *keySet, ref keyRef) bool {
	key := s.keyAt(ref)
	ref.hash = hashKey(key)
	bit := uint64(1) << (ref.hash & 63)
	if set.bloom&bit != 0 && s.hasKey(set, ref.hash, key) {
		return false
	}
	set.bloom |= bit
	set.count++
	if set.many == nil && s.nkeys < len(s.keys) {
		s.keys[s.nkeys] = ref
		s.nkeys++
		return true
	}
	if set.many == nil {
		set.many = make(map[string]struct{})
	}
	set.many[string(key)] = struct{}{}
	return true
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

// keyAt returns the decoded key. It must not be kept across a call of readKey.
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

// protocolKeys are the keys that [lookalike] protects, per place. The result is
// not among them: nothing is decided on what is in it.
var protocolKeys = [...][][]byte{
	inMessage: keyList("jsonrpc", "id", "method", "params", "result", "error"),
	inParams:  keyList("name", "arguments", "_meta", "progressToken", "requestId"),
	inMeta:    keyList("progressToken"),
	inResult:  nil,
}

func keyList(names ...string) [][]byte {
	list := make([][]byte, len(names))
	for i, name := range names {
		list[i] = []byte(name)
	}
	return list
}

// lookalike reports whether key, which has no field, has one for a parser that
// ignores case. encoding/json is such a parser, so a server built on it would take
// "Name" for the name of the tool and "ProgressToken" for a token that was never
// replaced.
func lookalike(in place, key []byte) bool {
	for _, k := range protocolKeys[in] {
		// The first byte decides nearly always. A letter folds onto its other case
		// or onto non-ASCII; whatever else this lets through, EqualFold settles.
		if len(key) >= len(k) && ((key[0]^k[0])&^0x20 == 0 || key[0] >= 0x80) && bytes.EqualFold(key, k) {
			return true
		}
	}
	return false
}
