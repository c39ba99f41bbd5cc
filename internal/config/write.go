package config

import (
	"reflect"
	"regexp"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/aabb9013/hangar/internal/redact"
)

// writer turns sections back into a document: the inverse of decoder, from
// the same tags. Keys are sorted; a key at its default is left out, so two
// configurations that mean the same are written the same.
type writer struct {
	defaults map[reflect.Type]reflect.Value
	origins  origins
	secrets  secretWriter
}

// secretWriter decides how a secret is written.
type secretWriter interface {
	// secret returns the scalar for the secret value at p; written is the
	// text with ${VAR} that it came from, if any.
	secret(p *path, value, written string) string
	// reference is told every text with a ${VAR} that is written as it is.
	reference(p *path, written string)
}

// shade says how much of what is below a key is secret by its place alone.
type shade uint8

const (
	clear  shade = iota
	open         // nothing, whatever a key is called: the schema of a tool
	shaded       // all but the typed keys of sections
	dark         // everything
)

// under is the shade of a value of no known form below a key.
func (sh shade) under(key string) shade {
	switch {
	case sh == open, sh == dark:
		return sh
	case sh == shaded, redact.Sensitive(key), secretPlace(key):
		return dark
	}
	return clear
}

// of is the shade of a typed value below a key: its name and its type say
// what it is, so only containers inherit.
func (sh shade) of(key string, t reflect.Type) shade {
	for t.Kind() == reflect.Slice || t.Kind() == reflect.Map {
		if t.Elem().Kind() != reflect.Struct {
			return sh.under(key)
		}
		t = t.Elem()
	}
	switch {
	case t.Kind() != reflect.Struct:
		return clear
	case sh == clear && secretPlace(key):
		return shaded
	}
	return sh
}

func newWriter(from origins, secrets secretWriter) *writer {
	return &writer{
		defaults: make(map[reflect.Type]reflect.Value),
		origins:  from, secrets: secrets,
	}
}

// defaultsOf is a section with nothing but its defaults.
func (w *writer) defaultsOf(t reflect.Type) reflect.Value {
	v, ok := w.defaults[t]
	if !ok {
		v = reflect.New(t).Elem()
		setDefaults(v)
		w.defaults[t] = v
	}
	return v
}

// section writes what differs from the defaults, and what is required.
func (w *writer) section(v reflect.Value, p *path, sh shade) *yaml.Node {
	m := new(mapping)
	v = addressable(v)
	unset := w.defaultsOf(v.Type())
	for _, f := range planOf(v.Type()).fields {
		fv := v.FieldByIndex(f.index)
		_, custom := fv.Addr().Interface().(nodeDecoder)
		if !custom && !f.required && same(fv, unset.FieldByIndex(f.index)) {
			continue
		}
		child := p.child(f.name)
		m.add(f.name, w.value(fv, child, sh.of(f.name, f.kind)))
	}
	for _, x := range keyedOf(v).sortedExtra() {
		m.add(x.name, w.json(x.value.JSON, p.child(x.name), sh.under(x.name)))
	}
	return m.node()
}

// value writes anything that decoder.value reads.
func (w *writer) value(v reflect.Value, p *path, sh shade) *yaml.Node {
	if custom, ok := addressable(v).Addr().Interface().(nodeDecoder); ok {
		return custom.encodeNode(w, p, sh)
	}
	switch v.Kind() {
	case reflect.Struct:
		return w.section(v, p, sh)
	case reflect.Slice:
		if words, ok := v.Interface().([]string); ok && (p.key == "command" || p.key == "args") {
			return w.command(words, p, p.item)
		}
		list := &yaml.Node{Kind: yaml.SequenceNode}
		for i := range v.Len() {
			list.Content = append(list.Content, w.value(v.Index(i), p.item(i), sh))
		}
		return list
	case reflect.Map:
		m := new(mapping)
		for _, key := range sortedKeys(v) {
			m.add(key, keep(w.value(v.MapIndex(reflect.ValueOf(key)), p.child(key), sh)))
		}
		return m.node()
	case reflect.String:
		return w.text(v.String(), p, sh)
	}
	text := textOf(v)
	if written := w.origins.of(p, text); written != "" {
		w.secrets.reference(p, written)
		return plainNode(written)
	}
	return plainNode(text)
}

