package config

import (
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"
)

// key is one key of the schema with the way to write it into a file.
type key struct {
	path  string
	field *field
	write func(value string) string // a file in which the key has this value
}

// allKeys walks the schema from the section types, so that no key can be
// left out of the tables below.
func allKeys() []key {
	var keys []key
	var walk func(t reflect.Type, prefix string, wrap func(body string) string)
	walk = func(t reflect.Type, prefix string, wrap func(string) string) {
		for _, f := range planOf(t).fields {
			needs := required(planOf(t), f.name)
			write := func(value string) string { return wrap(needs + f.name + ": " + value) }
			keys = append(keys, key{path: prefix + f.name, field: f, write: write})
			inside := func(body string) string { return write("{" + body + "}") }
			switch ft := f.kind; {
			case reflect.PointerTo(ft).Implements(reflect.TypeFor[nodeDecoder]()):
			case ft.Kind() == reflect.Struct:
				walk(ft, prefix+f.name+".", inside)
			case ft.Kind() == reflect.Slice && ft.Elem().Kind() == reflect.Struct:
				walk(ft.Elem(), prefix+f.name+"[0].", func(body string) string { return write("[{" + body + "}]") })
			case ft.Kind() == reflect.Map && ft.Elem().Kind() == reflect.Struct:
				walk(ft.Elem(), prefix+f.name+".x.", func(body string) string { return write("{x: {" + body + "}}") })
			}
		}
	}
	walk(reflect.TypeFor[file](), "", func(body string) string {
		if strings.HasPrefix(body, "mcp_servers:") {
			return body
		}
		return "{mcp_servers: {s: {command: [x]}}, " + body + "}"
	})
	walk(reflect.TypeFor[Server](), "mcp_servers.s.", func(body string) string {
		if !strings.Contains(body, "command:") {
			body = "command: [x], " + body
		}
		return "mcp_servers: {s: {" + body + "}}"
	})
	walk(reflect.TypeFor[Group](), "mcp_servers.g.", func(body string) string {
		if !strings.HasPrefix(body, "mode:") {
			body = "mode: group, " + body
		}
		if !strings.Contains(body, "members:") {
			body += ", members: [{id: s}]" // whom canary and pins may name
		}
		return "mcp_servers: {s: {command: [x]}, g: {" + body + "}}"
	})
	return keys
}

// required writes the other keys a section cannot do without.
func required(p *plan, but string) string {
	var b strings.Builder
	for _, f := range p.fields {
		if !f.required || f.name == but {
			continue
		}
		value := "s"
		if f.enum != nil {
			value = f.enum[0]
		}
		fmt.Fprintf(&b, "%s: %s, ", f.name, value)
	}
	return b.String()
}

// number writes a bound; durations and fractions take a half on top.
func (k key) number(x float64) string {
	if k.field.kind.Kind() == reflect.Int {
		return fmt.Sprintf("%d", int64(x))
	}
	return fmt.Sprintf("%f", x)
}

func (k key) isNumber() bool {
	kind := k.field.kind.Kind()
	return kind == reflect.Int || kind == reflect.Int64 || kind == reflect.Float64
}

// rightValues are accepted by the key, wrongValues refused with one fault.
func (k key) rightValues() []string {
	f := k.field
	switch {
	case reflect.PointerTo(f.kind).Implements(reflect.TypeFor[nodeDecoder]()):
		return nil // tools and opaque values have tests of their own
	case f.enum != nil:
		if strings.HasPrefix(k.path, "mcp_servers.") && len(f.enum) == 6 {
			return []string{"subprocess", "SUBPROCESS"} // the others need other keys
		}
		return append([]string{strings.ToUpper(f.enum[0])}, f.enum...)
	case f.kind.Kind() == reflect.Bool:
		return []string{"true", "false", "yes", "No", "on", "off"}
	case k.isNumber():
		return []string{k.number(f.min), k.number(math.Min(f.max, math.MaxInt32)), k.number((f.min + math.Min(f.max, 1e6)) / 2)}
	case f.kind.Kind() == reflect.String && f.required:
		return []string{"s"}
	case strings.HasSuffix(k.path, ".memory"):
		return []string{"512m", "1g", "8388608", ""}
	case strings.HasSuffix(k.path, ".cpu"):
		return []string{"0.5", `"2"`, ""}
	case strings.HasSuffix(k.path, ".memory_budget"):
		return []string{"4g", "80%", `"2147483648"`, "0", ""}
	case f.kind.Kind() == reflect.String:
		return []string{"https://h/x", `"1"`, ""}
	case f.name == "depends_on":
		return []string{"[]"} // other values name servers: dependencies_test.go
	case f.kind == reflect.TypeFor[[]string]():
		return []string{"[a, b]", `["1"]`}
	case strings.HasSuffix(k.path, "g.pins"):
		return []string{"{A: s}", "{}", ""}
	case f.kind == reflect.TypeFor[map[string]string]():
		return []string{"{A: b}", "{}", ""}
	}
	return nil
}

