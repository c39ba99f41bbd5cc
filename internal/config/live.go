package config

import (
	"reflect"
	"slices"
	"strings"

	"github.com/aabb9013/hangar/supervisor"
)

// Default is the configuration of a runtime without a file.
func Default() *Config {
	doc := new(file)
	setDefaults(reflect.ValueOf(doc).Elem())
	return newConfig("", doc)
}

// WithSpecs returns the configuration of a fleet that runs these specs: those
// of the file as it has them, with what was changed since, and those made by
// the API. Servers that were discovered or attached are left out: a file that
// names them would take them from their owner.
func (c *Config) WithSpecs(specs []supervisor.ServerSpec) *Config {
	byID := make(map[string]int, len(c.Servers))
	for i := range c.Servers {
		byID[c.Servers[i].ID] = i
	}
	out := *c
	out.Servers, out.Definitions = nil, nil
	for _, spec := range specs {
		if spec.Provenance != supervisor.FromConfig && spec.Provenance != supervisor.FromAPI {
			continue
		}
		unset := defaultServer(spec.ID)
		def, of := &unset, unset.spec()
		if i, ok := byID[spec.ID]; ok && spec.Provenance == supervisor.FromConfig {
			def, of = &c.Definitions[i], c.Servers[i]
		}
		out.Definitions = append(out.Definitions, def.with(of, spec))
		out.Servers = append(out.Servers, spec)
	}
	return &out
}

// Adopt returns what runs after a reload: the servers and groups of next, of
// the other sections only the keys that were applied, and the rest of c, which
// only a restart changes. Keys are as in Plan.Sections.
func (c *Config) Adopt(next *Config, applied []string) *Config {
	doc := *c.all
	doc.Servers = next.all.Servers
	doc.origins = make(origins, len(next.all.origins))
	taken := []string{serversID}
	for _, key := range applied {
		copyKey(reflect.ValueOf(&doc).Elem(), reflect.ValueOf(next.all).Elem(), strings.Split(key, "."))
		taken = append(taken, "\x00"+strings.ReplaceAll(key, ".", "\x00"))
	}
	isTaken := func(id string) bool {
		return slices.ContainsFunc(taken, func(prefix string) bool { return strings.HasPrefix(id, prefix) })
	}
	for id, from := range c.all.origins {
		if !isTaken(id) {
			doc.origins[id] = from
		}
	}
	for id, from := range next.all.origins {
		if isTaken(id) {
			doc.origins[id] = from
		}
	}
	return newConfig(c.Path, &doc)
}

// copyKey copies the value of one key of a section, or of one inside it.
func copyKey(to, from reflect.Value, key []string) {
	f := planOf(to.Type()).byName[key[0]]
	to, from = to.FieldByIndex(f.index), from.FieldByIndex(f.index)
	if len(key) > 1 {
		copyKey(to, from, key[1:])
		return
	}
	to.Set(from)
}

var serversID = mcpServers.id() + "\x00"

func defaultServer(id string) Server {
	s := Server{ID: id}
	setDefaults(reflect.ValueOf(&s).Elem())
	return s
}

// specKeys says how a field of a spec goes into a definition, where the field
// there has another name or type. A test holds it complete.
var specKeys = map[string]func(*Server, supervisor.ServerSpec){
	"ID":         func(s *Server, spec supervisor.ServerSpec) { s.ID = spec.ID },
	"Provenance": func(*Server, supervisor.ServerSpec) {},
	"Dir":        func(s *Server, spec supervisor.ServerSpec) { s.Cwd = spec.Dir },
	"Command":    func(s *Server, spec supervisor.ServerSpec) { s.Command, s.Args = spec.Command, nil },
	"Network":    func(s *Server, spec supervisor.ServerSpec) { s.Network, s.NetworkMode = spec.Network, "" },
	"Limits":     (*Server).writeLimits,
	"Backoff": func(s *Server, spec supervisor.ServerSpec) {
		b := &s.Backoff
		b.Initial, b.Max, b.Jitter, b.ResetAfter = spec.Backoff.Initial, spec.Backoff.Max, spec.Backoff.Jitter, spec.Backoff.ResetAfter
	},
	"Tools": func(s *Server, spec supervisor.ServerSpec) { s.Tools.Predefined = spec.Tools },
}

// with is the definition s of the spec was, changed to that of is.
func (s *Server) with(was, is supervisor.ServerSpec) Server {
	out := *s
	from, to := reflect.ValueOf(was), reflect.ValueOf(is)
	for i := range to.NumField() {
		if same(from.Field(i), to.Field(i)) {
			continue
		}
		name := to.Type().Field(i).Name
		if set := specKeys[name]; set != nil {
			set(&out, is)
			continue
		}
		key := reflect.ValueOf(&out).Elem().FieldByName(name)
		if key.IsValid() && to.Field(i).CanConvert(key.Type()) {
			key.Set(to.Field(i).Convert(key.Type()))
		}
	}
	return out
}

// SideBySide has the ids of the servers whose instance is replaced by starting
// the new one first (reload.strategy blue_green).
func (c *Config) SideBySide() map[string]bool {
	ids := make(map[string]bool)
	for i := range c.Definitions {
		if c.Definitions[i].Reload.Strategy == "blue_green" {
			ids[c.Definitions[i].ID] = true
		}
	}
	return ids
}
