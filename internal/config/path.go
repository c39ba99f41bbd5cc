package config

import (
	"strconv"
	"strings"
)

// path is the way from the top of the file to a value, kept as a list of
// steps: text is made of it only when there is a fault to tell.
type path struct {
	parent *path
	key    string
	index  int // of a list item, else -1
}

// maxPathKey bounds one key of a printed path.
const maxPathKey = 64

// quietWords mark keys below which no value is ever printed: the contract's
// four, and the keys in which people put credentials all the same.
var quietWords = []string{
	"secret", "key", "token", "password",
	"env", "header", "auth", "credential", "dsn", "url", "endpoint", "command", "args",
}

func (p *path) child(key string) *path {
	return &path{parent: p, key: key, index: -1}
}

func (p *path) item(i int) *path {
	return &path{parent: p, index: i}
}

// quiet reports whether no value at this path may be printed. The file as a
// whole is quiet too: it may be any file, named by mistake.
func (p *path) quiet() bool {
	for q := p; q != nil; q = q.parent {
		key := strings.ToLower(q.key)
		for _, word := range quietWords {
			if strings.Contains(key, word) {
				return true
			}
		}
	}
	return p == nil
}

// String is the dotted form: mcp_servers.math.args[2].
func (p *path) String() string {
	if p == nil {
		return ""
	}
	head := p.parent.String()
	switch {
	case p.index >= 0:
		return head + "[" + strconv.Itoa(p.index) + "]"
	case !plainKey(p.key):
		return head + "[" + strconv.Quote(clip(p.key, maxPathKey)) + "]"
	case head == "":
		return p.key
	}
	return head + "." + p.key
}

func plainKey(key string) bool {
	if len(key) > maxPathKey {
		return false
	}
	for i := 0; i < len(key); i++ {
		c := key[i]
		alnum := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !alnum && c != '_' && c != '-' && c != '<' {
			return false
		}
	}
	return true
}

// clip shortens text for a message, never inside a character.
func clip(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	for limit > 0 && s[limit]&0xC0 == 0x80 {
		limit--
	}
	return s[:limit] + "…"
}
