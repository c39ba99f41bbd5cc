package redact

import (
	"cmp"
	"encoding/json"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"
)

// minSecret is the shortest value that is looked for in text: anything shorter
// is no secret and would hide every other word.
const minSecret = 4

// Redactor knows the secrets of one server besides the forms that all secrets
// have. It is immutable and safe for concurrent use; nil knows only the forms.
type Redactor struct {
	values []string // longest first
	whole  *strings.Replacer
}

// Add returns a redactor that also knows the secrets among a command's
// arguments and in an environment: values under sensitive names, and values
// that look like secrets wherever they stand.
func (r *Redactor) Add(command []string, env map[string]string) *Redactor {
	var values []string
	if r != nil {
		values = slices.Clone(r.values)
	}
	for name, value := range env {
		if Sensitive(name) || LooksSecret(value) {
			values = appendForms(values, value)
		}
		values = appendAddress(values, value)
	}
	eachArgument(command, func(arg, _, secret string) {
		if LooksSecret(arg) {
			secret = arg
		}
		values = appendForms(values, secret)
		values = appendAddress(values, arg)
	})
	slices.SortFunc(values, func(a, b string) int {
		return cmp.Or(cmp.Compare(len(b), len(a)), strings.Compare(a, b))
	})
	values = slices.Compact(values)
	pairs := make([]string, 0, 2*len(values))
	for _, v := range values {
		pairs = append(pairs, v, Mark)
	}
	return &Redactor{values: values, whole: strings.NewReplacer(pairs...)}
}

// appendForms adds a secret in the forms it may be printed in: as it is, as in
// JSON and URLs, and each line of it, since stderr is read by lines.
func appendForms(values []string, secret string) []string {
	lines := strings.FieldsFunc(secret, func(r rune) bool { return r == '\n' || r == '\r' })
	if len(lines) == 1 {
		lines = nil
	}
	for _, v := range append(lines, secret) {
		if len(v) < minSecret {
			continue
		}
		values = append(values, v)
		if quoted, err := json.Marshal(v); err == nil {
			values = append(values, string(quoted[1:len(quoted)-1]))
		}
		values = append(values, url.QueryEscape(v), url.PathEscape(v))
	}
	return values
}

// appendAddress adds the secrets of a URL: who may use it, and what in its query
// has a sensitive name or looks like a secret.
func appendAddress(values []string, raw string) []string {
	values = appendForms(values, userinfo(raw))
	_, rest, ok := strings.Cut(raw, "://")
	if !ok {
		return values
	}
	_, query, _ := strings.Cut(rest, "?")
	query, _, _ = strings.Cut(query, "#")
	for pair := range strings.SplitSeq(query, "&") {
		name, value, _ := strings.Cut(pair, "=")
		plain, err := url.QueryUnescape(value)
		if err != nil {
			plain = value
		}
		if Sensitive(name) || LooksSecret(plain) {
			values = appendForms(appendForms(values, plain), value)
		}
	}
	return values
}

// userinfo is the password of a URL, or its user if that is all there is.
func userinfo(raw string) string {
	_, rest, ok := strings.Cut(raw, "://")
	if !ok {
		return ""
	}
	if end := strings.IndexAny(rest, "/?# \t"); end >= 0 {
		rest = rest[:end]
	}
	at := strings.LastIndexByte(rest, '@')
	if at < 0 {
		return ""
	}
	if _, password, ok := strings.Cut(rest[:at], ":"); ok && password != "" {
		return password
	}
	return rest[:at]
}

// Text returns the text without secrets.
func (r *Redactor) Text(text string) string {
	if r != nil && len(r.values) > 0 {
		text = r.whole.Replace(text)
	}
	return forms(text)
}

// window is how many times the wanted length is looked at: what a redaction
// takes out makes room for more.
const window = 16

// CutMark ends what Excerpt cut.
const CutMark = "…"

// Excerpt returns the beginning of the text without secrets, at most limit
// bytes and CutMark if it cut there. more says that the text was itself cut off, and
// so may end within a secret.
func (r *Redactor) Excerpt(text string, limit int, more bool) string {
	if len(text) > window*limit {
		text, more = text[:window*limit], true
	}
	if more {
		text = r.cutSecretEnd(text)
	}
	text = r.Text(strings.ToValidUTF8(text, "\uFFFD"))
	if len(text) <= limit {
		return text
	}
	end := limit
	for end > 0 && !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end] + CutMark
}

// cutSecretEnd hides the beginning of a secret that the end of the text cuts.
func (r *Redactor) cutSecretEnd(text string) string {
	if r == nil {
		return text
	}
	for _, v := range r.values {
		for n := min(len(v)-1, len(text)); n >= minSecret; n-- {
			if strings.HasSuffix(text, v[:n]) {
				return text[:len(text)-n] + Mark
			}
		}
	}
	return text
}
