package config

import (
	"regexp"
	"strings"

	"gopkg.in/yaml.v3"
)

// reference is ${VAR} or ${VAR:-default}, and $${ for a literal ${. The
// default runs to the first closing brace, as in the reference.
var reference = regexp.MustCompile(`\$?\$\{(?:([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\})?`)

// interpolate replaces the references of one scalar, once: what a variable
// holds is text and is never read again, neither for ${ nor as YAML structure.
// The default counts when the variable is unset, not when it is empty. It
// reports false when the variables make more text than a file may have.
func (t *tree) interpolate(n *yaml.Node, p *path) bool {
	if !strings.Contains(n.Value, "${") {
		return true
	}
	var out strings.Builder
	text, from, changed := n.Value, 0, false
	whole := false // the scalar is one reference and nothing else
	for _, m := range reference.FindAllStringSubmatchIndex(text, -1) {
		out.WriteString(text[from:m[0]])
		from = m[1]
		found := text[m[0]:m[1]]
		if strings.HasPrefix(found, "$${") {
			// The escape covers only these three characters; what follows
			// in the match is literal.
			out.WriteString(found[1:])
			changed = true
			continue
		}
		if m[2] < 0 {
			t.c.warn(positionOf(n), p, "this ${ does not begin a ${VARIABLE} and stays as it is written; write $${ if that is meant")
			out.WriteString(found)
			continue
		}
		if m[4] >= 0 && strings.Contains(text[m[4]:m[5]], "${") {
			t.c.warn(positionOf(n), p, "the default of ${%s} ends at the first }; a variable in it is not replaced, and what follows is text", clip(text[m[2]:m[3]], 80))
		}
		value, ok := t.lookup(text, m)
		if !ok {
			t.c.fault(positionOf(n), p, "the environment variable %s is not set; set it, or write ${%s:-default}", clip(text[m[2]:m[3]], 80), clip(text[m[2]:m[3]], 80))
			t.broken[n] = true
		}
		if t.added += len(value); t.added > maxExpanded {
			t.c.fault(positionOf(n), p, "the variables of the file make more than %d bytes", maxExpanded)
			return false
		}
		out.WriteString(value)
		changed = true
		whole = m[0] == 0 && m[1] == len(text)
		t.fromEnv[n] = true
	}
	if !changed {
		return true
	}
	out.WriteString(text[from:])
	if t.fromEnv[n] {
		t.written[n] = text
	}
	n.Value = out.String()
	if whole && n.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle|yaml.LiteralStyle|yaml.FoldedStyle|yaml.TaggedStyle) == 0 {
		n.Tag = "" // ShortTag now resolves the new text: a port becomes a number
	}
	return true
}

func (t *tree) lookup(text string, m []int) (string, bool) {
	if t.getenv != nil {
		if value, ok := t.getenv(text[m[2]:m[3]]); ok {
			return value, true
		}
	}
	if m[4] < 0 {
		return "", false
	}
	return text[m[4]:m[5]], true
}
