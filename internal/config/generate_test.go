package config

import (
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// generator makes configurations that use every key of the schema, from the
// same tags as the reader.
type generator struct {
	*rand.Rand
	whole bool // every key has a value off its default
}

var nasty = []string{
	"plain", "yes", "No", "null", "~", "1", "0x1f", "1e3", "${", "$${X}", "${X}", "a: b", "# c", " lead", "trail ", "tab\there",
	"two\nlines\n", "\nfirst", "quote \" and '", "*star", "&and", "!bang", "@at", "`tick", "- dash", "[a]", "{a}", "é ü 日本 🙂",
	"%d", "a,b", "=", "<<", "\u0085next", "\u2028sep", "2001-01-01", ".nan", "key=value", "https://u:p@host/x?token=1", "-----", "...", "\u200b", "\\", "\r\n",
}

func (g *generator) text() string {
	s := nasty[g.IntN(len(nasty))]
	if g.IntN(3) == 0 {
		s += nasty[g.IntN(len(nasty))]
	}
	return s
}

func (g *generator) json(depth int) any {
	switch n := g.IntN(8); {
	case n == 0 && depth > 0:
		m := map[string]any{}
		for range g.IntN(4) {
			m[[]string{"a", "password", "yes", "1", "x y", "env", "<<", ""}[g.IntN(8)]] = g.json(depth - 1)
		}
		return m
	case n == 1 && depth > 0:
		list := []any{}
		for range g.IntN(3) {
			list = append(list, g.json(depth-1))
		}
		return list
	case n == 2:
		return g.Float64() * 1e6
	case n == 3:
		return g.Int64N(math.MaxInt64) - math.MaxInt64/2
	case n == 4:
		return g.IntN(2) == 0
	case n == 5:
		return nil
	}
	return g.text()
}

func (g *generator) opaque() Opaque {
	text, err := json.Marshal(map[string]any{"x": g.json(3), "api_token": g.json(1)})
	if err != nil {
		panic(err)
	}
	return Opaque{JSON: text}
}

// inForm are texts with a form of their own.
var inForm = map[string][]string{
	"memory": {"", "0", "64m", "1g", "512m", "8388608"}, "cpu": {"", "0", "0.5", "1.0", "2"}, "memory_budget": {"", "0", "4g", "80%"},
}

// tries is how often a value off the default is looked for.
const tries = 100

// section fills a section with values that its tags allow.
func (g *generator) section(v reflect.Value, prefix string) {
	unset := reflect.New(v.Type()).Elem()
	setDefaults(unset)
	for _, f := range planOf(v.Type()).fields {
		fv := v.FieldByIndex(f.index)
		for range tries {
			g.value(fv, f, prefix+f.name)
			if !g.whole || !same(fv, unset.FieldByIndex(f.index)) {
				break
			}
		}
	}
	if planOf(v.Type()).open {
		k := keyedOf(v)
		k.extra = append(k.extra, extraKey{"vault_path", g.opaque()}, extraKey{"port", Opaque{JSON: json.RawMessage("5432")}})
	}
}

func (g *generator) value(v reflect.Value, f *field, path string) {
	switch to := v.Addr().Interface().(type) {
	case *serverMap:
		return // made by file
	case *Opaque:
		*to = g.opaque()
		return
	case *Tools:
		if g.IntN(2) == 0 {
			g.section(reflect.ValueOf(&to.Policy).Elem(), path+".")
			return
		}
		for i := range 1 + g.IntN(3) {
			raw, err := json.Marshal(map[string]any{"name": fmt.Sprint("tool", i), "description": g.text(), "inputSchema": map[string]any{"properties": map[string]any{"token": map[string]any{"type": "string"}, "x": g.json(3)}}})
			if err != nil {
				panic(err)
			}
			to.Predefined = append(to.Predefined, raw)
		}
		return
	}
	if _, custom := v.Addr().Interface().(nodeDecoder); custom {
		panic("no values for " + path)
	}
	if words := inForm[f.name]; words != nil && v.Kind() == reflect.String {
		v.SetString(words[g.IntN(len(words))])
		return
	}
	least, most := f.min, math.Min(f.max, 1e5)
	between := least + g.Float64()*(most-least)
	switch {
	case v.Type() == durationType:
		v.SetInt(int64(math.Max(between*float64(time.Second), least*float64(time.Second))))
	case f.enum != nil:
		v.SetString(f.enum[g.IntN(len(f.enum))])
	default:
		g.kind(v, f, path, between)
	}
}

func (g *generator) kind(v reflect.Value, f *field, path string, between float64) {
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(g.IntN(2) == 0)
	case reflect.Int:
		v.SetInt(int64(math.Max(math.Floor(between), math.Ceil(f.min))))
	case reflect.Float64:
		v.SetFloat(between)
	case reflect.String:
		v.SetString(g.text())
	case reflect.Struct:
		g.section(v, path+".")
	case reflect.Slice:
		n := g.IntN(4)
		v.Set(reflect.MakeSlice(v.Type(), n, n))
		for i := range n {
			g.element(v.Index(i), path+"[0].")
		}
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		for i := range g.IntN(4) {
			item := reflect.New(v.Type().Elem()).Elem()
			g.element(item, path+".x.")
			v.SetMapIndex(reflect.ValueOf(fmt.Sprint("KEY_", i)), item)
		}
	}
}

