package jsonrpc

import (
	"encoding/json"
	"math"
	"strconv"
	"strings"
	"testing"
)

func scanned(t testing.TB, raw string) *Envelope {
	t.Helper()
	var env Envelope
	if err := Scan([]byte(raw), Limits{}, &env); err != nil {
		t.Fatalf("%s: %v", raw, err)
	}
	return &env
}

func TestAppendRequest(t *testing.T) {
	const head = `{"jsonrpc":"2.0","id":42,"method":`
	for _, tc := range []struct {
		name, raw string
		tool      []byte
		want      string
	}{
		{"no params", `{"id":1,"jsonrpc":"2.0","method":"ping"}`, nil, head + `"ping"}`},
		{"params array", `{"id":1,"jsonrpc":"2.0","method":"m","params":[1, "name"]}`, []byte("x"), head + `"m","params":[1, "name"]}`},
		{"empty params", `{"id":1,"jsonrpc":"2.0","method":"m","params":{}}`, []byte("x"), head + `"m","params":{}}`},
		{"name kept", `{"id":1,"jsonrpc":"2.0","method":"m","params":{"name":"s_t","arguments":{"x":1}}}`, nil,
			head + `"m","params":{"name":"s_t","arguments":{"x":1}}}`},
		{"name replaced", `{"id":1,"jsonrpc":"2.0","method":"m","params":{"arguments":{"name":"no"},"name":"s_t"}}`, []byte("t"),
			head + `"m","params":{"arguments":{"name":"no"},"name":"t"}}`},
		{"name quoted", `{"id":1,"jsonrpc":"2.0","method":"m","params":{"name":"s_t"}}`, []byte("a\"\n\xff"),
			head + `"m","params":{"name":"a\"\n` + "\ufffd" + `"}}`},
		{"name emptied", `{"id":1,"jsonrpc":"2.0","method":"m","params":{"name":"s_t"}}`, []byte{}, head + `"m","params":{"name":""}}`},
		{"name not a string", `{"id":1,"jsonrpc":"2.0","method":"m","params":{"name":5}}`, []byte("x"), head + `"m","params":{"name":5}}`},
		{"no name", `{"id":1,"jsonrpc":"2.0","method":"m","params":{"uri":"a"}}`, []byte("x"), head + `"m","params":{"uri":"a"}}`},
		{"name before token", `{"id":1,"jsonrpc":"2.0","method":"m","params":{"name":"s_t","x":1,"_meta":{"progressToken":"p","y":2},"z":3}}`, []byte("t"),
			head + `"m","params":{"name":"t","x":1,"_meta":{"progressToken":42,"y":2},"z":3}}`},
		{"token before name", `{"id":1,"jsonrpc":"2.0","method":"m","params":{"_meta":{"y":2,"progressToken":7},"x":1,"name":"s_t","z":3}}`, []byte("t"),
			head + `"m","params":{"_meta":{"y":2,"progressToken":42},"x":1,"name":"t","z":3}}`},
		{"token before name kept", `{"id":1,"jsonrpc":"2.0","method":"m","params":{"_meta":{"progressToken":7},"name":"s_t"}}`, nil,
			head + `"m","params":{"_meta":{"progressToken":42},"name":"s_t"}}`},
		{"token only", `{"id":1,"jsonrpc":"2.0","method":"m","params":{"_meta":{"progressToken":7}}}`, []byte("t"),
			head + `"m","params":{"_meta":{"progressToken":42}}}`},
		{"deeper names and tokens", `{"id":1,"jsonrpc":"2.0","method":"m","params":{"a":{"name":"n","_meta":{"progressToken":1}},"progressToken":2,"name":"s_t"}}`, []byte("t"),
			head + `"m","params":{"a":{"name":"n","_meta":{"progressToken":1}},"progressToken":2,"name":"t"}}`},
		{"newlines", "{\r\n \"id\":1,\"jsonrpc\":\"2.0\",\r\n \"method\":\"m\",\n\"params\": {\n  \"name\" :\r\n\"s_t\",\"a\":\"\\n\",\n\n\"_meta\":\r{\"progressToken\"\n:\n7\n}\n}\n}\n", []byte("t"),
			head + `"m","params":{  "name" :"t","a":"\n","_meta":{"progressToken":42}}}`},
		{"unknown members", `{"x":{},"id":1,"jsonrpc":"2.0","method":"\u006d"}`, nil, head + `"\u006d"}`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := string(AppendRequest([]byte("before"), []byte(tc.raw), scanned(t, tc.raw), 42, tc.tool))
			if want := "before" + tc.want + "\n"; got != want {
				t.Errorf("\n got %q\nwant %q", got, want)
			}
			if !json.Valid([]byte(got[len("before"):])) {
				t.Error("not valid JSON")
			}
		})
	}
}

