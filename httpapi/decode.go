package httpapi

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/aabb9013/hangar/internal/redact"
)

// maxDepth bounds how deep a body of the control API may nest; none needs more
// than two levels.
const maxDepth = 32

// maxMembers bounds the members of one object that is taken apart, which take
// some twenty times their bytes of memory. None needs more than the 100
// variables of an environment.
const maxMembers = 1000

// object is a decoded JSON object, its keys exactly as sent. encoding/json
// alone would match keys without regard to case and let the last of two equal
// keys win, so that two readers of one body could disagree about it.
type object struct {
	keys   []string
	values map[string]json.RawMessage
}

// decodeObject reads one JSON object and nothing else. The result shares no
// memory with body. Its error answers 400.
func decodeObject(body []byte) (object, error) {
	switch {
	case len(bytes.TrimSpace(body)) == 0:
		return object{}, badRequest("a JSON object is required")
	case !utf8.Valid(body):
		return object{}, badRequest("the body is not valid UTF-8")
	case nesting(body) > maxDepth:
		return object{}, badRequest("the body nests deeper than %d levels", maxDepth)
	case !json.Valid(body):
		return object{}, badRequest("the body is not valid JSON")
	case bytes.TrimSpace(body)[0] != '{':
		return object{}, badRequest("the body must be a JSON object")
	}
	return splitObject(body)
}

// splitObject takes a valid JSON object apart.
func splitObject(data []byte) (object, error) {
	o := object{values: map[string]json.RawMessage{}}
	dec := json.NewDecoder(bytes.NewReader(data))
	if _, err := dec.Token(); err != nil {
		return object{}, badRequest("the body is not valid JSON")
	}
	for dec.More() {
		if len(o.keys) == maxMembers {
			return object{}, badRequest("the body has an object of more than %d members", maxMembers)
		}
		key, err := dec.Token()
		if err != nil {
			return object{}, badRequest("the body is not valid JSON")
		}
		name, ok := key.(string)
		if !ok {
			return object{}, badRequest("the body must be a JSON object")
		}
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			return object{}, badRequest("the body is not valid JSON")
		}
		if _, twice := o.values[name]; twice {
			return object{}, badRequest("the key %s is there twice", quoteClient(name))
		}
		o.keys = append(o.keys, name)
		o.values[name] = value
	}
	return o, nil
}

func badRequest(format string, args ...any) error {
	return &apiError{status: 400, name: "InvalidRequestError", message: fmt.Sprintf(format, args...)}
}

// nesting is the depth of arrays and objects, before the text is known to be
// JSON: a decoder must not be sent down without a bound.
func nesting(data []byte) (deepest int) {
	depth, inString := 0, false
	for i := 0; i < len(data); i++ {
		switch c := data[i]; {
		case inString && c == '\\':
			i++
		case c == '"':
			inString = !inString
		case inString:
		case c == '{', c == '[':
			depth++
			deepest = max(deepest, depth)
		case c == '}', c == ']':
			depth--
		}
	}
	return deepest
}

// fields reads typed fields of an object and collects what is wrong with them.
// A null counts as absent.
type fields struct {
	object
	faults []string
	names  []string
}

func (f *fields) fault(name, format string, args ...any) {
	f.names = append(f.names, name)
	f.faults = append(f.faults, name+" "+fmt.Sprintf(format, args...))
}

// err answers 422 and names every field at fault.
func (f *fields) err() error {
	if len(f.faults) == 0 {
		return nil
	}
	return &apiError{
		status: 422, name: "ValidationError",
		message: cleanText(strings.Join(f.faults, "; "), 2000),
		extra:   []extraField{{"fields", f.names}},
	}
}

// onlyKnown faults every key that is not in known: a caller who sends "owner"
// or "provenance" must not believe that it was heard.
func (f *fields) onlyKnown(known ...string) {
	for _, key := range f.keys {
		found := false
		for _, k := range known {
			found = found || k == key
		}
		if !found {
			f.names = append(f.names, cleanText(key, maxClientText))
			f.faults = append(f.faults, "unknown field "+quoteClient(key)+", known are "+strings.Join(known, ", "))
			return // one is enough: the list of the known is long
		}
	}
}

