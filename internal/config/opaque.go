package config

import (
	"bytes"
	"encoding/json"
	"math"
	"strconv"

	"gopkg.in/yaml.v3"
)

// Opaque is a value whose inside nothing here reads, kept as JSON.
type Opaque struct {
	JSON json.RawMessage
}

// Set reports whether the file has a value here.
func (o Opaque) Set() bool { return len(o.JSON) > 0 }

func (o *Opaque) decodeNode(d *decoder, n *yaml.Node, p *path) bool {
	raw, ok := d.toJSON(n, p)
	o.JSON = raw
	return ok
}

// toJSON turns a checked tree into JSON, keys in file order.
func (d *decoder) toJSON(n *yaml.Node, p *path) (json.RawMessage, bool) {
	var b bytes.Buffer
	if !d.writeJSON(&b, n, p) {
		return nil, false
	}
	return b.Bytes(), true
}

func (d *decoder) writeJSON(b *bytes.Buffer, n *yaml.Node, p *path) bool {
	n = follow(n)
	switch n.Kind {
	case yaml.MappingNode:
		b.WriteByte('{')
		for i, pr := range pairs(n) {
			if i > 0 {
				b.WriteByte(',')
			}
			writeString(b, pr.key)
			b.WriteByte(':')
			if !d.writeJSON(b, pr.value, p.child(pr.key)) {
				return false
			}
		}
		b.WriteByte('}')
		return true
	case yaml.SequenceNode:
		b.WriteByte('[')
		for i, item := range n.Content {
			if i > 0 {
				b.WriteByte(',')
			}
			if !d.writeJSON(b, item, p.item(i)) {
				return false
			}
		}
		b.WriteByte(']')
		return true
	}
	return d.writeScalar(b, n, p)
}

func (d *decoder) writeScalar(b *bytes.Buffer, n *yaml.Node, p *path) bool {
	if d.broken[n] {
		return false
	}
	from := b.Len()
	if !d.writeValue(b, n, p) {
		return false
	}
	if written, ok := d.written[n]; ok {
		d.origins[p.id()] = origin{written: written, value: string(b.Bytes()[from:])}
	}
	return true
}

func (d *decoder) writeValue(b *bytes.Buffer, n *yaml.Node, p *path) bool {
	switch n.ShortTag() {
	case "!!null":
		b.WriteString("null")
	case "!!bool":
		v, ok := truth(n)
		if !ok {
			return d.mismatch(n, p, "true or false")
		}
		b.WriteString(strconv.FormatBool(v))
	case "!!int":
		if v, ok := integer(n); ok {
			b.WriteString(strconv.FormatInt(v, 10))
			return true
		}
		fallthrough
	case "!!float":
		v, ok := number(n)
		if !ok || math.IsNaN(v) || math.IsInf(v, 0) {
			return d.mismatch(n, p, "a number that JSON can write")
		}
		text, _ := json.Marshal(v)
		b.Write(text)
	default:
		writeString(b, n.Value)
	}
	return true
}

func writeString(b *bytes.Buffer, s string) {
	text, _ := json.Marshal(s) // a string cannot fail
	b.Write(text)
}