// text writes a text, hiding it if it is a secret.
func (w *writer) text(value string, p *path, sh shade) *yaml.Node {
	return w.textFrom(value, w.origins.of(p, value), p, sh)
}

func (w *writer) textFrom(value, written string, p *path, sh shade) *yaml.Node {
	out := writtenOut(value, written)
	hidden := sh == dark || sh != open && redact.Sensitive(p.key) || secretURL(value) || redact.HoldsToken(out) || sh != open && !prose(p) && redact.HoldsSecret(out)
	if hidden && value+written != "" {
		return textNode(w.secrets.secret(p, value, written))
	}
	if written != "" {
		w.secrets.reference(p, written)
		return textNode(written)
	}
	return textNode(escape(value))
}

// escape keeps a literal ${ from being read as a reference.
func escape(value string) string { return strings.ReplaceAll(value, "${", "$${") }

// mapping collects entries and sorts them.
type mapping struct{ entries []entry }

type entry struct {
	key   string
	value *yaml.Node
}

// add takes an entry; nil and an empty section are keys that are not set.
func (m *mapping) add(key string, value *yaml.Node) {
	if value != nil && (value.Kind != yaml.MappingNode || len(value.Content) > 0 || value.Style == kept) {
		m.entries = append(m.entries, entry{key, value})
	}
}

// kept is the style of an empty mapping that must be written.
const kept = yaml.FlowStyle

// keep makes an empty mapping one that must be written.
func keep(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.MappingNode && len(n.Content) == 0 {
		n.Style = kept
	}
	return n
}

func (m *mapping) node() *yaml.Node {
	slices.SortFunc(m.entries, func(a, b entry) int { return strings.Compare(a.key, b.key) })
	n := &yaml.Node{Kind: yaml.MappingNode}
	for _, e := range m.entries {
		n.Content = append(n.Content, textNode(e.key), e.value)
	}
	return n
}

func plainNode(text string) *yaml.Node { return &yaml.Node{Kind: yaml.ScalarNode, Value: text} }

// oldWord is a text that readers of YAML 1.1 take for true, false or nothing.
var oldWord = regexp.MustCompile(`^(?i:y|n|yes|no|on|off|true|false|null|~|<<|=)$`)

// textNode is quoted wherever a reader could see anything but this text.
func textNode(text string) *yaml.Node {
	n := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: strings.ToValidUTF8(text, "\uFFFD")}
	trimmed := strings.TrimSpace(text) == text
	if !trimmed || oldWord.MatchString(text) || strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r >= 0x7F && r < 0xA0 }) {
		n.Style = yaml.DoubleQuotedStyle
	}
	return n
}

// sortedKeys: the order in which secrets are met must not depend on chance,
// because names are made up for them.
func sortedKeys(m reflect.Value) []string {
	keys := make([]string, 0, m.Len())
	for it := m.MapRange(); it.Next(); {
		keys = append(keys, it.Key().String())
	}
	slices.Sort(keys)
	return keys
}

func (k *keyed) sortedExtra() []extraKey {
	return slices.SortedFunc(slices.Values(k.extra), func(a, b extraKey) int { return strings.Compare(a.name, b.name) })
}

// addressable is v, or a copy of it if v is an entry of a map.
func addressable(v reflect.Value) reflect.Value {
	if v.CanAddr() {
		return v
	}
	c := reflect.New(v.Type()).Elem()
	c.Set(v)
	return c
}

func keyedOf(v reflect.Value) *keyed {
	return addressable(v).Addr().Interface().(interface{ recorder() *keyed }).recorder()
}