func TestAppendWithID(t *testing.T) {
	for _, tc := range []struct{ name, raw, id, want string }{
		{"number", `{"jsonrpc":"2.0","id":1,"result":{"id":1}}`, `"abc"`, `{"jsonrpc":"2.0","id":"abc","result":{"id":1}}`},
		{"string, last", `{"result":{},"jsonrpc":"2.0","id":"12"}`, `7`, `{"result":{},"jsonrpc":"2.0","id":7}`},
		{"error", `{"jsonrpc":"2.0","id":1,"error":{"code":1}}`, `null`, `{"jsonrpc":"2.0","id":null,"error":{"code":1}}`},
		{"null", `{"jsonrpc":"2.0","id":null,"error":{}}`, `5`, `{"jsonrpc":"2.0","id":5,"error":{}}`},
		{"none", ` {"jsonrpc":"2.0","error":{}} `, `5`, `{"id":5,"jsonrpc":"2.0","error":{}}`},
		{"none, newline", "\n{\n\"jsonrpc\":\"2.0\",\r\n\"error\":{}}", `5`, `{"id":5,"jsonrpc":"2.0","error":{}}`},
		{"surrounding space", " \t{\"jsonrpc\":\"2.0\", \"id\":1,\"result\":0}\r\n", `5`, `{"jsonrpc":"2.0", "id":5,"result":0}`},
		{"newlines", "{\n\"jsonrpc\":\"2.0\",\n\"id\"\n:\n1\n,\n\"result\":[1\r\n,\r\n\"\\n\"]\n}\n", `5`, `{"jsonrpc":"2.0","id":5,"result":[1,"\n"]}`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := string(AppendWithID([]byte("before"), []byte(tc.raw), scanned(t, tc.raw), []byte(tc.id)))
			if want := "before" + tc.want; got != want {
				t.Errorf("\n got %q\nwant %q", got, want)
			}
		})
	}
}

func TestAppendProgress(t *testing.T) {
	for _, tc := range []struct{ raw, want string }{
		{`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":12,"progress":1}}`,
			`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"p\n","progress":1}}`},
		{"{\"params\":{\"progress\":1,\n\"_meta\":{\"progressToken\":3},\n\"progressToken\":\"x\"},\"method\":\"m\",\"jsonrpc\":\"2.0\"}\n",
			`{"params":{"progress":1,"_meta":{"progressToken":3},"progressToken":"p\n"},"method":"m","jsonrpc":"2.0"}`},
		{` {"jsonrpc":"2.0","method":"m","params":{"progressToken":null}} `, `{"jsonrpc":"2.0","method":"m","params":{"progressToken":null}}`},
	} {
		got := string(AppendProgress([]byte("before"), []byte(tc.raw), scanned(t, tc.raw), []byte(`"p\n"`)))
		if want := "before" + tc.want; got != want {
			t.Errorf("\n got %q\nwant %q", got, want)
		}
	}
}

func TestAppendError(t *testing.T) {
	got := string(AppendError([]byte("x"), nil, -32700, "bad \"byte\"\n\xff"))
	if want := `x{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"bad \"byte\"\n` + "\ufffd" + `"}}`; got != want {
		t.Errorf("\n got %s\nwant %s", got, want)
	}
	got = string(AppendError(nil, []byte(`"a"`), 1, ""))
	if want := `{"jsonrpc":"2.0","id":"a","error":{"code":1,"message":""}}`; got != want {
		t.Errorf("\n got %s\nwant %s", got, want)
	}
	if env := scanned(t, got); env.Kind != ErrorResponse {
		t.Error(env.Kind)
	}
}

func TestParseID(t *testing.T) {
	for _, n := range []uint64{0, 1, 9, 10, 42, 1 << 53, math.MaxInt64, math.MaxUint64 - 1, math.MaxUint64} {
		s := strconv.FormatUint(n, 10)
		for _, tok := range []string{s, `"` + s + `"`} {
			if got, ok := ParseID([]byte(tok)); !ok || got != n {
				t.Errorf("%s: %d %v", tok, got, ok)
			}
		}
	}
	for _, tok := range []string{
		``, `"`, `""`, `null`, `-1`, `+1`, `01`, `00`, `"01"`, `1.0`, `1e1`, ` 1`, `1 `, `"1`, `1"`, `"\u0031"`, `x`, `1x`, `/`, `:`,
		`18446744073709551616`, `18446744073709551625`, `18446744073709551620`, `28446744073709551615`, `99999999999999999999`, `184467440737095516150`,
	} {
		if got, ok := ParseID([]byte(tok)); ok {
			t.Errorf("%s: accepted as %d", tok, got)
		}
	}
}

func TestSpliceAllocs(t *testing.T) {
	call := `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"s_t","_meta":{"progressToken":"p"},"arguments":{"x":"` + strings.Repeat("é", 300) + `"}}}`
	callEnv, raw := scanned(t, call), []byte(call)
	pretty := strings.ReplaceAll(call, ",", ",\n")
	prettyEnv, prettyRaw := scanned(t, pretty), []byte(pretty)
	progress := `{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":12}}`
	progressEnv, progressRaw := scanned(t, progress), []byte(progress)
	dst := make([]byte, 0, 4096)
	name, id := []byte("tü\n"), []byte(`"caller"`)
	message := strings.Repeat("not found: é ", 20)
	for what, f := range map[string]func(){
		"AppendRequest":         func() { AppendRequest(dst, raw, callEnv, math.MaxUint64, name) },
		"AppendRequest, pretty": func() { AppendRequest(dst, prettyRaw, prettyEnv, 1, name) },
		"AppendWithID":          func() { AppendWithID(dst, raw, callEnv, id) },
		"AppendProgress":        func() { AppendProgress(dst, progressRaw, progressEnv, id) },
		"AppendError":           func() { AppendError(dst, nil, -32603, message) },
		"AppendString":          func() { AppendString(dst, raw) },
		"ParseID":               func() { ParseID(id) },
	} {
		if n := testing.AllocsPerRun(100, f); n != 0 {
			t.Errorf("%s: %v allocations", what, n)
		}
	}
}
