package config

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/aymanbagabas/go-udiff"
	"gopkg.in/yaml.v3"

	"github.com/aabb9013/hangar/internal/redact"
)

// Export is a configuration as a file that Load takes.
type Export struct {
	// YAML has no secret in it: each is a ${VAR}.
	YAML string
	// Variables must be set before the file is loaded, sorted by name.
	Variables []Variable
}

// Variable is a name of the environment that an exported file refers to.
type Variable struct {
	Name string
	// Path is the first key that needs it. Made is set if the export made the
	// name up, for a secret that the configuration has in clear.
	Path string
	Made bool
}

// Snapshot is what a backup says of itself; the loader ignores it.
type Snapshot struct {
	Timestamp       time.Time
	Servers, Groups int
}

// Export writes the configuration: keys sorted, defaults left out, secrets as
// references. A value that came from ${VAR} is written as that reference.
func (c *Config) Export() (Export, error) { return c.export(nil) }

// Backup is Export with a snapshot in it.
func (c *Config) Backup(at time.Time) (Export, error) {
	return c.export(&Snapshot{Timestamp: at, Servers: len(c.Definitions), Groups: len(c.Groups)})
}

func (c *Config) export(snapshot *Snapshot) (Export, error) {
	refs := newReferences(c)
	root := c.tree(refs)
	if snapshot != nil {
		m := &mapping{}
		m.add("timestamp", textNode(snapshot.Timestamp.UTC().Format(time.RFC3339)))
		m.add("mcp_server_count", plainNode(fmt.Sprint(snapshot.Servers)))
		m.add("group_count", plainNode(fmt.Sprint(snapshot.Groups)))
		root.Content = append([]*yaml.Node{textNode("__snapshot__"), m.node()}, root.Content...)
	}
	text, err := encode(root)
	if err != nil {
		return Export{}, err
	}
	e := Export{Variables: slices.SortedFunc(maps.Values(refs.needed), func(a, b Variable) int { return cmp.Compare(a.Name, b.Name) })}
	e.YAML = header(e.Variables) + text
	return e, nil
}

// header tells what must be set; it is a comment.
func header(variables []Variable) string {
	if len(variables) == 0 {
		return ""
	}
	var b strings.Builder
	b.WriteString("# These variables must be set before this file is loaded; secrets are not in it.\n")
	for _, v := range variables {
		fmt.Fprintf(&b, "#   %s: %s\n", v.Name, v.Path)
	}
	return b.String()
}

// Document is the configuration for readers who may not know its secrets: the
// sections as JSON values, mcp_servers as a list of objects with their
// mcp_server_id.
func (c *Config) Document() (map[string]any, error) {
	root := c.tree(starred{})
	servers := []any{}
	out := make(map[string]any, len(root.Content)/2)
	for i := 0; i < len(root.Content); i += 2 {
		var value any
		if err := root.Content[i+1].Decode(&value); err != nil {
			return nil, fmt.Errorf("cannot decode section %s: %w", root.Content[i].Value, err)
		}
		if root.Content[i].Value != "mcp_servers" {
			out[root.Content[i].Value] = value
			continue
		}
		byID, _ := value.(map[string]any)
		for _, id := range slices.Sorted(maps.Keys(byID)) {
			server, _ := byID[id].(map[string]any)
			server["mcp_server_id"] = id
			servers = append(servers, server)
		}
	}
	out["mcp_servers"] = servers
	if _, err := json.Marshal(out); err != nil {
		return nil, fmt.Errorf("the configuration has a value that JSON cannot write: %w", err)
	}
	return out, nil
}

// TextDiff compares two configurations as a unified diff of their written
// forms, with three lines of context. It is empty when they mean the same.
// Secrets are not in it; one that differs says only that.
func TextDiff(oldName, newName string, before, after *Config) (string, error) {
	if p := Diff(before, after); p.Empty() {
		return "", nil // ${DIR} and what it stands for are written differently
	}
	known := &comparing{values: make(map[string]string)}
	oldText, err := encode(before.tree(known))
	if err != nil {
		return "", err
	}
	known.second = true
	newText, err := encode(after.tree(known))
	if err != nil {
		return "", err
	}
	return udiff.Unified(oldName, newName, oldText, newText), nil
}

// comparing writes secrets for TextDiff: first those of the one side, which it
// remembers, then those of the other.
type comparing struct {
	values map[string]string
	second bool
}

func (k *comparing) secret(p *path, value, _ string) string {
	id := p.id()
	if !k.second {
		k.values[id] = value
		return redact.Mark
	}
	if before, ok := k.values[id]; ok && before != value {
		return redact.Mark + " (another value)"
	}
	return redact.Mark
}

func (k *comparing) reference(*path, string) {}

// tree writes the whole configuration.
func (c *Config) tree(secrets secretWriter) *yaml.Node {
	doc := *c.all
	doc.Snapshot = Opaque{}
	doc.Servers = serverMap{servers: c.Definitions, groups: c.Groups}
	return newWriter(doc.origins, secrets).section(reflect.ValueOf(&doc).Elem(), nil, clear)
}

func encode(root *yaml.Node) (string, error) {
	if len(root.Content) == 0 {
		return "{}\n", nil
	}
	var b bytes.Buffer
	enc := yaml.NewEncoder(&b)
	enc.SetIndent(2)
	if err := enc.Encode(root); err != nil {
		return "", fmt.Errorf("cannot write the configuration as YAML: %w", err)
	}
	return b.String(), nil
}
