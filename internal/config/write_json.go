package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"

	"gopkg.in/yaml.v3"
)

// encodeNode writes the value as it was read.
func (o *Opaque) encodeNode(w *writer, p *path, sh shade) *yaml.Node {
	if !o.Set() {
		return nil
	}
	return w.json(o.JSON, p, sh.under(p.key))
}

// json writes a value of no known form. What it is sure of is that it is
// valid: it was made by toJSON or validated with its spec.
func (w *writer) json(raw json.RawMessage, p *path, sh shade) *yaml.Node {
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	var v any
	if dec.Decode(&v) != nil {
		return nil
	}
	return w.any(v, p, sh)
}

func (w *writer) any(v any, p *path, sh shade) *yaml.Node {
	switch v := v.(type) {
	case map[string]any:
		m := new(mapping)
		for _, key := range slices.Sorted(maps.Keys(v)) {
			m.add(key, w.any(v[key], p.child(key), sh.under(key)))
		}
		return keep(m.node())
	case []any:
		list := &yaml.Node{Kind: yaml.SequenceNode}
		for i, item := range v {
			list.Content = append(list.Content, w.any(item, p.item(i), sh))
		}
		return list
	case string:
		return w.jsonText(v, p, sh)
	case json.Number:
		return w.jsonPlain(numberText(v), p, sh)
	case bool:
		return w.jsonPlain(strconv.FormatBool(v), p, sh)
	}
	return w.jsonPlain("null", p, clear) // nothing is no secret
}

// jsonText is quoted where it is a reference: what the variable holds must
// stay a text.
func (w *writer) jsonText(value string, p *path, sh shade) *yaml.Node {
	quoted, _ := json.Marshal(value) // a string cannot fail
	n := w.textFrom(value, w.origins.of(p, string(quoted)), p, sh)
	if wholeReference.MatchString(n.Value) {
		n.Style = yaml.DoubleQuotedStyle
	}
	return n
}

func (w *writer) jsonPlain(text string, p *path, sh shade) *yaml.Node {
	written := w.origins.of(p, text)
	switch {
	case sh == dark:
		return plainNode(w.secrets.secret(p, text, written))
	case written != "":
		w.secrets.reference(p, written)
		return plainNode(written)
	}
	return plainNode(text)
}

// numberText spells a number as toJSON does.
func numberText(n json.Number) string {
	if i, err := strconv.ParseInt(n.String(), 10, 64); err == nil {
		return strconv.FormatInt(i, 10)
	}
	x, err := strconv.ParseFloat(n.String(), 64)
	if err != nil || math.IsInf(x, 0) {
		return fmt.Sprint(math.MaxFloat64) // no reader would get nearer
	}
	text, _ := json.Marshal(x) // finite
	return string(text)
}
