package config

import (
	"math"
	"reflect"
	"strconv"
	"strings"
	"time"

	"gopkg.in/yaml.v3"
)

// maxShown bounds a value in the text of a fault.
const maxShown = 60

// scalar decodes text, numbers and truth values.
func (d *decoder) scalar(n *yaml.Node, v reflect.Value, f *field, p *path) bool {
	want := f.expectation(v.Type())
	if n.Kind != yaml.ScalarNode {
		return d.mismatch(n, p, want)
	}
	is := n // with the type it is used as
	if n.Style&yaml.TaggedStyle == 0 && wholeReference.MatchString(d.written[n]) {
		is = &yaml.Node{Kind: yaml.ScalarNode, Value: n.Value} // many put every ${VAR} in quotes
	}
	if v.Type() == durationType {
		seconds, ok := number(is)
		if !ok || !f.within(seconds) {
			return d.mismatch(n, p, want)
		}
		v.SetInt(int64(math.Round(seconds * float64(time.Second))))
		return true
	}
	switch v.Kind() {
	case reflect.Bool:
		b, ok := truth(is)
		if !ok {
			return d.mismatch(n, p, want)
		}
		v.SetBool(b)
	case reflect.Int:
		whole, ok := integer(is)
		if !ok || !f.within(float64(whole)) {
			return d.mismatch(n, p, want)
		}
		v.SetInt(whole)
	case reflect.Float64:
		x, ok := number(is)
		if !ok || !f.within(x) {
			return d.mismatch(n, p, want)
		}
		v.SetFloat(x)
	default:
		return d.text(n, v, f, p, want)
	}
	return true
}

// text takes what YAML calls text, whatever a variable holds, and in fields
// marked scalar also numbers and truth values as they are written.
func (d *decoder) text(n *yaml.Node, v reflect.Value, f *field, p *path, want string) bool {
	switch {
	case hasText(n) || d.fromEnv[n]:
	case isNull(n):
		if f.enum != nil || f.required {
			return d.mismatch(n, p, want)
		}
		return true // a key without a value is a key not set
	case !f.scalar:
		return d.mismatch(n, p, want)
	}
	text := n.Value
	if strings.ContainsRune(text, 0) {
		d.fault(positionOf(n), p, "must not have a NUL character in it")
		return false
	}
	if f.enum != nil {
		word, ok := f.word(text)
		if !ok {
			return d.mismatch(n, p, want)
		}
		text = word
	}
	v.SetString(text)
	return true
}

// word finds the allowed word, upper and lower case alike as long as no two
// words differ only in that.
func (f *field) word(text string) (string, bool) {
	for _, word := range f.enum {
		if strings.EqualFold(word, text) {
			return word, true
		}
	}
	return "", false
}

// within checks the bounds; NaN is in no range.
func (f *field) within(x float64) bool { return x >= f.min && x <= f.max }

func number(n *yaml.Node) (float64, bool) {
	if tag := n.ShortTag(); tag != "!!int" && tag != "!!float" {
		return 0, false
	}
	var x float64
	if len(n.Value) > 400 || n.Decode(&x) != nil {
		return 0, false
	}
	return x, true
}

func integer(n *yaml.Node) (int64, bool) {
	if n.ShortTag() != "!!int" {
		return 0, false
	}
	var x int64
	if len(n.Value) > 100 || n.Decode(&x) != nil {
		return 0, false
	}
	return x, true
}

// truth accepts the words of YAML 1.1 as well, which the reference's parser
// reads: yes, no, on, off.
func truth(n *yaml.Node) (value, ok bool) {
	switch n.ShortTag() {
	case "!!bool":
	case "!!str":
		if n.Style&^yaml.FlowStyle != 0 {
			return false, false
		}
	default:
		return false, false
	}
	switch strings.ToLower(n.Value) {
	case "true", "yes", "on":
		return true, true
	case "false", "no", "off":
		return false, true
	}
	return false, false
}

// mismatch tells what was expected and what is there. The value itself is
// shown only if it cannot be a secret. It reports false, for its callers to
// return.
func (d *decoder) mismatch(n *yaml.Node, p *path, want string) bool {
	found := nameOf(n)
	if n.Kind == yaml.ScalarNode && !isNull(n) && !d.fromEnv[n] && !p.quiet() {
		switch n.ShortTag() {
		case "!!int", "!!float", "!!bool":
			found = clip(n.Value, maxShown)
		default:
			found = "the text " + strconv.Quote(clip(n.Value, maxShown))
		}
	}
	d.fault(positionOf(n), p, "must be %s, found %s", want, found)
	return false
}
