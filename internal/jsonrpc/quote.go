package jsonrpc

import (
	"bytes"
	"unicode/utf16"
	"unicode/utf8"
)

// Unquote returns the decoded content of a raw string token, quotes included, as
// the spans of an [Envelope] give it. Without an escape the result is a sub-slice
// of tok and nothing is allocated. A lone surrogate becomes U+FFFD. It returns
// false if tok is not exactly one valid JSON string.
func Unquote(tok []byte) ([]byte, bool) {
	if len(tok) < 2 || tok[0] != '"' {
		return nil, false
	}
	end, escaped, err := scanString(tok, 1)
	if err != nil || end != len(tok) {
		return nil, false
	}
	content := tok[1 : end-1 : end-1]
	if !escaped {
		return content, true
	}
	return appendUnescaped(make([]byte, 0, len(content)), content), true
}

// appendUnescaped appends the content of a string, which must have passed
// scanString, with its escapes decoded. The result is never longer than content.
func appendUnescaped(dst, content []byte) []byte {
	for {
		i := bytes.IndexByte(content, '\\')
		if i < 0 {
			return append(dst, content...)
		}
		dst = append(dst, content[:i]...)
		content = content[i:]
		n := 2
		switch c := content[1]; c {
		case 'b':
			dst = append(dst, '\b')
		case 'f':
			dst = append(dst, '\f')
		case 'n':
			dst = append(dst, '\n')
		case 'r':
			dst = append(dst, '\r')
		case 't':
			dst = append(dst, '\t')
		case 'u':
			var r rune
			r, n = unescapeRune(content)
			dst = utf8.AppendRune(dst, r)
		default:
			dst = append(dst, c)
		}
		content = content[n:]
	}
}

// unescapeRune decodes the \u escape at the start of p, or the two of a surrogate
// pair, and returns how many bytes it took.
func unescapeRune(p []byte) (rune, int) {
	r, _ := hex4(p)
	if !utf16.IsSurrogate(r) {
		return r, 6
	}
	if rest := p[6:]; len(rest) >= 6 && rest[0] == '\\' && rest[1] == 'u' {
		low, _ := hex4(rest)
		if pair := utf16.DecodeRune(r, low); pair != utf8.RuneError {
			return pair, 12
		}
	}
	return utf8.RuneError, 6
}

// AppendString appends s to dst as a JSON string. Quotes, backslashes and control
// characters are escaped; everything else is kept, except that each byte which is
// not part of valid UTF-8 becomes U+FFFD. The output has no newline.
func AppendString(dst, s []byte) []byte { return appendString(dst, s) }

func appendString[T []byte | string](dst []byte, s T) []byte {
	const digits = "0123456789abcdef"
	dst = append(dst, '"')
	done := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= utf8.RuneSelf {
			// The conversion does not allocate: the string does not outlive the call.
			r, n := utf8.DecodeRuneInString(string(s[i:min(i+utf8.UTFMax, len(s))]))
			if r == utf8.RuneError && n == 1 {
				dst = append(dst, s[done:i]...)
				dst = utf8.AppendRune(dst, utf8.RuneError)
				done = i + 1
			}
			i += n
			continue
		}
		if c >= ' ' && c != '"' && c != '\\' {
			i++
			continue
		}
		dst = append(dst, s[done:i]...)
		switch c {
		case '"', '\\':
			dst = append(dst, '\\', c)
		case '\n':
			dst = append(dst, '\\', 'n')
		case '\r':
			dst = append(dst, '\\', 'r')
		case '\t':
			dst = append(dst, '\\', 't')
		default:
			dst = append(dst, '\\', 'u', '0', '0', digits[c>>4], digits[c&0xf])
		}
		i++
		done = i
	}
	dst = append(dst, s[done:]...)
	return append(dst, '"')
}