func (g *generator) element(v reflect.Value, path string) {
	if v.Kind() == reflect.String {
		v.SetString(g.text())
		return
	}
	setDefaults(v)
	g.section(v, path)
}

// server makes its keys fit together, as validation demands.
func (g *generator) server(s *Server) {
	s.Mode = []string{"subprocess", "docker", "container", "podman", "remote"}[g.IntN(5)]
	s.Endpoint, s.Image = "https://host:8080/mcp?token=x", "image:1"
	if g.IntN(2) == 0 {
		s.Endpoint = "http://user:hunter2@host/mcp"
	}
	s.Command = append([]string{"run", "--api-key", g.text(), "TOKEN=" + g.text()}, s.Command...)
	s.HealthCheckInterval = max(s.HealthCheckInterval, 5*time.Second)
	s.StartTimeout = max(s.StartTimeout, time.Millisecond)
	if s.NetworkMode != "" {
		s.Network = s.NetworkMode
	}
	s.NetworkMode = ""
	s.Backoff.Max = max(s.Backoff.Max, s.Backoff.Initial)
	s.DependsOn = nil
}

// file makes a document with servers, groups and every section.
func (g *generator) file() *file {
	doc := new(file)
	v := reflect.ValueOf(doc).Elem()
	setDefaults(v)
	g.section(v, "")
	doc.Snapshot = Opaque{}
	log := &doc.EventStore.Retention
	log.MaxBytes += log.Calls.MaxBytes + log.Events.MaxBytes + 1
	least := 0
	if g.whole {
		least = 2 // each key has a place where nothing else forbids it
	}
	for i := range 1 + least + g.IntN(4) {
		s := defaultServer(fmt.Sprint("s", i))
		g.section(reflect.ValueOf(&s).Elem(), "mcp_servers.s.")
		g.server(&s)
		for j := range i {
			if g.whole || g.IntN(2) == 0 {
				s.DependsOn = append(s.DependsOn, fmt.Sprint("s", j))
			}
		}
		doc.Servers.servers = append(doc.Servers.servers, s)
		doc.Servers.specs = append(doc.Servers.specs, s.spec())
	}
	for i := range least + g.IntN(3) {
		group := Group{ID: fmt.Sprint("g", i)}
		gv := reflect.ValueOf(&group).Elem()
		setDefaults(gv)
		g.section(gv, "mcp_servers.g.")
		for j := range group.Members {
			m := &group.Members[j]
			m.Name = fmt.Sprint("member-", i, "-", j)
			m.ID, m.within = m.Name, mcpServers.child(group.ID).child("members").item(j)
			g.server(&m.Server)
			if g.whole {
				m.DependsOn = []string{"s0"}
			}
			m.keys = append(m.keys, keyAt{name: "mode", good: true})
			doc.Servers.servers = append(doc.Servers.servers, m.Server)
			doc.Servers.specs = append(doc.Servers.specs, m.spec())
		}
		group.Canary, group.Pins = GroupCanary{}, nil
		if len(group.Members) > 0 {
			group.Canary = GroupCanary{Member: group.Members[0].Name, Percent: 1 + g.IntN(100), PinnedTenants: g.opaque()}
			group.Pins = map[string]string{g.text(): group.Members[0].Name}
		}
		doc.Servers.groups = append(doc.Servers.groups, group)
	}
	return doc
}

