package jsonrpc

import (
	"bytes"
	"encoding/json"
	"errors"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"
)

// fuzzLimits are those of encoding/json, so that both refuse the same depth.
var fuzzLimits = Limits{MaxDepth: 10000}

// seeds are messages of every kind and fault.
func seeds() [][]byte {
	list := [][]byte{callOf(200), structuredOf(200), escapedOf(200)}
	for _, s := range []string{
		`{"jsonrpc":"2.0","id":1,"method":"ping"}`,
		`{"jsonrpc":"2.0","id":"a\u0062","method":"tools/call","params":{"_meta":{"progressToken":1},"name":"n","arguments":{"name":[]}}}`,
		"{\n\t\"jsonrpc\" : \"2.0\",\r\n        \"id\" : -1.5e+3,\n\"method\":\"m\", \"params\": [1, true, false, null]}\n",
		`{"\u006asonrpc":"2\u002e0","\u0069d":1,"result":{"\u0069sError":true,"content":[],"x":{}}}`,
		`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":12,"progress":0.5}}`,
		`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"x"}}`,
		`{"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"é😀\ud800"}}`,
		`{"jsonrpc":"2.0","error":{}}`, `{"jsonrpc":"2.0","id":1,"result":1,"error":{}}`, `{"jsonrpc":"2.0","id":1}`,
		`{"jsonrpc":"2.0","id":1,"id":1,"method":"m"}`, `{"jsonrpc":"2.0","id":1,"method":"m","params":{"Name":"x","a":1,"\u0061":2}}`,
		`{"jsonrpc":"1.0","id":{},"method":3,"params":0}`, `[]`, `"x"`, `{}`, ``, "\xef\xbb\xbf{}", "{\"\xff\":0}",
		`{"jsonrpc":"2.0","id":1,"method":"m","x":[[[{"a":[{}]}]],"` + strings.Repeat("long text ", 9) + `\n\"\\` + strings.Repeat("ü", 20) + `"]}`,
	} {
		list = append(list, []byte(s))
	}
	return list
}

type member struct {
	key   string
	value json.RawMessage
}

// membersOf reads the members of an object in order, or returns false.
func membersOf(raw []byte) ([]member, bool) {
	if raw = bytes.TrimSpace(raw); len(raw) == 0 || raw[0] != '{' {
		return nil, false
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	if _, err := dec.Token(); err != nil {
		return nil, false
	}
	var list []member
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			return nil, false
		}
		m := member{key: key.(string)}
		if err := dec.Decode(&m.value); err != nil {
			return nil, false
		}
		list = append(list, m)
	}
	return list, true
}

// oracle is the contract of Scan once more, slow and on top of encoding/json.
type oracle struct {
	kind    Kind
	isError bool
	spans   map[string]string
	dup     bool // a duplicate key
	bad     bool // another fault of a well-formed message
}

// enter lists the members of an object as a map and checks its keys.
func (o *oracle) enter(raw []byte, protocol ...string) map[string]json.RawMessage {
	list, ok := membersOf(raw)
	if !ok {
		return nil
	}
	got := map[string]json.RawMessage{}
	for _, m := range list {
		if _, twice := got[m.key]; twice {
			o.dup = true
		}
		got[m.key] = m.value
		for _, p := range protocol {
			if m.key != p && !slices.Contains(protocol, m.key) && strings.EqualFold(m.key, p) {
				o.bad = true
			}
		}
	}
	return got
}

// take notes a value as a span if its first byte is one of first.
func (o *oracle) take(name string, raw json.RawMessage, first string) bool {
	if len(raw) == 0 || first != "" && strings.IndexByte(first, raw[0]) < 0 {
		return false
	}
	o.spans[name] = string(raw)
	return true
}

func consult(b []byte) *oracle {
	const number, str = "-0123456789", `"`
	o := &oracle{spans: map[string]string{}}
	top := o.enter(b, "jsonrpc", "id", "method", "params", "result", "error")
	var version any
	_ = json.Unmarshal(top["jsonrpc"], &version)
	o.bad = o.bad || version != "2.0"
	for name, first := range map[string]string{"id": str + number + "n", "method": str, "params": "{[", "result": "", "error": "{"} {
		if raw, has := top[name]; has && !o.take(name, raw, first) {
			o.bad = true
		}
	}
	params := o.enter(top["params"], "name", "arguments", "_meta", "progressToken", "requestId")
	o.take("name", params["name"], str)
	o.take("arguments", params["arguments"], "")
	o.take("token", params["progressToken"], str+number)
	o.take("request", params["requestId"], str+number)
	o.take("progress", o.enter(params["_meta"], "progressToken")["progressToken"], str+number)
	o.isError = string(o.enter(top["result"])["isError"]) == "true"

	id, method, result, failure := o.spans["id"], top["method"] != nil, top["result"] != nil, top["error"] != nil
	switch {
	case method && (result || failure), result && failure, !method && !result && !failure:
		o.bad = true
	case method && id == "":
		o.kind = Notification
	case method:
		o.kind = Request
		o.bad = o.bad || id == "null"
	case result:
		o.kind = Response
		o.bad = o.bad || id == "null" || id == ""
	default:
		o.kind = ErrorResponse
	}
	return o
}

