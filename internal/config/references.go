package config

import (
	"strconv"
	"strings"
)

// references writes secrets as ${VAR} and remembers which variables the text
// then needs.
type references struct {
	needed map[string]Variable
	// taken has every name the configuration refers to by itself: a name that
	// is made up must not be one of them.
	taken map[string]bool
	made  map[string]string // path.id → name
}

func newReferences(c *Config) *references {
	r := &references{needed: make(map[string]Variable), taken: make(map[string]bool), made: make(map[string]string)}
	for _, from := range c.all.origins {
		for _, m := range reference.FindAllStringSubmatch(from.written, -1) {
			r.taken[m[1]] = true
		}
	}
	return r
}

// secret keeps a reference, without its default, which could be the secret
// itself; any other value is replaced by a reference to a new name.
func (r *references) secret(p *path, _, written string) string {
	if m := wholeReference.FindStringSubmatch(written); m != nil {
		r.need(m[2], p, false)
		return m[1] + "${" + m[2] + "}"
	}
	name := r.newName(p)
	r.need(name, p, true)
	return "${" + name + "}"
}

func (r *references) reference(p *path, written string) {
	for _, m := range reference.FindAllStringSubmatch(written, -1) {
		escaped := strings.HasPrefix(m[0], "$${")
		if withDefault := strings.Contains(m[0], ":-"); m[1] != "" && !escaped && !withDefault {
			r.need(m[1], p, false)
		}
	}
}

func (r *references) need(name string, p *path, made bool) {
	if _, ok := r.needed[name]; !ok {
		r.needed[name] = Variable{Name: name, Path: p.String(), Made: made}
	}
}

// newName is made of the keys: mcp_servers.math.env.TOKEN gives MATH_TOKEN.
func (r *references) newName(p *path) string {
	id := p.id()
	if name := r.made[id]; name != "" {
		return name
	}
	base := variableName(p)
	name := base
	for n := 2; r.taken[name]; n++ {
		name = base + "_" + strconv.Itoa(n)
	}
	r.taken[name] = true
	r.made[id] = name
	return name
}

// maxVariable bounds a name that is made up.
const maxVariable = 100

func variableName(p *path) string {
	var words []string
	for q := p; q != nil; q = q.parent {
		switch {
		case q.index >= 0:
			words = append(words, strconv.Itoa(q.index+1))
		case q.key == "mcp_servers" && q.parent == nil, q.key == "env", q.key == "headers":
		default:
			words = append(words, q.key)
		}
	}
	var b strings.Builder
	for i := len(words) - 1; i >= 0; i-- {
		if b.Len() > 0 {
			b.WriteByte('_')
		}
		for _, c := range []byte(strings.ToUpper(words[i])) {
			if c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' {
				b.WriteByte(c)
			} else {
				b.WriteByte('_')
			}
		}
	}
	name := b.String()
	if len(name) > maxVariable {
		name = name[:maxVariable]
	}
	if name == "" || name[0] >= '0' && name[0] <= '9' {
		name = "_" + name
	}
	return name
}
