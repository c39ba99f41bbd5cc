package redact

import (
	"slices"
	"strings"
)

// HoldsSecret tells whether something in a text has the form of a secret: a
// value after a sensitive name as in headers, assignments and JSON, a bearer
// token, the user of a URL, a token of a known service. It is meant for words
// of commands; in prose every "key: value" counts.
func HoldsSecret(text string) bool { return forms(text) != text }

// HoldsToken tells whether a text holds a token of a known service. It is sure
// enough for prose.
func HoldsToken(text string) bool {
	words := strings.FieldsFunc(text, func(r rune) bool { return r >= 0x80 || !isName(byte(r)) })
	return slices.ContainsFunc(words, hasTokenForm)
}
