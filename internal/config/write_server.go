package config

import (
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/aabb9013/hangar/internal/redact"
	"github.com/aabb9013/hangar/supervisor"
	"gopkg.in/yaml.v3"
)

// encodeNode writes servers and groups into one map, as the file has them.
func (m *serverMap) encodeNode(w *writer, p *path, _ shade) *yaml.Node {
	out := new(mapping)
	inlined := m.inlined()
	byID := make(map[string]any, len(m.servers)+len(m.groups))
	for i := range m.servers {
		if s := &m.servers[i]; inlined[s.ID] != s {
			byID[s.ID] = s
		}
	}
	for i := range m.groups {
		byID[m.groups[i].ID] = m.groups[i].withServers(inlined)
	}
	for _, id := range slices.Sorted(maps.Keys(byID)) {
		switch of := byID[id].(type) {
		case *Server:
			out.add(id, w.server(of, p.child(id)))
		case *Group:
			out.add(id, w.section(reflect.ValueOf(of).Elem(), p.child(id), clear))
		}
	}
	return keep(out.node()) // a file without the key is refused
}

// server writes an entry of mcp_servers, the mode in any case.
func (w *writer) server(s *Server, p *path) *yaml.Node {
	c := canonical(*s)
	at := p.child("command")
	command := w.command(c.Command, at, func(i int) *path {
		if i < len(s.Command) {
			return at.item(i)
		}
		return p.child("args").item(i - len(s.Command))
	})
	c.Command = nil
	n := w.section(reflect.ValueOf(&c).Elem(), p, clear)
	m := &mapping{}
	for i := 0; i < len(n.Content); i += 2 {
		m.add(n.Content[i].Value, n.Content[i+1])
	}
	if len(command.Content) > 0 {
		m.add("command", command)
	}
	if c.Mode == w.defaultsOf(reflect.TypeFor[Server]()).FieldByName("Mode").String() {
		m.add("mode", textNode(c.Mode))
	}
	return m.node()
}

// command writes the words of a command at p; from says where each stood.
func (w *writer) command(words []string, p *path, from func(int) *path) *yaml.Node {
	list := &yaml.Node{Kind: yaml.SequenceNode}
	for i, word := range words {
		written := w.origins.of(from(i), word)
		list.Content = append(list.Content, w.word(word, written, secretWord(words, i, written), p.item(i)))
	}
	return list
}

// canonical is the server with the one spelling of what has two.
func canonical(s Server) Server {
	if s.Network == "" {
		s.Network = s.NetworkMode
	}
	if s.Network == "none" {
		s.Network = ""
	}
	s.NetworkMode = ""
	s.Command = slices.Concat(s.Command, s.Args)
	s.Args = nil
	if s.Mode == "container" {
		s.Mode = "docker"
	}
	if supervisor.Mode(s.Mode) == supervisor.ModeDocker || s.Mode == "podman" {
		if s.Resources.Memory == defaultMemory {
			s.Resources.Memory = ""
		}
		if s.Resources.CPU == defaultCPU {
			s.Resources.CPU = ""
		}
	}
	return s
}

// canonical is the group with its members in their one spelling.
func (g *Group) canonical() Group {
	out := *g
	out.Members = slices.Clone(g.Members)
	for i := range out.Members {
		out.Members[i].Server = canonical(out.Members[i].Server)
	}
	return out
}

// secretPart is how much of a word of a command is a secret.
type secretPart uint8

const (
	noPart secretPart = iota
	afterSign
	wholeWord
)

// secretWord finds the values of --api-key=x, --api-key x, TOKEN=x, URLs with
// credentials, and words that have a secret in them, as headers may.
func secretWord(command []string, i int, written string) secretPart {
	word := command[i]
	name, value, assigned := strings.Cut(word, "=")
	switch {
	case i > 0 && opensSecret(command[i-1]) && (!strings.HasPrefix(word, "-") || redact.LooksSecret(word)): // a token may begin with a dash
		return wholeWord
	case assigned && value != "" && !strings.Contains(name, "://") && (redact.Sensitive(name) || secretURL(value)):
		return afterSign
	case secretURL(word), redact.HoldsSecret(writtenOut(word, written)):
		return wholeWord
	}
	return noPart
}

func opensSecret(word string) bool {
	return strings.HasPrefix(word, "-") && !strings.Contains(word, "=") && redact.Sensitive(word)
}

// word writes a word of a command.
func (w *writer) word(word, written string, secret secretPart, p *path) *yaml.Node {
	switch {
	case secret == noPart:
		return w.textFrom(word, written, p, clear)
	case secret == wholeWord:
		return textNode(w.secrets.secret(p, word, written))
	}
	name, value, _ := strings.Cut(word, "=")
	writtenName, writtenValue, _ := strings.Cut(written, "=")
	if writtenName != escape(name) {
		writtenValue = ""
	}
	return textNode(escape(name) + "=" + w.secrets.secret(p, value, writtenValue))
}

// encodeNode writes the form that is in use. Tool objects are schemas: a
// parameter named token is no secret.
func (t *Tools) encodeNode(w *writer, p *path, _ shade) *yaml.Node {
	if t.Predefined == nil {
		return w.section(reflect.ValueOf(&t.Policy).Elem(), p, clear)
	}
	list := &yaml.Node{Kind: yaml.SequenceNode}
	for i, raw := range t.Predefined {
		list.Content = append(list.Content, w.json(raw, p.item(i), open))
	}
	return list
}
