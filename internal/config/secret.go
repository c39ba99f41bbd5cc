package config

import (
	"net/url"
	"strings"
)

// secretWords in a key make its value a secret: the contract's four (reference
// section 6.6) and three more.
var secretWords = []string{"secret", "key", "token", "password", "passwd", "credential", "authorization"}

func secretKey(key string) bool {
	key = strings.ToLower(key)
	for _, word := range secretWords {
		if strings.Contains(key, word) {
			return true
		}
	}
	return false
}

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
		if secretKey(name) {
			return true
		}
	}
	return false
}

// stars stands for a secret that is not shown.
const stars = "***"

// starred writes stars for every secret, for readers who may not know it.
type starred struct{}

func (starred) secret(*path, string, string) string { return stars }
func (starred) reference(*path, string)             {}
