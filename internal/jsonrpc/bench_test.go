package jsonrpc

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

// benchSizes are the sizes the design budgets for: the common small call, a page
// of text, and a long file.
var benchSizes = []int{200, 4 << 10, 64 << 10}

// callOf returns a tools/call request of exactly size bytes whose one argument is
// a long ASCII string.
func callOf(size int) []byte {
	const head = `{"jsonrpc":"2.0","id":4711,"method":"tools/call","params":{"name":"files_read","arguments":{"text":"`
	const tail = `"},"_meta":{"progressToken":"p-17"}}}`
	text := strings.Repeat("The quick brown fox jumps over the lazy dog. ", size/45+1)
	return []byte(head + text[:size-len(head)-len(tail)] + tail)
}

// structuredOf returns a response of about size bytes made of many small values,
// the worst case for a scanner.
func structuredOf(size int) []byte {
	var b strings.Builder
	b.WriteString(`{"jsonrpc":"2.0","id":4711,"result":{"content":[],"isError":false,"structuredContent":{"rows":[`)
	for i := 0; b.Len() < size; i++ {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `{"id":%d,"name":"row %d","score":%d.5,"tags":["a","b"],"live":true}`, i, i, i)
	}
	b.WriteString(`]}}}`)
	return []byte(b.String())
}

// escapedOf returns a response of about size bytes whose text is source code: a
// line break or a quote every few words, and some non-ASCII.
func escapedOf(size int) []byte {
	text := strings.Repeat("\tfmt.Println(\"grüße\", x) // 引用\n\treturn errors.New(\"no such file\")\n", size/72+1)
	quoted, err := json.Marshal(text)
	if err != nil {
		panic(err)
	}
	return fmt.Appendf(nil, `{"jsonrpc":"2.0","id":4711,"result":{"content":[{"type":"text","text":%s}]}}`, quoted)
}

func benchInputs() map[string]func(int) []byte {
	return map[string]func(int) []byte{"text": callOf, "structured": structuredOf, "escaped": escapedOf}
}

func BenchmarkScan(b *testing.B) {
	for _, kind := range []string{"text", "structured", "escaped"} {
		for _, size := range benchSizes {
			b.Run(fmt.Sprintf("%s/%d", kind, size), func(b *testing.B) {
				raw := benchInputs()[kind](size)
				var env Envelope
				b.SetBytes(int64(len(raw)))
				b.ReportAllocs()
				for b.Loop() {
					if err := Scan(raw, Limits{}, &env); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// BenchmarkEncodingJSON does with encoding/json what BenchmarkScan does, for the
// ratio: the envelope and the params, with payloads kept raw.
func BenchmarkEncodingJSON(b *testing.B) {
	type params struct {
		Name      string          `json:"name"`
		Arguments json.RawMessage `json:"arguments"`
		Meta      struct {
			ProgressToken json.RawMessage `json:"progressToken"`
		} `json:"_meta"`
	}
	type message struct {
		JSONRPC string          `json:"jsonrpc"`
		ID      json.RawMessage `json:"id"`
		Method  string          `json:"method"`
		Params  params          `json:"params"`
		Result  json.RawMessage `json:"result"`
	}
	for _, kind := range []string{"text", "structured", "escaped"} {
		for _, size := range benchSizes {
			b.Run(fmt.Sprintf("%s/%d", kind, size), func(b *testing.B) {
				raw := benchInputs()[kind](size)
				b.SetBytes(int64(len(raw)))
				b.ReportAllocs()
				for b.Loop() {
					var m message
					if err := json.Unmarshal(raw, &m); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

func BenchmarkAppendRequest(b *testing.B) {
	for _, size := range benchSizes {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			raw := callOf(size)
			var env Envelope
			if err := Scan(raw, Limits{}, &env); err != nil {
				b.Fatal(err)
			}
			name := []byte("read")
			dst := make([]byte, 0, 2*size)
			b.SetBytes(int64(len(raw)))
			b.ReportAllocs()
			for b.Loop() {
				dst = AppendRequest(dst[:0], raw, &env, 123456, name)
			}
		})
	}
}

func BenchmarkAppendWithID(b *testing.B) {
	for _, size := range benchSizes {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			raw := escapedOf(size)
			var env Envelope
			if err := Scan(raw, Limits{}, &env); err != nil {
				b.Fatal(err)
			}
			id := []byte(`"caller-1"`)
			dst := make([]byte, 0, 2*len(raw))
			b.SetBytes(int64(len(raw)))
			b.ReportAllocs()
			for b.Loop() {
				dst = AppendWithID(dst[:0], raw, &env, id)
			}
		})
	}
}
