package persistence

import (
	"encoding/binary"
	"strings"
)

const (
	prefixBlock   = "g/"
	prefixIndex   = "i/"
	prefixVersion = "v/"
	prefixDoc     = "d/"
	keyFormat     = "m/format"
	keyFirst      = "m/first"
	keyEnd        = "m/end"
)

func blockKey(position uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte(prefixBlock), position)
}

// parseBlockKey returns false for a key that is none.
func parseBlockKey(key []byte) (uint64, bool) {
	if len(key) != len(prefixBlock)+8 || string(key[:len(prefixBlock)]) != prefixBlock {
		return 0, false
	}
	return binary.BigEndian.Uint64(key[len(prefixBlock):]), true
}

// indexPrefix ends with a NUL that no escaped name contains, so no stream's
// prefix is the prefix of another.
func indexPrefix(stream string) []byte {
	b := appendEscaped([]byte(prefixIndex), stream)
	return append(b, 0)
}

func indexKey(stream string, version uint64) []byte {
	return binary.BigEndian.AppendUint64(indexPrefix(stream), version)
}

func indexVersion(key []byte) uint64 {
	if len(key) < 8 {
		return 0
	}
	return binary.BigEndian.Uint64(key[len(key)-8:])
}

func versionKey(stream string) []byte { return append([]byte(prefixVersion), stream...) }

func docPrefix(kind string) []byte {
	b := appendEscaped([]byte(prefixDoc), kind)
	return append(b, 0)
}

func docKey(kind, id string) []byte { return append(docPrefix(kind), id...) }

// appendEscaped writes NUL as 01 01 and 01 as 01 02: injective, without NUL.
func appendEscaped(dst []byte, s string) []byte {
	if strings.IndexByte(s, 0) < 0 && strings.IndexByte(s, 1) < 0 {
		return append(dst, s...)
	}
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case 0:
			dst = append(dst, 1, 1)
		case 1:
			dst = append(dst, 1, 2)
		default:
			dst = append(dst, s[i])
		}
	}
	return dst
}

// parseDocKey takes a document's key apart.
func parseDocKey(key []byte) (kind, id string, ok bool) {
	escaped, name, ok := strings.Cut(strings.TrimPrefix(string(key), prefixDoc), "\x00")
	if !ok {
		return "", "", false
	}
	kind = strings.NewReplacer("\x01\x01", "\x00", "\x01\x02", "\x01").Replace(escaped)
	return kind, name, true
}
