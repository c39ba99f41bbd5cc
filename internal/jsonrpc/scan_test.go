package jsonrpc

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
)

// spans names the spans of an envelope for the tables below.
func spans(raw []byte, e *Envelope) map[string]string {
	got := map[string]string{}
	for name, s := range map[string]Span{
		"id": e.ID, "method": e.Method, "params": e.Params, "result": e.Result, "error": e.Error,
		"name": e.Name, "arguments": e.Arguments, "progress": e.ProgressToken,
		"token": e.ParamsToken, "request": e.RequestID,
	} {
		if s.Present() {
			got[name] = string(s.Of(raw))
		}
	}
	return got
}

func TestScanSpans(t *testing.T) {
	type want map[string]string
	for _, tc := range []struct {
		name, raw string
		kind      Kind
		want      want
		isError   bool
		newline   bool
	}{
		{name: "call", kind: Request,
			raw: `{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"read","arguments":{"a":[1,{}]},"_meta":{"progressToken":"p"}}}`,
			want: want{"id": `7`, "method": `"tools/call"`, "name": `"read"`, "arguments": `{"a":[1,{}]}`, "progress": `"p"`,
				"params": `{"name":"read","arguments":{"a":[1,{}]},"_meta":{"progressToken":"p"}}`}},
		{name: "id last", kind: Request, raw: `{"method":"ping","jsonrpc":"2.0","id":"a"}`,
			want: want{"id": `"a"`, "method": `"ping"`}},
		{name: "whitespace everywhere", kind: Request, newline: true,
			raw:  " \t\r\n{ \"jsonrpc\" : \"2.0\" ,\n            \"id\" : -1.5e+3 , \"method\" : \"m\" , \"params\" : { \"name\" : \"n\" , \"_meta\" : { \"progressToken\" : 3 } } } \n",
			want: want{"id": `-1.5e+3`, "method": `"m"`, "name": `"n"`, "progress": `3`, "params": `{ "name" : "n" , "_meta" : { "progressToken" : 3 } }`}},
		{name: "spaces are no newline", kind: Notification, raw: ` {"jsonrpc": "2.0", "method":	"m"} `, want: want{"method": `"m"`}},
		{name: "trailing newline counts", kind: Notification, newline: true, raw: `{"jsonrpc":"2.0","method":"m"}` + "\n", want: want{"method": `"m"`}},
		{name: "carriage return counts", kind: Notification, newline: true, raw: `{"jsonrpc":"2.0","method":` + "\r" + `"m"}`, want: want{"method": `"m"`}},
		{name: "newline deep down", kind: Response, newline: true, raw: "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":[[{\"a\":1,\n\"b\":2}]]}",
			want: want{"id": `1`, "result": "[[{\"a\":1,\n\"b\":2}]]"}},
		{name: "escaped newline is none", kind: Notification, raw: `{"jsonrpc":"2.0","method":"a\nb"}`, want: want{"method": `"a\nb"`}},
		{name: "params array", kind: Notification, raw: `{"jsonrpc":"2.0","method":"m","params":["name",{"name":1,"name":2}]}`,
			want: want{"method": `"m"`, "params": `["name",{"name":1,"name":2}]`}},
		{name: "progress", kind: Notification, raw: `{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":12,"progress":0.5}}`,
			want: want{"method": `"notifications/progress"`, "token": `12`, "params": `{"progressToken":12,"progress":0.5}`}},
		{name: "cancelled", kind: Notification, raw: `{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"x","reason":""}}`,
			want: want{"method": `"notifications/cancelled"`, "request": `"x"`, "params": `{"requestId":"x","reason":""}`}},
		{name: "deeper keys are not ours", kind: Request,
			raw: `{"jsonrpc":"2.0","id":1,"method":"m","params":{"arguments":{"name":"x","_meta":{"progressToken":1},"requestId":2},"x":{"name":"y","arguments":3},"_meta":{"x":{"progressToken":4}}}}`,
			want: want{"id": `1`, "method": `"m"`, "arguments": `{"name":"x","_meta":{"progressToken":1},"requestId":2}`,
				"params": `{"arguments":{"name":"x","_meta":{"progressToken":1},"requestId":2},"x":{"name":"y","arguments":3},"_meta":{"x":{"progressToken":4}}}`}},
		{name: "wrong types are absent", kind: Request,
			raw:  `{"jsonrpc":"2.0","id":1,"method":"m","params":{"name":5,"progressToken":null,"requestId":[],"_meta":{"progressToken":{}},"arguments":null}}`,
			want: want{"id": `1`, "method": `"m"`, "arguments": `null`, "params": `{"name":5,"progressToken":null,"requestId":[],"_meta":{"progressToken":{}},"arguments":null}`}},
		{name: "meta not an object", kind: Notification, raw: `{"jsonrpc":"2.0","method":"m","params":{"_meta":["progressToken",1]}}`,
			want: want{"method": `"m"`, "params": `{"_meta":["progressToken",1]}`}},
		{name: "top-level look-ins are not params", kind: Notification, raw: `{"jsonrpc":"2.0","method":"m","name":"x","arguments":1,"_meta":{"progressToken":1},"requestId":3,"isError":true}`,
			want: want{"method": `"m"`}},
		{name: "escaped keys", kind: Request,
			raw: `{"\u006asonrpc":"\u0032.0","\u0069d":1,"m\u0065thod":"m","par\u0061ms":{"\u006eame":"n","argument\u0073":[],"\u005fmeta":{"progress\u0054oken":2}}}`,
			want: want{"id": `1`, "method": `"m"`, "name": `"n"`, "arguments": `[]`, "progress": `2`,
				"params": `{"\u006eame":"n","argument\u0073":[],"\u005fmeta":{"progress\u0054oken":2}}`}},
		{name: "result", kind: Response, raw: `{"jsonrpc":"2.0","id":1,"result":{"content":[],"isError":false}}`,
			want: want{"id": `1`, "result": `{"content":[],"isError":false}`}},
		{name: "tool failure", kind: Response, isError: true, raw: `{"jsonrpc":"2.0","id":1,"result":{"content":[],"isError":true}}`,
			want: want{"id": `1`, "result": `{"content":[],"isError":true}`}},
		{name: "tool failure, escaped key", kind: Response, isError: true, raw: `{"jsonrpc":"2.0","id":1,"result":{"is\u0045rror": true}}`,
			want: want{"id": `1`, "result": `{"is\u0045rror": true}`}},
		{name: "isError not literally true", kind: Response, raw: `{"jsonrpc":"2.0","id":1,"result":{"isError":"true"}}`,
			want: want{"id": `1`, "result": `{"isError":"true"}`}},
		{name: "isError deeper", kind: Response, raw: `{"jsonrpc":"2.0","id":1,"result":{"x":{"isError":true},"y":[{"isError":true}]}}`,
			want: want{"id": `1`, "result": `{"x":{"isError":true},"y":[{"isError":true}]}`}},
		{name: "result with meta is not params", kind: Response, raw: `{"jsonrpc":"2.0","id":1,"result":{"_meta":{"progressToken":1,"progressToken":2},"name":"n"}}`,
			want: want{"id": `1`, "result": `{"_meta":{"progressToken":1,"progressToken":2},"name":"n"}`}},
		{name: "result null", kind: Response, raw: `{"jsonrpc":"2.0","id":"","result":null}`, want: want{"id": `""`, "result": `null`}},
		{name: "result string", kind: Response, raw: `{"jsonrpc":"2.0","id":1,"result":"isError"}`, want: want{"id": `1`, "result": `"isError"`}},
		{name: "error", kind: ErrorResponse, raw: `{"jsonrpc":"2.0","id":1,"error":{"code":-1,"message":"x"}}`,
			want: want{"id": `1`, "error": `{"code":-1,"message":"x"}`}},
		{name: "error with id null", kind: ErrorResponse, raw: `{"jsonrpc":"2.0","id":null,"error":{}}`, want: want{"id": `null`, "error": `{}`}},
		{name: "error without id", kind: ErrorResponse, raw: `{"jsonrpc":"2.0","error":{}}`, want: want{"error": `{}`}},
		{name: "big numbers stay raw", kind: Request, raw: `{"jsonrpc":"2.0","id":123456789012345678901234567890,"method":"m","params":[1e400,-0,0.0e-99]}`,
			want: want{"id": `123456789012345678901234567890`, "method": `"m"`, "params": `[1e400,-0,0.0e-99]`}},
		{name: "strings of every length", kind: Notification, raw: `{"jsonrpc":"2.0","method":"` + strings.Repeat("é\\n", 50) + strings.Repeat("x", 99) + `"}`,
			want: want{"method": `"` + strings.Repeat("é\\n", 50) + strings.Repeat("x", 99) + `"`}},
		{name: "lone surrogates", kind: Notification, raw: `{"jsonrpc":"2.0","method":"\ud800\udc00\udc00"}`, want: want{"method": `"\ud800\udc00\udc00"`}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			env := Envelope{Kind: Response, ID: Span{1, 2}, Result: Span{3, 4}, IsError: true, HasNewline: true}
			if err := Scan([]byte(tc.raw), Limits{}, &env); err != nil {
				t.Fatal(err)
			}
			if env.Kind != tc.kind || env.IsError != tc.isError || env.HasNewline != tc.newline {
				t.Errorf("kind %v, isError %v, newline %v", env.Kind, env.IsError, env.HasNewline)
			}
			if got := spans([]byte(tc.raw), &env); fmt.Sprint(got) != fmt.Sprint(map[string]string(tc.want)) {
				t.Errorf("spans:\n got %v\nwant %v", got, tc.want)
			}
		})
	}
}

func TestScanErrors(t *testing.T) {
	const head = `{"jsonrpc":"2.0","id":7,"method":"m"`
	for _, tc := range []struct {
		name, raw string
		want      error
		id        string
	}{
		{"empty", ``, ErrSyntax, ``},
		{"blank", " \n", ErrSyntax, ``},
		{"byte order mark", "\xef\xbb\xbf" + head + `}`, ErrSyntax, ``},
		{"half a mark", "\xef\xbb", ErrSyntax, ``},
		{"garbage", `hello`, ErrSyntax, ``},
		{"open", `{`, ErrSyntax, ``},
		{"open string", head + `,"x":"`, ErrSyntax, `7`},
		{"open key", head + `,"x`, ErrSyntax, `7`},
		{"no colon", head + `,"x"`, ErrSyntax, `7`},
		{"wrong colon", head + `,"x";1}`, ErrSyntax, `7`},
		{"no value", head + `,"x":`, ErrSyntax, `7`},
		{"missing value", head + `,"x":}`, ErrSyntax, `7`},
		{"trailing comma", head + `,}`, ErrSyntax, `7`},
		{"leading comma", `{,"id":7}`, ErrSyntax, ``},
		{"no comma", head + ` "x":1}`, ErrSyntax, `7`},
		{"key not a string", head + `,1:1}`, ErrSyntax, `7`},
		{"not closed", head, ErrSyntax, `7`},
		{"closed wrongly", head + `]`, ErrSyntax, `7`},
		{"trailing data", head + `}{}`, ErrSyntax, `7`},
		{"trailing comma after", head + `},`, ErrSyntax, `7`},
		{"trailing zero byte", head + "}\x00", ErrSyntax, `7`},
		{"form feed", head + ",\f\"x\":1}", ErrSyntax, `7`},
		{"id after the fault", `{"x":tru,"id":7}`, ErrSyntax, ``},
		{"control in string", head + `,"x":"a` + "\n" + `b"}`, ErrSyntax, `7`},
		{"control in long string", head + `,"x":"` + strings.Repeat("x", 77) + "\x1f" + strings.Repeat("x", 77) + `"}`, ErrSyntax, `7`},
		{"zero in string", head + `,"x":"` + "\x00" + `"}`, ErrSyntax, `7`},
		{"unknown escape", head + `,"x":"\a"}`, ErrSyntax, `7`},
		{"short hex", head + `,"x":"\u12"}`, ErrSyntax, `7`},
		{"bad hex", head + `,"x":"\u12g4"}`, ErrSyntax, `7`},
		{"escape at the end", head + `,"x":"\`, ErrSyntax, `7`},
		{"hex at the end", head + `,"x":"\u123`, ErrSyntax, `7`},
		{"escape in key", head + `,"\x":1}`, ErrSyntax, `7`},
		{"array holes", head + `,"x":[1,,2]}`, ErrSyntax, `7`},
		{"array comma", head + `,"x":[1,]}`, ErrSyntax, `7`},
		{"array open", head + `,"x":[1`, ErrSyntax, `7`},
		{"array closed as object", head + `,"x":[1}}`, ErrSyntax, `7`},
		{"object closed as array", head + `,"x":{"a":1]}`, ErrSyntax, `7`},
		{"object in array without key", head + `,"x":[{"a":1,2}]}`, ErrSyntax, `7`},
		{"object comma", head + `,"x":{"a":1,}}`, ErrSyntax, `7`},
		{"brackets at the end", head + `,"x":[{`, ErrSyntax, `7`},
		{"bad params", head + `,"params":{"name":"x"`, ErrSyntax, `7`},
		{"bad meta", head + `,"params":{"_meta":{"progressToken":01}}}`, ErrSyntax, `7`},
		{"bad result", `{"jsonrpc":"2.0","id":7,"result":{"isError":t}}`, ErrSyntax, `7`},

		{"utf-8 in value", head + `,"x":"` + "\xff" + `"}`, ErrInvalidUTF8, `7`},
		{"utf-8 in key", head + `,"` + "\xc3" + `":1}`, ErrInvalidUTF8, `7`},
		{"utf-8 cut by the quote", head + `,"x":"` + "é\xe2\x82" + `"}`, ErrInvalidUTF8, `7`},
		{"utf-8 surrogate", head + `,"x":"` + "\xed\xa0\x80" + `"}`, ErrInvalidUTF8, `7`},
		{"utf-8 overlong", head + `,"x":"` + "\xc0\xaf" + `"}`, ErrInvalidUTF8, `7`},
		{"utf-8 in long text", head + `,"x":"` + strings.Repeat("x", 60) + "\x80" + strings.Repeat("x", 60) + `"}`, ErrInvalidUTF8, `7`},
		{"utf-8 outside", head + "\xff}", ErrSyntax, `7`},

		{"batch", `[` + head + `}]`, ErrBatch, ``},
		{"empty batch", ` []`, ErrBatch, ``},
		{"string", `"x"`, ErrNotJSONRPC, ``},
		{"number", `1 `, ErrNotJSONRPC, ``},
		{"null", `null`, ErrNotJSONRPC, ``},
		{"empty object", `{}`, ErrNotJSONRPC, ``},
		{"no version", `{"id":7,"method":"m"}`, ErrNotJSONRPC, `7`},
		{"version 1", `{"jsonrpc":"1.0","id":7,"method":"m"}`, ErrNotJSONRPC, `7`},
		{"version number", `{"jsonrpc":2.0,"id":7,"method":"m"}`, ErrNotJSONRPC, `7`},
		{"version list", `{"jsonrpc":["2.0"],"id":7,"method":"m"}`, ErrNotJSONRPC, `7`},
		{"id object", `{"jsonrpc":"2.0","id":{},"method":"m"}`, ErrNotJSONRPC, ``},
		{"id array", `{"jsonrpc":"2.0","id":[7],"method":"m"}`, ErrNotJSONRPC, ``},
		{"id bool", `{"jsonrpc":"2.0","id":true,"method":"m"}`, ErrNotJSONRPC, ``},
		{"id null", `{"jsonrpc":"2.0","id":null,"method":"m"}`, ErrNotJSONRPC, `null`},
		{"result with id null", `{"jsonrpc":"2.0","id":null,"result":1}`, ErrNotJSONRPC, `null`},
		{"result without id", `{"jsonrpc":"2.0","result":1}`, ErrNotJSONRPC, ``},
		{"method number", `{"jsonrpc":"2.0","method":1,"id":7}`, ErrNotJSONRPC, `7`},
		{"params string", head + `,"params":"x"}`, ErrNotJSONRPC, `7`},
		{"params null", head + `,"params":null}`, ErrNotJSONRPC, `7`},
		{"error string", `{"jsonrpc":"2.0","error":"x","id":7}`, ErrNotJSONRPC, `7`},
		{"error null", `{"jsonrpc":"2.0","id":7,"result":1,"error":null}`, ErrNotJSONRPC, `7`},
		{"result and error", `{"jsonrpc":"2.0","id":7,"result":1,"error":{}}`, ErrNotJSONRPC, `7`},
		{"method and result", head + `,"result":1}`, ErrNotJSONRPC, `7`},
		{"method and error", head + `,"error":{}}`, ErrNotJSONRPC, `7`},
		{"nothing", `{"jsonrpc":"2.0","id":7}`, ErrNotJSONRPC, `7`},
		{"wrong case", `{"jsonrpc":"2.0","id":7,"Method":"m"}`, ErrNotJSONRPC, `7`},
		{"look-alike id", head + `,"ID":8}`, ErrNotJSONRPC, `7`},
		{"look-alike name", head + `,"params":{"name":"a","NAME":"b"}}`, ErrNotJSONRPC, `7`},
		{"look-alike name alone", head + `,"params":{"nAme":"b"}}`, ErrNotJSONRPC, `7`},
		{"look-alike meta", head + `,"params":{"_META":{}}}`, ErrNotJSONRPC, `7`},
		{"look-alike arguments by long s", head + `,"params":{"argumentſ":{}}}`, ErrNotJSONRPC, `7`},
		{"look-alike token by kelvin sign", head + `,"params":{"_meta":{"progressTo\u212aen":1}}}`, ErrNotJSONRPC, `7`},
		{"fault, then syntax", `{"jsonrpc":"1.0","id":7,"method":"m"`, ErrSyntax, `7`},
		{"fault, then id", `{"jsonrpc":"1.0","method":3,"id":7}`, ErrNotJSONRPC, `7`},

		{"two ids", head + `,"id":7}`, ErrDuplicateKey, ``},
		{"two ids, one escaped", head + `,"i\u0064":8}`, ErrDuplicateKey, ``},
		{"two methods", head + `,"method":"x"}`, ErrDuplicateKey, `7`},
		{"two unknown", head + `,"x":1,"y":1,"x":1}`, ErrDuplicateKey, `7`},
		{"two unknown, escaped", head + `,"\u0078":1,"x":1}`, ErrDuplicateKey, `7`},
		{"two unknown, both escaped", head + `,"\u0078":1,"\u0079":2,"\u0078":1}`, ErrDuplicateKey, `7`},
		{"two empty keys", head + `,"":1,"":1}`, ErrDuplicateKey, `7`},
		{"two long keys", head + `,"` + strings.Repeat("k", 100) + `":1,"` + strings.Repeat("k", 100) + `":1}`, ErrDuplicateKey, `7`},
		{"two names", head + `,"params":{"name":"a","name":"b"}}`, ErrDuplicateKey, `7`},
		{"two unknown in params", head + `,"params":{"uri":"a","uri":"b"}}`, ErrDuplicateKey, `7`},
		{"two metas", head + `,"params":{"_meta":{},"_meta":{}}}`, ErrDuplicateKey, `7`},
		{"two tokens", head + `,"params":{"_meta":{"progressToken":1,"progressToken":1}}}`, ErrDuplicateKey, `7`},
		{"two unknown in meta", head + `,"params":{"_meta":{"a/b":1,"a/b":1}}}`, ErrDuplicateKey, `7`},
		{"two isError", `{"jsonrpc":"2.0","result":{"isError":true,"isError":false},"id":7}`, ErrDuplicateKey, `7`},
		{"two content", `{"jsonrpc":"2.0","result":{"content":[],"x":1,"content":[]},"id":7}`, ErrDuplicateKey, `7`},
		{"two unknown in result", `{"jsonrpc":"2.0","result":{"x":[],"x":1},"id":7}`, ErrDuplicateKey, `7`},
		{"duplicate, then id", `{"jsonrpc":"2.0","method":"m","params":{"x":1,"x":2},"id":7}`, ErrDuplicateKey, `7`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			raw := []byte(tc.raw)
			env := Envelope{Kind: Request, ID: Span{1, 2}, Name: Span{1, 2}}
			err := Scan(raw, Limits{}, &env)
			if !errors.Is(err, tc.want) {
				t.Fatalf("got %v, want %v", err, tc.want)
			}
			if id := string(env.ID.Of(raw)); id != tc.id {
				t.Errorf("id %q, want %q", id, tc.id)
			}
			if env.ID = (Span{}); env != (Envelope{}) {
				t.Errorf("more than the id is set: %+v", env)
			}
			var se *ScanError
			if !errors.As(err, &se) || se.Offset < 0 || se.Offset > len(raw) {
				t.Errorf("no offset within the message: %#v", err)
			}
		})
	}
}

// Deeper objects are documented to pass with duplicates, and equal keys in
// different objects are none.
func TestScanNoDuplicate(t *testing.T) {
	for _, raw := range []string{
		`{"jsonrpc":"2.0","id":1,"method":"m","params":{"arguments":{"a":1,"a":2}}}`,
		`{"jsonrpc":"2.0","id":1,"method":"m","x":1,"params":{"x":1,"_meta":{"x":1},"id":{"x":1}}}`,
		`{"jsonrpc":"2.0","id":1,"method":"m","params":{"x":1,"_meta":{"y":1},"y":2},"y":3}`,
		`{"jsonrpc":"2.0","id":1,"method":"m","x":1,"X":2}`,
		`{"jsonrpc":"2.0","id":1,"error":{"code":1,"code":2}}`,
	} {
		var env Envelope
		if err := Scan([]byte(raw), Limits{}, &env); err != nil {
			t.Errorf("%s: %v", raw, err)
		}
	}
}

func TestScanManyMembers(t *testing.T) {
	object := func(n int, extra string) []byte {
		var b strings.Builder
		b.WriteString(`{"jsonrpc":"2.0","id":1,"method":"m","params":{"_meta":{"a":1,"b":2}`)
		for i := range n {
			fmt.Fprintf(&b, `,"key%d":%d`, i, i)
		}
		b.WriteString(extra + `},"a":1}`)
		return []byte(b.String())
	}
	var env Envelope
	for _, n := range []int{0, 1, 15, 16, 17, 64, 65, 1000, maxMembers} {
		if err := Scan(object(n, ``), Limits{}, &env); err != nil {
			t.Errorf("%d members: %v", n, err)
		}
		for _, dup := range []int{0, n / 2, n - 1} {
			if n == 0 {
				continue
			}
			raw := object(n, fmt.Sprintf(`,"\u006bey%d":0`, dup))
			if err := Scan(raw, Limits{}, &env); !errors.Is(err, ErrDuplicateKey) {
				t.Errorf("%d members, duplicate of %d: %v", n, dup, err)
			}
		}
	}
	if err := Scan(object(maxMembers+1, ``), Limits{}, &env); !errors.Is(err, ErrTooLarge) {
		t.Errorf("too many members: %v", err)
	}
}

func TestScanLimits(t *testing.T) {
	nested := func(depth int, open, shut string) []byte {
		n := depth - 1 // the message is one
		return []byte(`{"jsonrpc":"2.0","id":1,"method":"m","x":` + strings.Repeat(open, n) + `1` + strings.Repeat(shut, n) + `}`)
	}
	for _, tc := range []struct {
		depth, limit int
		want         error
	}{
		{128, 0, nil}, {129, 0, ErrTooDeep}, {128, -1, nil}, {129, -1, ErrTooDeep},
		{1, 1, nil}, {2, 1, ErrTooDeep}, {2, 2, nil},
		{64, 64, nil}, {65, 65, nil}, {66, 66, nil}, {67, 66, ErrTooDeep},
		{1000, 1000, nil}, {1001, 1000, ErrTooDeep}, {1 << 20, 0, ErrTooDeep},
	} {
		for _, brackets := range [][2]string{{`[`, `]`}, {`{"a":`, `}`}} {
			var env Envelope
			err := Scan(nested(tc.depth, brackets[0], brackets[1]), Limits{MaxDepth: tc.limit}, &env)
			if !errors.Is(err, tc.want) {
				t.Errorf("depth %d of %d: %v", tc.depth, tc.limit, err)
			}
			if err != nil && !env.ID.Present() {
				t.Errorf("depth %d of %d: the id is lost", tc.depth, tc.limit)
			}
		}
	}
	// Mixed nesting, beyond one word of bits.
	raw := nested(1+2*100, `[{"a":`, `}]`)
	raw = []byte(strings.Replace(string(raw), `1}]`, `1},{"b":[]},2]`, 1))
	var env Envelope
	if err := Scan(raw, Limits{MaxDepth: 500}, &env); err != nil {
		t.Error(err)
	}
	for i := len(raw) - 150; i < len(raw)-1; i++ {
		bad := append([]byte(nil), raw...)
		bad[i] ^= ']' ^ '}'
		if err := Scan(bad, Limits{MaxDepth: 500}, &env); !errors.Is(err, ErrSyntax) {
			t.Fatalf("wrong bracket at %d: %v", i, err)
		}
	}
	for raw, want := range map[string]error{
		`{"jsonrpc":"2.0","id":1,"method":"m","params":{}}`:                ErrTooDeep,
		`{"jsonrpc":"2.0","id":1,"method":"m","params":[]}`:                ErrTooDeep,
		`{"jsonrpc":"2.0","id":1,"method":"m"}`:                            nil,
		`{"jsonrpc":"2.0","id":1,"result":{"content":1}}`:                  ErrTooDeep,
		`{"jsonrpc":"2.0","id":1,"method":"m","params":{"_meta":{"a":1}}}`: ErrTooDeep,
	} {
		if err := Scan([]byte(raw), Limits{MaxDepth: 1}, &env); !errors.Is(err, want) {
			t.Errorf("%s: %v", raw, err)
		}
	}
	ok := []byte(`{"jsonrpc":"2.0","id":1,"method":"m"}`)
	if err := Scan(ok, Limits{MaxBytes: len(ok)}, &env); err != nil {
		t.Error(err)
	}
	if err := Scan(ok, Limits{MaxBytes: len(ok) - 1}, &env); !errors.Is(err, ErrTooLarge) || env != (Envelope{}) {
		t.Error(err, env)
	}
	if err := Scan(ok, Limits{MaxBytes: math.MaxInt}, &env); err != nil {
		t.Error(err)
	}
	big := make([]byte, DefaultMaxBytes+1)
	if err := Scan(big, Limits{}, &env); !errors.Is(err, ErrTooLarge) {
		t.Error(err)
	}
}

// A message cut anywhere must be refused, and never panic.
func TestScanTruncated(t *testing.T) {
	for _, raw := range [][]byte{callOf(300), structuredOf(300), escapedOf(300)} {
		for i := range raw {
			var env Envelope
			// A fresh slice, so that reading beyond it is an error and not luck.
			if err := Scan(append([]byte(nil), raw[:i]...), Limits{}, &env); err == nil {
				t.Fatalf("accepted %q", raw[:i])
			}
		}
	}
}

// An error text is logged and sent to clients: no payload may be in it.
func TestErrorTextHasNoPayload(t *testing.T) {
	for _, raw := range []string{
		`{"jsonrpc":"2.0","zqx":zqx}`, `{"jsonrpc":"2.0","zqx":"zqx` + "\xff", `{"zqx":1,"zqx":2}`, `zqx`, `{"jsonrpc":"zqx"}`,
	} {
		var env Envelope
		err := Scan([]byte(raw), Limits{}, &env)
		if err == nil || strings.Contains(err.Error(), "zqx") || !strings.HasPrefix(err.Error(), "jsonrpc: ") {
			t.Errorf("%s: %v", raw, err)
		}
	}
}

func TestKindString(t *testing.T) {
	for k, want := range map[Kind]string{
		Invalid: "invalid", Request: "request", Notification: "notification",
		Response: "response", ErrorResponse: "error response", Kind(99): "invalid",
	} {
		if got := k.String(); got != want {
			t.Errorf("%d: %q, want %q", k, got, want)
		}
	}
}

func TestScanAllocs(t *testing.T) {
	for kind, input := range benchInputs() {
		for _, size := range benchSizes {
			raw := input(size)
			var env Envelope
			if n := testing.AllocsPerRun(100, func() {
				if err := Scan(raw, Limits{}, &env); err != nil {
					t.Fatal(err)
				}
			}); n != 0 {
				t.Errorf("%s, %d bytes: %v allocations", kind, size, n)
			}
		}
	}
}
