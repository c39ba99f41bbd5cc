package config

import (
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"
	"unicode"
)

// schema is a JSON Schema, or a part of one.
type schema map[string]any

// Schema is the JSON Schema of the file, for editors: what it accepts, Load
// accepts too, save what only the whole file tells (ids that are not there,
// keys that a mode needs). As in strict mode it knows no other keys.
func Schema() []byte {
	g := schemas{defs: schema{}}
	root := g.section(reflect.TypeFor[file]())
	root["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	root["title"] = "Configuration of Hangar"
	root["type"] = "object"
	root["$defs"] = g.defs
	text, err := json.MarshalIndent(root, "", "  ")
	if err != nil {
		panic("config: the schema cannot be written: " + err.Error()) // a mistake of this package
	}
	return append(text, '\n')
}

// schemas collects the sections that stand in more than one place, or would
// make the whole too deep to read.
type schemas struct{ defs schema }

// of is the schema of a type: a reference to its section, or what it is.
func (g *schemas) of(t reflect.Type, f *field) schema {
	if custom, ok := reflect.New(t).Interface().(nodeDecoder); ok {
		return custom.schema(g)
	}
	switch t.Kind() {
	case reflect.Struct:
		return g.ref(t)
	case reflect.Slice:
		return schema{"type": []string{"array", "null"}, "items": g.element(t.Elem(), f)}
	case reflect.Map:
		return schema{"type": []string{"object", "null"}, "additionalProperties": g.element(t.Elem(), f)}
	}
	return f.schema(t)
}

// element is an item of a list or map: it cannot be left empty.
func (g *schemas) element(t reflect.Type, f *field) schema {
	switch {
	case t.Kind() == reflect.Struct:
		return schema{"allOf": []schema{g.of(t, f), {"type": "object"}}}
	case f.scalar:
		return schema{"type": []string{"string", "number", "boolean"}}
	}
	return schema{"type": "string"}
}

// ref makes a section's schema once and refers to it.
func (g *schemas) ref(t reflect.Type) schema {
	if g.defs[t.Name()] == nil {
		g.defs[t.Name()] = schema{} // ends a recursion
		g.defs[t.Name()] = g.section(t)
	}
	return schema{"$ref": "#/$defs/" + t.Name()}
}

func (g *schemas) section(t reflect.Type) schema {
	p := planOf(t)
	properties, required := schema{}, []string{}
	for _, f := range p.fields {
		s := g.of(f.kind, f)
		if f.def != "" {
			s["default"] = f.defaultValue()
		}
		if f.unread != "" {
			s["deprecated"], s["description"] = true, f.unread
		}
		properties[f.name] = s
		if f.required {
			required = append(required, f.name)
		}
	}
	out := schema{"type": []string{"object", "null"}, "properties": properties, "additionalProperties": p.open}
	if len(required) > 0 {
		out["required"] = required
	}
	return out
}

// fromVariable is any value that has a ${VAR} in it: what it becomes is known
// when the file is loaded.
var fromVariable = schema{"type": "string", "pattern": `\$\{`}

func (f *field) schema(t reflect.Type) schema {
	limits := func(s schema) schema {
		s["minimum"], s["maximum"] = f.min, f.max
		return schema{"anyOf": []schema{s, fromVariable}}
	}
	switch {
	case t == durationType:
		s := limits(schema{"type": "number"})
		s["description"] = "seconds"
		return s
	case t.Kind() == reflect.Bool:
		return schema{"anyOf": []schema{{"type": "boolean"}, {"type": "string", "pattern": anyCase("yes", "no", "on", "off")}, fromVariable}}
	case t.Kind() == reflect.Int:
		return limits(schema{"type": "integer"})
	case t.Kind() == reflect.Float64:
		return limits(schema{"type": "number"})
	case f.enum != nil:
		return schema{"anyOf": []schema{{"enum": f.enum}, {"type": "string", "pattern": anyCase(f.enum...)}, fromVariable}}
	case f.scalar:
		return schema{"type": []string{"string", "number", "boolean", "null"}}
	case f.required:
		return schema{"type": "string"}
	}
	return schema{"type": []string{"string", "null"}}
}

// defaultValue is the default as JSON has it.
func (f *field) defaultValue() any {
	switch k := f.kind.Kind(); {
	case k == reflect.Slice:
		return strings.Split(f.def, "|")
	case k == reflect.Bool:
		return f.def == "true"
	case k == reflect.Int, k == reflect.Int64, k == reflect.Float64:
		x, err := strconv.ParseFloat(f.def, 64)
		if err != nil || math.IsNaN(x) {
			panic(fmt.Sprintf("config: default of %s: %v", f.name, err)) // found by the first test
		}
		return x
	}
	return f.def
}

// anyCase is a pattern for words in upper and lower case; JSON Schema has no
// flag for that.
func anyCase(words ...string) string {
	var b strings.Builder
	for i, word := range words {
		if i > 0 {
			b.WriteByte('|')
		}
		for _, r := range word {
			if upper, lower := unicode.ToUpper(r), unicode.ToLower(r); upper != lower {
				fmt.Fprintf(&b, "[%c%c]", upper, lower)
			} else {
				b.WriteRune(r)
			}
		}
	}
	return "^(?:" + b.String() + ")$"
}

func (m *serverMap) schema(g *schemas) schema {
	group := schema{"properties": schema{"mode": schema{"type": "string", "pattern": anyCase("group")}}, "required": []string{"mode"}}
	return schema{
		"type":          []string{"object", "null"},
		"propertyNames": schema{"pattern": "^[A-Za-z0-9_-]{1,64}$"},
		"additionalProperties": schema{
			"type": "object",
			"if":   group, "then": g.ref(reflect.TypeFor[Group]()), "else": g.ref(reflect.TypeFor[Server]()),
		},
	}
}

func (o *Opaque) schema(*schemas) schema { return schema{} }

func (t *Tools) schema(g *schemas) schema {
	tool := schema{
		"type": "object", "required": []string{"name"},
		"properties": schema{"name": schema{"type": "string", "minLength": 1}, "inputSchema": schema{"type": "object"}},
	}
	return schema{"anyOf": []schema{{"type": "array", "items": tool}, g.ref(reflect.TypeFor[ToolPolicy]())}}
}