// literal writes secrets in clear, for tests that compare values.
type literal struct{}

func (literal) secret(_ *path, value, written string) string {
	if written != "" {
		return written
	}
	return escape(value)
}
func (literal) reference(*path, string) {}

func generate(t testing.TB, seed uint64) *Config {
	t.Helper()
	g := &generator{rand.New(rand.NewPCG(seed, 1)), seed%2 == 1}
	return newConfig("generated", g.file())
}

// neverExported are keys that an export has under another name, and what only a
// backup writes. Members are named by id there; their tools are those of Tools.
var neverExported = []string{"args", "network_mode", "split_pct", "__snapshot__"}

// TestOneGeneratedConfigurationHasEveryKey: a key that is never exported would
// be a key that no property is proved for. It looks at what was read back.
func TestOneGeneratedConfigurationHasEveryKey(t *testing.T) {
	t.Parallel()
	for seed := range uint64(seeds) {
		c := generate(t, seed)
		if seed%2 == 0 {
			continue
		}
		e, err := c.Export()
		if err != nil {
			t.Fatal(err)
		}
		back := exported(t, c, e)
		there := make(map[string]bool)
		keysOf(there, reflect.ValueOf(back.all).Elem(), "")
		for i := range back.Definitions {
			keysOf(there, reflect.ValueOf(&back.Definitions[i]).Elem(), "mcp_servers.s.")
		}
		for i := range back.Groups {
			keysOf(there, reflect.ValueOf(&back.Groups[i]).Elem(), "mcp_servers.g.")
		}
		for _, k := range allKeys() {
			if !there[k.path] && !slices.Contains(neverExported, k.field.name) {
				t.Errorf("seed %d: %s is not exported", seed, k.path)
			}
		}
	}
}

// keysOf adds the paths of the keys that a section and those in it have in
// the file, in the form of allKeys.
func keysOf(there map[string]bool, v reflect.Value, prefix string) {
	for _, f := range planOf(v.Type()).fields {
		if !keyedOf(v).has(f.name) {
			continue
		}
		there[prefix+f.name] = true
		fv := v.FieldByIndex(f.index)
		switch {
		case reflect.PointerTo(f.kind).Implements(reflect.TypeFor[nodeDecoder]()):
		case f.kind.Kind() == reflect.Struct:
			keysOf(there, fv, prefix+f.name+".")
		case f.kind.Kind() == reflect.Slice && f.kind.Elem().Kind() == reflect.Struct:
			for i := range fv.Len() {
				keysOf(there, fv.Index(i), prefix+f.name+"[0].")
			}
		case f.kind.Kind() == reflect.Map && f.kind.Elem().Kind() == reflect.Struct:
			for _, item := range fv.Seq2() {
				keysOf(there, addressable(item), prefix+f.name+".x.")
			}
		}
	}
}

func excerpt(a, b string) string {
	x, y := strings.Split(a, "\n"), strings.Split(b, "\n")
	for i := range min(len(x), len(y)) {
		if x[i] != y[i] {
			return fmt.Sprintf("line %d: %q and %q", i+1, x[i], y[i])
		}
	}
	return fmt.Sprintf("%d and %d lines", len(x), len(y))
}
