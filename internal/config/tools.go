package config

import (
	"encoding/json"
	"reflect"
	"slices"

	"gopkg.in/yaml.v3"
)

// Tools is the key with two forms: a list of tool objects known before the
// first start, or a map of patterns that say which tools may be used.
type Tools struct {
	Predefined []json.RawMessage
	Policy     ToolPolicy
}

// ToolPolicy lists patterns; the zero value restricts nothing.
type ToolPolicy struct {
	keyed
	_            closedKeys
	AllowList    []string `cfg:"allow_list"`
	DenyList     []string `cfg:"deny_list"`
	ApprovalList []string `cfg:"approval_list"`
}

// Restricts reports whether the policy has any effect.
func (p ToolPolicy) Restricts() bool {
	return len(p.AllowList)+len(p.DenyList)+len(p.ApprovalList) > 0
}

// maxToolName is what MCP allows for the name of a tool.
const maxToolName = 128

func (t *Tools) decodeNode(d *decoder, n *yaml.Node, p *path) bool {
	switch n.Kind {
	case yaml.MappingNode:
		return d.section(n, reflect.ValueOf(&t.Policy).Elem(), p)
	case yaml.SequenceNode:
		return t.predefined(d, n, p)
	}
	return d.mismatch(n, p, "a list of tool objects or a map with allow_list, deny_list, approval_list")
}

func (t *Tools) predefined(d *decoder, n *yaml.Node, p *path) bool {
	good, names := true, make(map[string]bool, len(n.Content))
	for i, item := range n.Content {
		raw, ok := tool(d, follow(item), names, p.item(i))
		good = good && ok
		if ok {
			t.Predefined = append(t.Predefined, raw)
		}
	}
	return good
}

// otherSpelling has the names that the reference reads, too, where the one of
// the protocol is missing.
var otherSpelling = map[string]string{"inputSchema": "input_schema", "outputSchema": "output_schema"}

// tool checks what the protocol demands of a tool object and leaves the rest
// as it is written. A missing inputSchema becomes that of any object.
func tool(d *decoder, n *yaml.Node, names map[string]bool, p *path) (json.RawMessage, bool) {
	if n.Kind != yaml.MappingNode {
		return nil, d.mismatch(n, p, "a tool object: a map with name and inputSchema")
	}
	var name, schema *yaml.Node
	n = inOneSpelling(n)
	for _, pr := range pairs(n) {
		switch pr.key {
		case "name":
			name = pr.value
		case "inputSchema":
			schema = pr.value
		}
	}
	switch {
	case name == nil:
		d.fault(positionOf(n), p, "name is required")
		return nil, false
	case d.broken[name]:
		return nil, false
	case !hasText(name) && !d.fromEnv[name] || name.Value == "" || len(name.Value) > maxToolName:
		return nil, d.mismatch(name, p.child("name"), "a text of 1 to 128 characters")
	case names[name.Value]:
		d.fault(positionOf(name), p.child("name"), "the server has another tool of this name")
		return nil, false
	case schema != nil && schema.Kind != yaml.MappingNode:
		return nil, d.mismatch(schema, p.child("inputSchema"), "a map")
	}
	names[name.Value] = true
	raw, ok := d.toJSON(n, p)
	if ok && schema == nil {
		raw = append(raw[:len(raw)-1], `,"inputSchema":{"type":"object"}}`...)
	}
	return raw, ok
}

// inOneSpelling is the tool object with the names of the protocol.
func inOneSpelling(n *yaml.Node) *yaml.Node {
	all := pairs(n)
	has := func(key string) bool {
		return slices.ContainsFunc(all, func(pr pair) bool { return pr.key == key })
	}
	out := *n
	for key, other := range otherSpelling {
		if !has(other) || has(key) {
			continue
		}
		content := slices.Clone(out.Content)
		for i := 0; i+1 < len(content); i += 2 {
			if content[i].Value == other {
				renamed := *content[i]
				renamed.Value = key
				content[i] = &renamed
			}
		}
		out.Content = content
	}
	return &out
}
