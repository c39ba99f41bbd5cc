package jsonrpc

import "encoding/binary"

// scanner is the state of one Scan. It lives on the stack of Scan.
//
// Its methods take an index into b and return the index after what they read. A
// negative index means that the message is refused and err is set; it is handed
// up at once.
type scanner struct {
	b        []byte
	env      Envelope // by value: a pointer would send the caller's to the heap
	maxDepth int

	err     error  // what ended the scan
	at      int    // where
	fault   error  // first fault of a well-formed message; see note
	faultAt int    // where
	spaces  uint64 // bit c is set if the whitespace character c was seen

	version bool // jsonrpc is 2.0
	twoIDs  bool // the id is ambiguous and must not be echoed

	keys    [maxKeyRefs]keyRef // of the inspected objects now open, outermost first
	nkeys   int
	decoded []byte // keys that had escapes, decoded
}

// fail ends the scan.
func (s *scanner) fail(at int, err error) int {
	s.err, s.at = err, at
	return -1
}

// note remembers a fault of a message that may still be well-formed JSON. The
// scan goes on: only then is it known whether the bytes are JSON at all, and
// some clients send the id last, which the answer has to echo.
func (s *scanner) note(at int, err error) {
	if s.fault == nil {
		s.fault, s.faultAt = err, at
	}
}

// whitespace has the bits of the four characters JSON calls whitespace.
const whitespace = 1<<' ' | 1<<'\t' | 1<<'\n' | 1<<'\r'

// eightSpaces is a word of indented text.
const eightSpaces = 0x2020202020202020

// space skips whitespace from i. Any other control character is left to the
// caller, who expects something else there and refuses it.
func (s *scanner) space(i int) int {
	b := s.b
	for i < len(b) && b[i] <= ' ' {
		bit := uint64(1) << b[i]
		if bit&whitespace == 0 {
			return i
		}
		s.spaces |= bit
		i++
		if bit == 1<<'\n' {
			for i+8 <= len(b) && binary.LittleEndian.Uint64(b[i:]) == eightSpaces {
				i += 8
			}
		}
	}
	return i
}

// value checks the value that starts at i, with depth objects and arrays open
// around it, and skips it.
func (s *scanner) value(i, depth int) int {
	switch s.first(i) {
	case '"':
		end, _, err := scanString(s.b, i+1)
		if err != nil {
			return s.fail(end, err)
		}
		return end
	case '{', '[':
		return s.container(i, depth)
	default:
		return s.scalar(i)
	}
}

// container is value for objects and arrays. It is a loop, not a recursion, so
// that hostile nesting costs a bit per level and not a stack frame.
func (s *scanner) container(i, depth int) int {
	b := s.b
	room := s.maxDepth - depth
	open := 0
	// kinds has one bit per open container, the innermost lowest: set for an
	// object. Every 64 levels it is put aside into outer.
	var kinds uint64
	var outer []uint64
	for {
		// Here a value has to start.
		c := s.first(i)
		switch c {
		case '"':
			end, _, err := scanString(b, i+1)
			if err != nil {
				return s.fail(end, err)
			}
			i = end
		case '{', '[':
			if open >= room {
				return s.fail(i, ErrTooDeep)
			}
			if open&63 == 0 && open > 0 {
				outer = append(outer, kinds)
			}
			kinds = kinds<<1 | uint64(c>>5&1) // '{' has this bit, '[' has not
			open++
			i++
			if i < len(b) && b[i] <= ' ' {
				i = s.space(i)
			}
			if i < len(b) && b[i] == c+2 { // the closing bracket of either
				break
			}
			if c == '{' {
				if i = s.key(i); i < 0 {
					return i
				}
			}
			continue
		default:
			if i = s.scalar(i); i < 0 {
				return i
			}
		}
		// Here a value has ended, or an empty container is about to: close what
		// closes, until a comma asks for the next value.
		for {
			if i < len(b) && b[i] <= ' ' {
				i = s.space(i)
			}
			if i >= len(b) {
				return s.fail(i, errEnd)
			}
			c := b[i]
			i++
			if c == ',' {
				if i < len(b) && b[i] <= ' ' {
					i = s.space(i)
				}
				if kinds&1 != 0 {
					if i = s.key(i); i < 0 {
						return i
					}
				}
				break
			}
			if c != ']'+byte(kinds&1)<<5 {
				return s.fail(i-1, errDelimiter)
			}
			kinds >>= 1
			if open--; open == 0 {
				return i
			}
			if open&63 == 0 {
				kinds = outer[len(outer)-1]
				outer = outer[:len(outer)-1]
			}
		}
	}
}

// key reads a key of an object that is not inspected, and the colon after it. It
// returns the start of the value.
func (s *scanner) key(i int) int {
	b := s.b
	if i >= len(b) {
		return s.fail(i, errEnd)
	}
	if b[i] != '"' {
		return s.fail(i, errKey)
	}
	end, _, err := scanString(b, i+1)
	if err != nil {
		return s.fail(end, err)
	}
	return s.colon(end)
}

// colon reads the colon after a key and returns the start of the value.
func (s *scanner) colon(i int) int {
	b := s.b
	if i+1 < len(b) && b[i] == ':' && b[i+1] > ' ' {
		return i + 1 // compact JSON, nearly always
	}
	if i = s.space(i); i >= len(b) {
		return s.fail(i, errEnd)
	}
	if b[i] != ':' {
		return s.fail(i, errColon)
	}
	return s.space(i + 1)
}

// scalar checks and skips a number, true, false or null.
func (s *scanner) scalar(i int) int {
	b := s.b
	if i >= len(b) {
		return s.fail(i, errEnd)
	}
	word := "null"
	switch c := b[i]; {
	case isNumber(c):
		end, ok := number(b, i)
		if !ok {
			return s.fail(end, errNumber)
		}
		return end
	case c == 't':
		word = "true"
	case c == 'f':
		word = "false"
	case c != 'n':
		return s.fail(i, errValue)
	}
	if len(b)-i < len(word) || string(b[i:i+len(word)]) != word {
		return s.fail(i, errLiteral)
	}
	return i + len(word)
}

// number skips a number by the grammar of RFC 8259; its magnitude is of no
// concern. On a fault it returns its place and false.
func number(b []byte, i int) (int, bool) {
	if b[i] == '-' {
		i++
	}
	start := i
	i = digits(b, i)
	if i == start || b[start] == '0' && i > start+1 {
		return start, false
	}
	if i < len(b) && b[i] == '.' {
		start = i + 1
		if i = digits(b, start); i == start {
			return i, false
		}
	}
	if i < len(b) && b[i]|0x20 == 'e' {
		i++
		if i < len(b) && (b[i] == '+' || b[i] == '-') {
			i++
		}
		start = i
		if i = digits(b, start); i == start {
			return i, false
		}
	}
	return i, true
}

// digits skips decimal digits.
func digits(b []byte, i int) int {
	for i < len(b) && b[i]-'0' <= 9 {
		i++
	}
	return i
}
