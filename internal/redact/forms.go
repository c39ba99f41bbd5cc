package redact

import (
	"encoding/json"
	"strings"
)

// prefixes begin tokens of well-known services.
var prefixes = []string{
	"sk-", "sk_", "pk_", "rk_", "ghp_", "gho_", "ghs_", "ghu_", "github_pat_", "glpat-", "xoxb-", "xoxp-", "xoxa-",
	"AKIA", "ASIA", "AIza", "eyJ", "hf_", "npm_", "pypi-", "dop_v1_", "shpat_", "ya29.",
}

// Lengths from which a word counts as a token.
const (
	prefixedToken = 16
	randomToken   = 20
)

// LooksSecret tells whether a whole value has the form of a secret: a token of
// a known service, or one long word of mixed letters and digits that is no
// path or address.
func LooksSecret(value string) bool {
	if hasTokenForm(value) {
		return true
	}
	if len(value) < randomToken || strings.ContainsAny(value, "/\\. \t\n:,") {
		return false
	}
	return strings.ContainsAny(value, "0123456789") && strings.ContainsFunc(value, isLetter)
}

func hasTokenForm(word string) bool {
	if len(word) < prefixedToken {
		return false
	}
	for _, p := range prefixes {
		if strings.HasPrefix(word, p) {
			return true
		}
	}
	return false
}

func isLetter(r rune) bool { return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' }

func isName(c byte) bool {
	return isLetter(rune(c)) || c >= '0' && c <= '9' || c == '_' || c == '-' || c == '.'
}

// isToken are the characters of bearer tokens and of base64.
func isToken(c byte) bool { return isName(c) || strings.IndexByte("~+/=", c) >= 0 }

func isSpace(c byte) bool { return c == ' ' || c == '\t' }

// scanner walks over a text once. What it has copied to out holds no secret.
type scanner struct {
	in  string
	pos int
	out strings.Builder
}

// forms hides what has the form of a secret: values of sensitive names in
// JSON, assignments, headers and flags, bearer tokens, the user of a URL, and
// tokens of known services.
func forms(text string) string {
	s := &scanner{in: text}
	s.out.Grow(len(text))
	for s.pos < len(s.in) {
		switch c := s.in[s.pos]; {
		case c == '"' && s.jsonKey():
		case strings.HasPrefix(s.in[s.pos:], "://"):
			s.address()
		case isName(c):
			s.word()
		default:
			s.take(s.pos + 1)
		}
	}
	return s.out.String()
}

// take copies the text up to end.
func (s *scanner) take(end int) {
	s.out.WriteString(s.in[s.pos:end])
	s.pos = end
}

// hide skips the text up to end.
func (s *scanner) hide(end int) {
	if s.pos < end {
		s.out.WriteString(Mark)
		s.pos = end
	}
}

// jsonKey handles a JSON member with a sensitive name; false if there is none
// here.
func (s *scanner) jsonKey() bool {
	end := stringEnd(s.in, s.pos)
	colon := skipSpace(s.in, end)
	if colon >= len(s.in) || s.in[colon] != ':' {
		return false
	}
	name := s.in[s.pos+1 : end-1]
	if strings.IndexByte(name, '\\') >= 0 {
		var plain string
		if json.Unmarshal([]byte(s.in[s.pos:end]), &plain) == nil {
			name = plain
		}
	}
	if !Sensitive(name) {
		return false
	}
	s.take(skipSpace(s.in, colon+1))
	s.jsonValue()
	return true
}

func (s *scanner) jsonValue() {
	if s.pos >= len(s.in) {
		return
	}
	switch s.in[s.pos] {
	case '"', '{', '[':
		s.out.WriteString(`"` + Mark + `"`)
		s.pos = valueEnd(s.in, s.pos)
	default:
		end := s.pos
		for end < len(s.in) && !strings.ContainsRune(",}] \t\r\n", rune(s.in[end])) {
			end++
		}
		s.hide(end)
	}
}

// stringEnd is the position behind the JSON string that begins at start, or
// the end of the text.
func stringEnd(in string, start int) int {
	for i := start + 1; i < len(in); i++ {
		switch in[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return len(in)
}

// valueEnd is the position behind the JSON string, object or array that begins
// at start, or the end of the text.
func valueEnd(in string, start int) int {
	depth := 0
	for i := start; i < len(in); i++ {
		switch in[i] {
		case '"':
			i = stringEnd(in, i) - 1
		case '{', '[':
			depth++
		case '}', ']':
			depth--
		}
		if depth <= 0 {
			return i + 1
		}
	}
	return len(in)
}

func skipSpace(in string, i int) int {
	for i < len(in) && (isSpace(in[i]) || in[i] == '\n' || in[i] == '\r') {
		i++
	}
	return i
}

// address handles what follows a scheme: the user before an @.
func (s *scanner) address() {
	s.take(s.pos + len("://"))
	end := s.pos
	for end < len(s.in) && strings.IndexByte("/?# \t\r\n\"'<>", s.in[end]) < 0 {
		end++
	}
	if at := strings.LastIndexByte(s.in[s.pos:end], '@'); at > 0 {
		s.hide(s.pos + at)
	}
}
