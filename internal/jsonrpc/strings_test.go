package jsonrpc

import (
	"bytes"
	"encoding/json"
	"runtime"
	"strings"
	"testing"
	"unicode/utf8"
)

// Every byte value at every offset of a text that spans the unrolled loop, the
// word loop and the tail has to be found, wherever the string starts.
func TestScanStringFindsEveryByte(t *testing.T) {
	for c := range 256 {
		for pos := range 79 { // not the last, where a backslash would escape the quote
			text := bytes.Repeat([]byte{'a'}, 80)
			text[pos] = byte(c)
			raw := append(append([]byte{'"'}, text...), '"')
			end, escaped, err := scanString(raw, 1)
			switch {
			case c == '"':
				if err != nil || end != pos+2 {
					t.Fatalf("quote at %d: end %d, %v", pos, end, err)
				}
			case c == '\\', c < ' ', c >= utf8.RuneSelf:
				if err == nil || end != pos+1 {
					t.Fatalf("byte %#x at %d: end %d, %v", c, pos, end, err)
				}
			default:
				if err != nil || escaped || end != len(raw) {
					t.Fatalf("byte %#x at %d: end %d, %v", c, pos, end, err)
				}
			}
		}
	}
}

// All sequences of up to three bytes that start as non-ASCII, against unicode/utf8.
func TestScanStringUTF8(t *testing.T) {
	check := func(s []byte) {
		raw := append(append([]byte{'"'}, s...), '"')
		if _, _, err := scanString(raw, 1); (err == nil) != utf8.Valid(s) {
			t.Fatalf("% x: %v", s, err)
		}
	}
	edges := []byte{'a', 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc0, 0xc1, 0xc2, 0xdf, 0xe0, 0xed, 0xef, 0xf0, 0xf4, 0xf5, 0xff}
	for a := 0x80; a < 256; a++ {
		check([]byte{byte(a)})
		for _, b := range edges {
			check([]byte{byte(a), b})
			for _, c := range edges {
				check([]byte{byte(a), b, c})
				for _, d := range edges {
					check([]byte{byte(a), b, c, d})
				}
			}
		}
	}
}

func TestNumbers(t *testing.T) {
	for _, n := range []string{
		"0", "-0", "1", "-1", "10", "01", "-01", "00", "-", "+1", ".5", "0.", "0.5", "-0.50", "1.e3", "1e", "1e+", "1E-",
		"1e5", "1E+05", "1e-400", "1.5e400", "0x1", "1_0", "Infinity", "NaN", "1.2.3", "1e5e5", "--1", "1-", "0e0", "00.1", "1a",
	} {
		raw := []byte(`{"jsonrpc":"2.0","id":1,"method":"m","params":[` + n + `]}`)
		var env Envelope
		if err := Scan(raw, Limits{}, &env); (err == nil) != json.Valid(raw) {
			t.Errorf("%s: %v", n, err)
		}
	}
}

func TestUnquote(t *testing.T) {
	for _, tok := range []string{
		`""`, `"a"`, `"tools/call"`, `"\""`, `"\\"`, `"\/"`, `"\b\f\n\r\t"`, `"\u0041\u00e9\u20AC"`, `"\ud83d\ude00"`,
		`"\ud83d"`, `"\ude00"`, `"\ud83d\ud83d\ude00"`, `"\ud83dx"`, `"\ud83d\n"`, `"\ud83d\u0041"`, `"é\u00e9"`, `"\u0000"`,
	} {
		var want string
		if err := json.Unmarshal([]byte(tok), &want); err != nil {
			t.Fatal(err)
		}
		got, ok := Unquote([]byte(tok))
		if !ok || string(got) != want {
			t.Errorf("%s: %q %v, want %q", tok, got, ok, want)
		}
	}
	for _, tok := range []string{``, `"`, `a`, `"a`, `a"`, `"a"b`, `"a" `, ` "a"`, `"a"b"`, `"\"`, `"\x"`, `"\u12"`, `12`, `null`, "\"\n\"", "\"\xff\""} {
		if got, ok := Unquote([]byte(tok)); ok {
			t.Errorf("%s: accepted as %q", tok, got)
		}
	}
	if got, ok := Unquote(nil); ok || got != nil {
		t.Error("nil is no string")
	}
	tok := []byte(`"tools/call"`)
	if n := testing.AllocsPerRun(100, func() { Unquote(tok) }); n != 0 {
		t.Errorf("%v allocations without an escape", n)
	}
	// Appending to the result must not write into the message.
	got, _ := Unquote(tok)
	_ = append(got, "xxx"...)
	if string(tok) != `"tools/call"` {
		t.Error("the message was overwritten")
	}
}

func TestAppendString(t *testing.T) {
	for _, s := range []string{
		"", "a", `"`, `\`, "a\"b\\c", "\x00\x01\x1f\x7f", "\b\f\n\r\t", "é€😀", "\xff", "a\xffb\xc3", "\xed\xa0\x80", "é\xe2\x82", "\u2028", "</script>",
		"\ufffd", strings.Repeat("x", 100) + "\n" + strings.Repeat("é", 100),
	} {
		got := AppendString([]byte("x"), []byte(s))
		if got[0] != 'x' {
			t.Fatalf("%q: dst is lost", s)
		}
		var back string
		if err := json.Unmarshal(got[1:], &back); err != nil || back != string([]rune(s)) {
			t.Errorf("%q: %s, %v", s, got, err)
		}
		if !utf8.Valid(got) || bytes.ContainsAny(got, "\n\r") {
			t.Errorf("%q: %q", s, got)
		}
		if same := appendString([]byte("x"), s); !bytes.Equal(same, got) {
			t.Errorf("%q: string and bytes differ", s)
		}
	}
}

// TestPlainPrefix puts every byte at every place of texts of many lengths.
func TestPlainPrefix(t *testing.T) {
	for _, size := range []int{0, 1, 31, 32, 33, 63, 64, 96, 100, 255, 256, 384, 415} {
		text := bytes.Repeat([]byte("a"), size)
		for at := range size {
			for c := range 256 {
				text[at] = byte(c)
				plain := c >= ' ' && c < utf8.RuneSelf && c != '"' && c != '\\'
				got := plainPrefix(text)
				switch whole := size - size%32; {
				case !plain && at < whole && got > at, got > size:
					t.Fatalf("size %d, byte %#x at %d: %d bytes are called plain", size, c, at, got)
				case runtime.GOARCH == "amd64" && plain && got != whole:
					t.Fatalf("size %d, byte %#x at %d: %d bytes, want %d", size, c, at, got, whole)
				case runtime.GOARCH == "amd64" && !plain && got != min(at, whole):
					t.Fatalf("size %d, byte %#x at %d: %d bytes, want %d", size, c, at, got, min(at, whole))
				}
			}
			text[at] = 'a'
		}
	}
}
