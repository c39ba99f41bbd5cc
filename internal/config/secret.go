package config

import (
	"net/url"
	"strings"

	"github.com/aabb9013/hangar/internal/redact"
)

// secretPlace are the keys below which people put secrets under any name.
func secretPlace(key string) bool {
	switch strings.ToLower(key) {
	case "env", "headers", "auth":
		return true
	}
	return false
}

// secretURL reports whether a text is a URL with a user or password in it, or
// with a parameter that is a secret by its name.
func secretURL(text string) bool {
	if !strings.Contains(text, "://") {
		return false
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
