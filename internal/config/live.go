package config

import (
	"reflect"
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

// Adopt returns what runs after the servers and groups of next took the place
// of those of c: the sections of c, which only a restart changes, and the rest
// of next.
func (c *Config) Adopt(next *Config) *Config {
	out := *c
	out.Servers, out.Definitions, out.Groups = next.Servers, next.Definitions, next.Groups
	doc := *c.all
	doc.Servers = next.all.Servers
	doc.origins = make(origins, len(next.all.origins))
	for id, from := range c.all.origins {
		if !strings.HasPrefix(id, serversID) {
			doc.origins[id] = from
		}
	}
	for id, from := range next.all.origins {
		if strings.HasPrefix(id, serversID) {
			doc.origins[id] = from
		}
	}
	out.all = &doc
	return &out
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
	"Tools":      func(s *Server, spec supervisor.ServerSpec) { s.Tools.Predefined = spec.Tools },
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
		key.Set(to.Field(i).Convert(key.Type()))
	}
	return out
}
