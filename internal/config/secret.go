package config

import (
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/aabb9013/hangar/internal/redact"
)

// secretPlace are the keys below which people put secrets under any name.
func secretPlace(key string) bool {
	words := strings.FieldsFunc(strings.ToLower(key), func(r rune) bool { return r == '_' || r == '-' })
	return slices.ContainsFunc(words, func(word string) bool {
		switch word {
		case "env", "environment", "headers", "auth", "webhook": // the address of a hook lets anybody in
			return true
		}
		return false
	})
}

// prose reports whether a text at p is written for people, in whose texts
// "key: value" is no secret.
func prose(p *path) bool { return strings.Contains(strings.ToLower(p.key), "description") }

// userAndPassword is an address without a scheme, as docker and curl take them.
var userAndPassword = regexp.MustCompile(`^[^\s/:@]+:[^\s/@]+@[^\s@]+$`)

// secretURL reports whether a text is a URL with a user or password in it, or
// with a parameter that is a secret by its name.
func secretURL(text string) bool {
	if !strings.Contains(text, "://") {
		return userAndPassword.MatchString(text) && !strings.Contains(text, "@sha256:")
	}
	u, err := url.Parse(text)
	if err != nil {
		return strings.ContainsAny(text, "@?")
	}
	if u.User != nil {
		return true
	}
	for name := range u.Query() {
		if redact.Sensitive(name) {
			return true
		}
	}
	return false
}

// writtenOut is what somebody wrote out in a value: the value, or of one with
// references what stands beside them. A default is written out too.
func writtenOut(value, written string) string {
	if written == "" || strings.Contains(written, ":-") {
		return value
	}
	return reference.ReplaceAllLiteralString(written, "")
}

// starred writes redact.Mark for every secret, for readers who may not know it.
type starred struct{}

func (starred) secret(*path, string, string) string { return redact.Mark }
func (starred) reference(*path, string)             {}
