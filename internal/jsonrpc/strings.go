package jsonrpc

import (
	"encoding/binary"
	"math/bits"
	"unicode/utf8"
)

// Constants of the eight-bytes-at-a-time tests below.
const (
	highs       = 0x8080808080808080
	ones        = 0x0101010101010101
	flipTwo     = 0x0202020202020202
	afterSpace  = 0x2121212121212121
	backslashes = 0x5c5c5c5c5c5c5c5c
)

// special has the high bit set of the first byte of x (little endian) that ends a
// plain run: a quote, a backslash, a control character or non-ASCII. Bits further
// up may be wrong, as subtraction borrows; zero means that all eight are plain.
//
// Flipping bit 1 makes 0x22 the quote 0x20 and maps the 32 control characters
// onto each other, so that one comparison with 0x21 finds both.
func special(x uint64) uint64 {
	return (((x ^ flipTwo) - afterSpace) | ((x ^ backslashes) - ones) | x) & highs
}

// scanString reads a string from i, the byte after its opening quote. It returns
// the index after the closing quote and whether there was an escape. On error the
// index is the place of the fault.
func scanString(b []byte, i int) (end int, escaped bool, err error) {
	for {
		// The first eight bytes are done here: most keys and many values are no
		// longer, and a call would cost more than the test.
		if i+8 <= len(b) {
			if m := special(binary.LittleEndian.Uint64(b[i:])); m != 0 {
				i += bits.TrailingZeros64(m) >> 3
			} else {
				i = plainRun(b, i+8)
			}
		} else {
			i = plainTail(b, i)
		}
		if i >= len(b) {
			return len(b), escaped, errEnd
		}
		switch c := b[i]; {
		case c == '"':
			return i + 1, escaped, nil
		case c == '\\':
			n := escapeLen(b[i:])
			if n == 0 {
				return i, escaped, errEscape
			}
			i += n
			escaped = true
		case c < ' ':
			return i, escaped, errControl
		default:
			next, ok := runes(b, i)
			if !ok {
				return next, escaped, ErrInvalidUTF8
			}
			i = next
		}
	}
}

// plainRun returns the index of the first byte from i that ends a plain run, or
// len(b). Four words share one branch, which is where the speed on long text is.
func plainRun(b []byte, i int) int {
	p := b[i:]
	if len(p) >= 64 {
		p = p[plainPrefix(p):]
	}
	for len(p) >= 32 {
		m0 := special(binary.LittleEndian.Uint64(p))
		m1 := special(binary.LittleEndian.Uint64(p[8:]))
		m2 := special(binary.LittleEndian.Uint64(p[16:]))
		m3 := special(binary.LittleEndian.Uint64(p[24:]))
		if m0|m1|m2|m3 != 0 {
			return len(b) - len(p) + firstOf(m0, m1, m2, m3)
		}
		p = p[32:]
	}
	for len(p) >= 8 {
		if m := special(binary.LittleEndian.Uint64(p)); m != 0 {
			return len(b) - len(p) + bits.TrailingZeros64(m)>>3
		}
		p = p[8:]
	}
	return plainTail(b, len(b)-len(p))
}

// firstOf returns the byte, 0 to 31, at which the first of four masks is set.
func firstOf(m0, m1, m2, m3 uint64) int {
	switch {
	case m0 != 0:
		return bits.TrailingZeros64(m0) >> 3
	case m1 != 0:
		return 8 + bits.TrailingZeros64(m1)>>3
	case m2 != 0:
		return 16 + bits.TrailingZeros64(m2)>>3
	default:
		return 24 + bits.TrailingZeros64(m3)>>3
	}
}

// plainTail is plainRun for the last bytes of a message.
func plainTail(b []byte, i int) int {
	for i < len(b) && b[i] >= ' ' && b[i] < utf8.RuneSelf && b[i] != '"' && b[i] != '\\' {
		i++
	}
	return i
}

// runes skips a run of non-ASCII characters from i. If one is not valid UTF-8 it
// returns its place and false.
func runes(b []byte, i int) (int, bool) {
	for i < len(b) && b[i] >= utf8.RuneSelf {
		r, n := utf8.DecodeRune(b[i:])
		if r == utf8.RuneError && n == 1 {
			return i, false
		}
		i += n
	}
	return i, true
}

// escapeLen returns the length of the escape at the start of p, which is a
// backslash, or 0 if it is none. Surrogates are not paired here: a lone one is
// valid JSON by the grammar and means U+FFFD, as encoding/json has it.
func escapeLen(p []byte) int {
	if len(p) < 2 {
		return 0
	}
	switch p[1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return 2
	case 'u':
		if _, ok := hex4(p); ok {
			return 6
		}
	}
	return 0
}

// hex4 reads the four digits of the \u escape at the start of p.
func hex4(p []byte) (rune, bool) {
	if len(p) < 6 {
		return 0, false
	}
	var r rune
	for _, c := range p[2:6] {
		switch {
		case '0' <= c && c <= '9':
			c -= '0'
		case 'a' <= c && c <= 'f':
			c -= 'a' - 10
		case 'A' <= c && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	return r, true
}
