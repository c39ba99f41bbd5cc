package rawjson

import (
	"encoding/json"
	"testing"
)

func TestObjectFindsMembers(t *testing.T) {
	text := []byte(` { "a" : 1, "b\"":"x\\", "c":{"d":["]}",{"e":null}]} ,"f":-1.5e3 } ` + "\n")
	want := []struct{ key, value string }{
		{"a", "1"}, {`b\"`, `"x\\"`}, {"c", `{"d":["]}",{"e":null}]}`}, {"f", "-1.5e3"},
	}
	o := NewObject(text)
	for _, w := range want {
		key, value, ok := o.Next()
		if !ok || string(key) != w.key || string(value) != w.value {
			t.Fatalf("got %q: %q, %v; want %q: %q", key, value, ok, w.key, w.value)
		}
		if start, end := o.Span(); string(text[start:end]) != w.value {
			t.Errorf("span of %q is %q", w.key, text[start:end])
		}
	}
	if _, _, ok := o.Next(); ok || !o.Complete() {
		t.Errorf("the object did not end: complete %v", o.Complete())
	}
	if got := First([]byte(` [ {"a":1}, 2]`)); string(got) != `{"a":1}` {
		t.Errorf("first element: got %q", got)
	}
	if got := First([]byte(`[]`)); got != nil {
		t.Errorf("first element of an empty array: got %q", got)
	}
}

// FuzzObject proves that no input makes the walk panic, and that it reads every object which encoding/json reads.
func FuzzObject(f *testing.F) {
	for _, s := range []string{`{}`, `{"a":"\\\""}`, `{"a":[1,{"b":"]"}]}`, `{"a"`, `{"a":`, `[`, `"`, `{"a":1,}`, ` {"a":tru e}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		o := NewObject(text)
		members := 0
		for {
			if _, _, ok := o.Next(); !ok {
				break
			}
			members++
		}
		First(text)
		Inner(text)
		var decoded map[string]json.RawMessage
		if json.Unmarshal(text, &decoded) == nil && decoded != nil && (!o.Complete() || members < len(decoded)) {
			t.Errorf("%q: read %d members of %d, complete %v", text, members, len(decoded), o.Complete())
		}
	})
}