func (k key) wrongValues() []string {
	f := k.field
	wrong := []string{}
	switch {
	case strings.HasSuffix(k.path, "mcp_servers"):
		return []string{"[a]", "text", "3"}
	case reflect.PointerTo(f.kind).Implements(reflect.TypeFor[nodeDecoder]()):
		return nil
	case strings.HasSuffix(k.path, "g.mode"):
		return nil // any other word makes it a server
	case f.enum != nil:
		wrong = append(wrong, "nonsense", "3", "[]", "{}", "", `""`)
	case f.kind.Kind() == reflect.Bool:
		wrong = append(wrong, "1", "maybe", `"true"`, "[]", "{}", "")
	case k.isNumber():
		wrong = append(wrong, "text", `"5"`, "true", "[]", "{}", "", ".nan", ".inf", "1e400", "99999999999999999999")
		wrong = append(wrong, k.number(f.min-1), k.number(f.max+1))
		if f.kind.Kind() == reflect.Int {
			wrong = append(wrong, "1.5")
		}
	case f.kind.Kind() == reflect.String:
		wrong = append(wrong, "[]", "{}", `"\0"`)
		if !f.scalar {
			wrong = append(wrong, "3", "true", "1.5")
		}
		if f.required {
			wrong = append(wrong, "")
		}
	case f.kind.Kind() == reflect.Slice && f.kind.Elem().Kind() == reflect.String:
		wrong = append(wrong, "text", "3", "{}", "[[]]", "[{}]", "[~]")
		if !f.scalar {
			wrong = append(wrong, "[1]", "[true]")
		}
	case f.kind.Kind() == reflect.Slice:
		wrong = append(wrong, "text", "3", "{}", "[text]", "[~]")
	default:
		wrong = append(wrong, "text", "3", "[]", "true")
		if f.kind.Kind() == reflect.Map {
			wrong = append(wrong, "{A: []}", "{A: ~}")
		}
	}
	return wrong
}

func TestEveryKeyTakesItsRightValues(t *testing.T) {
	t.Parallel()
	n := 0
	for _, k := range allKeys() {
		for _, value := range k.rightValues() {
			n++
			if faults := faultsOf(t, k.write(value), nil); len(faults) != 0 {
				t.Errorf("%s: %s: %v", k.path, value, faults)
			}
		}
	}
	if n < 300 {
		t.Errorf("only %d values tried", n)
	}
}

func TestEveryKeyRefusesWrongTypesAndValuesOutOfRange(t *testing.T) {
	t.Parallel()
	n := 0
	for _, k := range allKeys() {
		for _, value := range k.wrongValues() {
			n++
			faults := faultsOf(t, k.write(value), nil)
			if len(faults) != 1 {
				t.Errorf("%s: %s: got %d faults, want 1: %v", k.path, value, len(faults), faults)
				continue
			}
			if f := faults[0]; !strings.HasPrefix(f.Path, k.path) || f.Line != 1 || f.Column < 2 {
				t.Errorf("%s: %s: got %v", k.path, value, f)
			}
		}
	}
	if n < 800 {
		t.Errorf("only %d values tried", n)
	}
}

func TestEveryKeyIsReadWhereItIsMisspelt(t *testing.T) {
	t.Parallel()
	for _, k := range allKeys() {
		name := k.field.name
		if strings.HasPrefix(name, "__") || len(name) < 4 {
			continue
		}
		text := strings.Replace(k.write("{}"), name+": {}", name[:1]+name[2:]+": {}", 1)
		_, err := Parse("f", []byte(text), environment(map[string]string{StrictVariable: "1"}))
		if strings.Contains(k.path, "storage.") || strings.Contains(k.path, "sources[0]") ||
			strings.Contains(k.path, "audit.") || strings.Contains(k.path, "s.auth.") || strings.Contains(k.path, "members[0].auth.") {
			continue // sections with keys of others
		}
		if err == nil || !strings.Contains(err.Error(), "did you mean "+name+"?") {
			t.Errorf("%s: got %v\n%s", k.path, err, text)
		}
	}
}

// TestSchemaIsTheContract pins every key with its type, default and bounds.
func TestSchemaIsTheContract(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	for _, k := range allKeys() {
		f := k.field
		fmt.Fprintf(&b, "%s: ", k.path)
		if reflect.PointerTo(f.kind).Implements(reflect.TypeFor[nodeDecoder]()) {
			b.WriteString("any")
		} else {
			b.WriteString(f.expectation(f.kind))
		}
		if f.def != "" {
			fmt.Fprintf(&b, ", default %s", f.def)
		}
		if f.required {
			b.WriteString(", required")
		}
		if f.unread != "" {
			b.WriteString(", unread")
		}
		b.WriteByte('\n')
	}
	golden(t, "schema.golden", b.String())
}