func (f *fields) raw(name string) (json.RawMessage, bool) {
	raw, ok := f.values[name]
	return raw, ok && string(raw) != "null"
}

func (f *fields) text(name string) *string {
	raw, ok := f.raw(name)
	if !ok {
		return nil
	}
	s, ok := jsonString(raw)
	if !ok {
		f.fault(name, "must be a string")
		return nil
	}
	return &s
}

func (f *fields) required(name string) string {
	if _, ok := f.raw(name); !ok {
		f.fault(name, "is required")
		return ""
	}
	s := f.text(name)
	if s == nil {
		return ""
	}
	if *s == "" {
		f.fault(name, "must not be empty")
	}
	return *s
}

func (f *fields) flag(name string) *bool {
	raw, ok := f.raw(name)
	if !ok {
		return nil
	}
	b := string(raw) == "true"
	if !b && string(raw) != "false" {
		f.fault(name, "must be true or false")
		return nil
	}
	return &b
}

// integer takes any spelling of a whole number (300, 300.0, 3e2).
func (f *fields) integer(name string, least, most int) *int {
	raw, ok := f.raw(name)
	if !ok {
		return nil
	}
	v, err := strconv.ParseFloat(string(raw), 64)
	// ParseFloat knows more spellings than JSON, but what begins like a JSON
	// number and is valid JSON is a JSON number.
	number := raw[0] == '-' || raw[0] >= '0' && raw[0] <= '9'
	if !number || err != nil || v != math.Trunc(v) || v < float64(least) || v > float64(most) {
		f.fault(name, "must be an integer between %d and %d", least, most)
		return nil
	}
	n := int(v)
	return &n
}

func (f *fields) seconds(name string, least, most time.Duration) *time.Duration {
	n := f.integer(name, int(least/time.Second), int(most/time.Second))
	if n == nil {
		return nil
	}
	d := time.Duration(*n) * time.Second
	return &d
}

func (f *fields) texts(name string) []string {
	raw, ok := f.raw(name)
	if !ok {
		return nil
	}
	var items []json.RawMessage
	if json.Unmarshal(raw, &items) != nil {
		f.fault(name, "must be a list of strings")
		return nil
	}
	list := make([]string, 0, len(items))
	for _, item := range items {
		s, ok := jsonString(item)
		if !ok {
			f.fault(name, "must be a list of strings")
			return nil
		}
		list = append(list, s)
	}
	return list
}

// inner reads an object of fields; what is no object is told as what it must be.
func (f *fields) inner(name, what string) (o object, ok bool) {
	raw, ok := f.raw(name)
	if !ok {
		return o, false
	}
	if raw[0] != '{' {
		f.fault(name, "must be an object%s", what)
		return o, false
	}
	o, err := splitObject(raw)
	if err != nil {
		f.fault(name, "must have each name once, and no more than %d", maxMembers)
	}
	return o, err == nil
}

// faultsOf takes the faults of the fields in one of these, under both names.
func (f *fields) faultsOf(name string, inner *fields) {
	for i := range inner.faults {
		f.names = append(f.names, name+"."+inner.names[i])
		f.faults = append(f.faults, name+"."+inner.faults[i])
	}
}

// textMap reads an object whose values are all strings.
func (f *fields) textMap(name string) *map[string]string {
	o, ok := f.inner(name, " of strings")
	if !ok {
		return nil
	}
	m := make(map[string]string, len(o.keys))
	for _, key := range o.keys {
		s, ok := jsonString(o.values[key])
		switch {
		case !ok:
			f.fault(name, "must be an object of strings, the value of %s is none", quoteClient(key))
			return nil
		case s == redact.Mark:
			// Someone read the server and sends back what it saw; storing it
			// would replace the secret by three stars.
			f.fault(name, "has the redaction mark as value of %s; send the real value", quoteClient(key))
			return nil
		}
		m[key] = s
	}
	return &m
}

func jsonString(raw json.RawMessage) (s string, ok bool) {
	if len(raw) == 0 || raw[0] != '"' {
		return "", false
	}
	return s, json.Unmarshal(raw, &s) == nil
}
