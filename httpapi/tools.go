package httpapi

import (
	"bytes"
	"encoding/json"

	"github.com/valyala/fasthttp"

	"github.com/aabb9013/hangar/backends"
)

func (a *API) listTools(ctx *fasthttp.RequestCtx) error {
	id := pathParam(ctx, "id")
	target := a.runtime.Target([]byte(id))
	if target == nil {
		return notFound(id)
	}
	v := target.View()
	return respond(ctx, 200, map[string]any{
		"tools": toolItems(v.Catalogue), "stale": v.ToolsStale, "predefined": v.ToolsPredefined,
	})
}

func toolNames(c *backends.Catalogue) []string {
	names := make([]string, 0, toolCount(c))
	if c != nil {
		for _, t := range c.Tools {
			names = append(names, t.Name)
		}
	}
	return names
}

func toolItems(c *backends.Catalogue) []json.RawMessage {
	items := make([]json.RawMessage, 0, toolCount(c))
	if c != nil {
		for _, t := range c.Tools {
			items = append(items, toolItem(t))
		}
	}
	return items
}

// toolItem is the contract's name, description and parameters, followed by
// every field of the server's own tool object as the server wrote it: clients
// of the reference look for inputSchema, and annotations matter to people.
func toolItem(t backends.Tool) json.RawMessage {
	own := object{}
	if json.Valid(t.Raw) && bytes.HasPrefix(bytes.TrimSpace(t.Raw), []byte("{")) {
		// An object with a key twice, or far too many, is left out as a whole.
		own, _ = splitObject(t.Raw)
	}
	description, ok := own.values["description"]
	if !ok || description[0] != '"' {
		description = json.RawMessage(`""`)
	}
	schema, ok := own.values["inputSchema"]
	if !ok || schema[0] != '{' {
		schema = json.RawMessage("{}")
	}
	var b bytes.Buffer
	b.WriteString(`{"name":`)
	b.Write(mustJSON(t.Name))
	b.WriteString(`,"description":`)
	b.Write(description)
	b.WriteString(`,"parameters":`)
	b.Write(schema)
	for _, key := range own.keys {
		if key == "name" || key == "description" || key == "parameters" {
			continue
		}
		b.WriteByte(',')
		b.Write(mustJSON(key))
		b.WriteByte(':')
		b.Write(own.values[key])
	}
	b.WriteByte('}')
	return b.Bytes()
}
