package config

import (
	"reflect"

	"gopkg.in/yaml.v3"
)

// decoder fills section structs from a checked tree.
type decoder struct {
	*collector
	strict  bool
	fromEnv map[*yaml.Node]bool
	broken  map[*yaml.Node]bool
	written map[*yaml.Node]string
	origins origins
}

// nodeDecoder is a value whose form is not that of a struct.
type nodeDecoder interface {
	// decodeNode reads the value's node; it tells its faults and reports
	// whether it had none.
	decodeNode(d *decoder, n *yaml.Node, p *path) bool
	// encodeNode writes what decodeNode reads; nil stands for a key that is
	// not set.
	encodeNode(w *writer, p *path, sh shade) *yaml.Node
	// schema says what decodeNode takes.
	schema(g *schemas) schema
}

// keyed, embedded in every section, remembers where the section and its keys
// stand in the file.
type keyed struct {
	at    position
	keys  []keyAt
	extra []extraKey // of an open section, in file order
}

// extraKey is a key that an open section takes for somebody else.
type extraKey struct {
	name  string
	value Opaque
}

type keyAt struct {
	name string
	at   position
	good bool
}

func (k *keyed) recorder() *keyed { return k }

// has reports whether the section stands in the file, or a key in it.
func (k *keyed) has(names ...string) bool {
	if len(names) == 0 {
		return k.at.line > 0
	}
	_, ok := k.find(names[0])
	return ok
}

func (k *keyed) find(name string) (keyAt, bool) {
	for _, key := range k.keys {
		if key.name == name {
			return key, true
		}
	}
	return keyAt{at: k.at}, false
}

// where is the place of a key, else of its section.
func (k *keyed) where(name string) position {
	key, _ := k.find(name)
	return key.at
}

// bad reports whether the key was given and had a fault.
func (k *keyed) bad(name string) bool {
	key, ok := k.find(name)
	return ok && !key.good
}

// value decodes a node into v and reports whether there was no fault.
func (d *decoder) value(n *yaml.Node, v reflect.Value, f *field, p *path) bool {
	if d.broken[n] {
		return false
	}
	if custom, ok := v.Addr().Interface().(nodeDecoder); ok {
		return isNull(n) || custom.decodeNode(d, n, p)
	}
	switch v.Kind() {
	case reflect.Struct:
		return isNull(n) || d.section(n, v, p)
	case reflect.Slice:
		return isNull(n) || d.list(n, v, f, p)
	case reflect.Map:
		return isNull(n) || d.dictionary(n, v, f, p)
	}
	if !d.scalar(n, v, f, p) {
		return false
	}
	if written, ok := d.written[n]; ok {
		d.origins[p.id()] = origin{written: written, value: textOf(v)}
	}
	return true
}

// section decodes a map with known keys.
func (d *decoder) section(n *yaml.Node, v reflect.Value, p *path) bool {
	if n.Kind != yaml.MappingNode {
		return d.mismatch(n, p, "a map")
	}
	plan := planOf(v.Type())
	k := v.Addr().Interface().(interface{ recorder() *keyed }).recorder()
	k.at = positionOf(n)
	good := true
	for _, pr := range pairs(n) {
		child := p.child(pr.key)
		f, known := plan.byName[pr.key]
		if !known {
			if !plan.open {
				good = d.unknown(pr, plan, child) && good
				continue
			}
			var value Opaque
			ok := value.decodeNode(d, pr.value, child)
			good = good && ok
			k.extra = append(k.extra, extraKey{pr.key, value})
			continue
		}
		if f.unread != "" {
			d.warn(pr.at, child, "%s", f.unread)
		}
		ok := d.value(pr.value, v.FieldByIndex(f.index), f, child)
		good = good && ok
		k.keys = append(k.keys, keyAt{name: pr.key, at: pr.at, good: ok})
	}
	for _, f := range plan.fields {
		if f.required && !k.has(f.name) {
			d.fault(positionOf(n), p, "%s is required", f.name)
			good = false
		}
	}
	return good
}

// unknown tells of a key nothing reads: a warning, as in the reference, or a
// fault in strict mode.
func (d *decoder) unknown(pr pair, plan *plan, p *path) bool {
	text := "unknown key"
	if len(d.faults) < maxFaults && len(d.warnings) < maxFaults {
		text += suggestion(pr.key, plan)
	}
	if d.strict || plan.closed {
		d.fault(pr.at, p, "%s", text)
		return false
	}
	d.warn(pr.at, p, "%s; it is ignored", text)
	return true
}

func (d *decoder) list(n *yaml.Node, v reflect.Value, f *field, p *path) bool {
	if n.Kind != yaml.SequenceNode {
		return d.mismatch(n, p, "a list")
	}
	good := true
	out := reflect.MakeSlice(v.Type(), len(n.Content), len(n.Content))
	for i, item := range n.Content {
		ok := d.element(follow(item), out.Index(i), f, p.item(i))
		good = good && ok
	}
	v.Set(out)
	return good
}

func (d *decoder) dictionary(n *yaml.Node, v reflect.Value, f *field, p *path) bool {
	if n.Kind != yaml.MappingNode {
		return d.mismatch(n, p, "a map")
	}
	good := true
	out := reflect.MakeMapWithSize(v.Type(), len(n.Content)/2)
	for _, pr := range pairs(n) {
		elem := reflect.New(v.Type().Elem()).Elem()
		ok := d.element(pr.value, elem, f, p.child(pr.key))
		good = good && ok
		out.SetMapIndex(reflect.ValueOf(pr.key), elem)
	}
	v.Set(out)
	return good
}

// element is an item of a list or map; unlike a key it cannot be left empty.
func (d *decoder) element(n *yaml.Node, v reflect.Value, f *field, p *path) bool {
	if v.Kind() == reflect.Struct {
		if isNull(n) {
			return d.mismatch(n, p, "a map")
		}
		setDefaults(v)
	}
	if v.Kind() == reflect.String && isNull(n) && !d.fromEnv[n] {
		return d.mismatch(n, p, "a text")
	}
	return d.value(n, v, f, p)
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" }