// C04, beside encoding/json.
func FuzzScan(f *testing.F) {
	for _, s := range seeds() {
		f.Add(s)
	}
	f.Fuzz(checkScan)
}

// checkScan compares Scan with the oracle.
func checkScan(t *testing.T, b []byte) {
	before := bytes.Clone(b)
	var env Envelope
	err := Scan(b, fuzzLimits, &env)
	if !bytes.Equal(b, before) {
		t.Fatal("Scan changed the message")
	}
	if !json.Valid(b) || !utf8.Valid(b) {
		if err == nil {
			t.Fatalf("accepted invalid JSON %q", b)
		}
		if errors.Is(err, ErrNotJSONRPC) || errors.Is(err, ErrDuplicateKey) {
			t.Fatalf("%q is called well-formed: %v", b, err)
		}
		return
	}
	if errors.Is(err, ErrSyntax) || errors.Is(err, ErrInvalidUTF8) {
		t.Fatalf("%q is well-formed: %v", b, err)
	}
	if errors.Is(err, ErrTooLarge) || errors.Is(err, ErrBatch) {
		return
	}
	o := consult(b)
	if bad := o.bad || o.dup; bad != (err != nil) {
		t.Fatalf("%q: %v; the oracle says %+v", b, err, o)
	}
	if err != nil {
		if want := o.spans["id"]; !o.dup && string(env.ID.Of(b)) != want {
			t.Fatalf("%q: id %q, want %q", b, env.ID.Of(b), want)
		}
		if env.ID = (Span{}); env != (Envelope{}) {
			t.Fatalf("%q: not reset: %+v", b, env)
		}
		return
	}
	if env.Kind != o.kind || env.IsError != o.isError || env.HasNewline != bytes.ContainsAny(b, "\r\n") {
		t.Fatalf("%q: %+v, want %+v", b, env, o)
	}
	if got := spans(b, &env); !reflect.DeepEqual(got, o.spans) {
		t.Fatalf("%q:\n got %q\nwant %q", b, got, o.spans)
	}
}

// tree decodes a message for comparison, numbers verbatim.
func tree(t *testing.T, raw []byte) map[string]any {
	t.Helper()
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	var m map[string]any
	if err := dec.Decode(&m); err != nil {
		t.Fatalf("%q: %v", raw, err)
	}
	return m
}

func FuzzSplice(f *testing.F) {
	for i, s := range seeds() {
		f.Add(s, uint64(i)<<i, []byte("tool\"\n\xff"), i%2 == 0)
	}
	f.Fuzz(checkSplice)
}

// checkSplice checks what the Append functions make of a message Scan accepts.
func checkSplice(t *testing.T, b []byte, id uint64, name []byte, rename bool) {
	var env Envelope
	if Scan(b, fuzzLimits, &env) != nil {
		return
	}
	if !rename {
		name = nil
	} else if name == nil {
		name = []byte{}
	}
	number := json.Number(strconv.FormatUint(id, 10))
	if n, ok := ParseID([]byte(number)); !ok || n != id {
		t.Fatalf("id %d is read as %d", id, n)
	}
	if env.Method.Present() {
		checkRequest(t, b, &env, id, number, name)
	}
	want := tree(t, b)
	want["id"] = string([]rune(string(name)))
	token := AppendString(nil, name)
	checkLine(t, AppendWithID(nil, b, &env, token), want)

	want = tree(t, b)
	if env.ParamsToken.Present() {
		want["params"].(map[string]any)["progressToken"] = string([]rune(string(name)))
	}
	checkLine(t, AppendProgress(nil, b, &env, token), want)
}

func checkRequest(t *testing.T, b []byte, env *Envelope, id uint64, number json.Number, name []byte) {
	t.Helper()
	got := AppendRequest(nil, b, env, id, name)
	line, ended := bytes.CutSuffix(got, []byte("\n"))
	if !ended {
		t.Fatalf("no newline: %q", got)
	}
	original := tree(t, b)
	want := map[string]any{"jsonrpc": "2.0", "id": number, "method": original["method"]}
	if params, has := original["params"]; has {
		want["params"] = params
	}
	if env.Name.Present() && name != nil {
		want["params"].(map[string]any)["name"] = string([]rune(string(name)))
	}
	if env.ProgressToken.Present() {
		want["params"].(map[string]any)["_meta"].(map[string]any)["progressToken"] = number
	}
	checkLine(t, line, want)
}

// checkLine checks that a spliced message has no newline, is accepted by Scan
// again and means what it should.
func checkLine(t *testing.T, line []byte, want map[string]any) {
	t.Helper()
	if bytes.ContainsAny(line, "\r\n") {
		t.Fatalf("newline in %q", line)
	}
	var env Envelope
	if err := Scan(line, fuzzLimits, &env); err != nil {
		t.Fatalf("%q: %v", line, err)
	}
	if got := tree(t, line); !reflect.DeepEqual(got, want) {
		t.Fatalf("%q:\n got %v\nwant %v", line, got, want)
	}
}
