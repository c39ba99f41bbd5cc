// Package rawjson walks JSON text without decoding it. The stub server, the load driver and the floor use it where a
// decoder would cost more than the work that is measured. It checks only as much syntax as it needs to find its way, so
// its input must come from a peer that is trusted to write JSON; it never panics on anything else.
package rawjson

import "bytes"

// Object iterates over the members of one JSON object. Keys are compared as written: an escaped key is not unescaped.
type Object struct {
	text   []byte
	pos    int
	start  int
	end    int
	opened bool
	closed bool
}

// NewObject returns an iterator over the object that text holds.
func NewObject(text []byte) Object { return Object{text: text} }

// Next returns the next member: its key without the quotes and its raw value. Both alias the text. It returns false at
// the end of the object and at the first fault; Complete tells which.
func (o *Object) Next() (key, value []byte, ok bool) {
	i := space(o.text, o.pos)
	if !o.opened {
		if i >= len(o.text) || o.text[i] != '{' {
			return nil, nil, false
		}
		o.opened = true
		i = space(o.text, i+1)
		if i < len(o.text) && o.text[i] == '}' {
			o.pos, o.closed = i+1, true
			return nil, nil, false
		}
	} else {
		if o.closed || i >= len(o.text) {
			return nil, nil, false
		}
		if o.text[i] == '}' {
			o.pos, o.closed = i+1, true
			return nil, nil, false
		}
		if o.text[i] != ',' {
			return nil, nil, false
		}
		i = space(o.text, i+1)
	}
	keyEnd := skipString(o.text, i)
	if keyEnd < 0 {
		return nil, nil, false
	}
	key = o.text[i+1 : keyEnd-1]
	i = space(o.text, keyEnd)
	if i >= len(o.text) || o.text[i] != ':' {
		return nil, nil, false
	}
	i = space(o.text, i+1)
	end := skip(o.text, i)
	if end < 0 {
		return nil, nil, false
	}
	o.start, o.end, o.pos = i, end, end
	return key, o.text[i:end], true
}

// Span returns the offsets of the last value that Next returned.
func (o *Object) Span() (start, end int) { return o.start, o.end }

// Complete reports whether the object was read to its closing brace with nothing but white space behind it.
func (o *Object) Complete() bool { return o.closed && space(o.text, o.pos) == len(o.text) }

// Member returns the raw value of the first member with that key, or nil.
func Member(text []byte, key string) []byte {
	for o := NewObject(text); ; {
		k, v, ok := o.Next()
		if !ok {
			return nil
		}
		if string(k) == key {
			return v
		}
	}
}

// First returns the first element of a raw array, or nil.
func First(text []byte) []byte {
	i := space(text, 0)
	if i >= len(text) || text[i] != '[' {
		return nil
	}
	i = space(text, i+1)
	end := skip(text, i)
	if end < 0 || text[i] == ']' {
		return nil
	}
	return text[i:end]
}

// Inner returns what stands between the quotes of a raw string, or nil when the value is not a string.
func Inner(value []byte) []byte {
	if len(value) < 2 || value[0] != '"' {
		return nil
	}
	return value[1 : len(value)-1]
}

func space(b []byte, i int) int {
	for i < len(b) && (b[i] == ' ' || b[i] == '\t' || b[i] == '\r' || b[i] == '\n') {
		i++
	}
	return i
}

// skip returns the offset behind the value that starts at i, or -1.
func skip(b []byte, i int) int {
	if i >= len(b) {
		return -1
	}
	switch b[i] {
	case '"':
		return skipString(b, i)
	case '{', '[':
		depth := 0
		for i < len(b) {
			switch b[i] {
			case '"':
				if i = skipString(b, i); i < 0 {
					return -1
				}
				continue
			case '{', '[':
				depth++
			case '}', ']':
				if depth--; depth == 0 {
					return i + 1
				}
			}
			i++
		}
		return -1
	}
	start := i
	for i < len(b) && b[i] != ',' && b[i] != '}' && b[i] != ']' && b[i] > ' ' {
		i++
	}
	if i == start {
		return -1
	}
	return i
}

func skipString(b []byte, i int) int {
	if i >= len(b) || b[i] != '"' {
		return -1
	}
	for from := i + 1; ; {
		n := bytes.IndexByte(b[from:], '"')
		if n < 0 {
			return -1
		}
		quote := from + n
		slash := quote
		for slash > i+1 && b[slash-1] == '\\' {
			slash--
		}
		if (quote-slash)%2 == 0 {
			return quote + 1
		}
		from = quote + 1
	}
}
