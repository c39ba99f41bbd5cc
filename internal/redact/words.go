package redact

import "strings"

// word handles a word outside of JSON keys: a sensitive name with its value, a
// scheme of HTTP authentication, or a token.
func (s *scanner) word() {
	start, end := s.pos, s.pos
	for end < len(s.in) && isName(s.in[end]) {
		end++
	}
	word := s.in[start:end]
	switch {
	case strings.EqualFold(strings.TrimLeft(word, "-."), "bearer"):
		s.take(end)
		s.token()
	case hasTokenForm(word):
		s.hide(end)
	case Sensitive(word) && !isErrorName(word):
		s.take(end)
		s.assigned(strings.HasPrefix(word, "-"))
	default:
		s.take(end)
	}
}

// isErrorName: what follows Python's KeyError is what was looked for, and why
// the server crashed.
func isErrorName(word string) bool {
	word = strings.ToLower(word)
	return strings.HasSuffix(word, "error") || strings.HasSuffix(word, "exception")
}

// token hides the word after an authentication scheme.
func (s *scanner) token() {
	begin := s.pos
	for begin < len(s.in) && isSpace(s.in[begin]) {
		begin++
	}
	end := begin
	for end < len(s.in) && isToken(s.in[end]) {
		end++
	}
	if begin > s.pos && end > begin {
		s.take(begin)
		s.hide(end)
	}
}

// assigned hides the value after a sensitive name: name=value, name: value to
// the end of its clause, or --name value. The name may stand in quotes, also in
// those of JSON within a JSON string.
func (s *scanner) assigned(flag bool) {
	at := s.pos
	for at < len(s.in) && strings.IndexByte("\\\"'`]", s.in[at]) >= 0 {
		at++
	}
	spaced := at
	for at < len(s.in) && isSpace(s.in[at]) {
		at++
	}
	if at >= len(s.in) {
		return
	}
	switch c := s.in[at]; {
	case c == '=' || c == ':':
		at++
		if at < len(s.in) && strings.IndexByte("=>", s.in[at]) >= 0 { // == and =>
			at++
		}
		for at < len(s.in) && isSpace(s.in[at]) {
			at++
		}
		s.take(at)
		s.plainValue(c == ':')
	case flag && at > spaced && c != '-':
		s.take(at)
		s.plainValue(false)
	}
}

// plainValue hides a value: a quoted or bracketed one to its end, another to
// the end of its word, or of its clause.
func (s *scanner) plainValue(clause bool) {
	if s.pos >= len(s.in) {
		return
	}
	rest := s.in[s.pos:]
	escapes := len(rest) - len(strings.TrimLeft(rest, `\`))
	switch quote := rest[min(escapes, len(rest)-1)]; {
	case escapes > 0 && quote == '"': // JSON within a JSON string
		closing := rest[:escapes+1]
		if end := strings.Index(rest[len(closing):], closing); end >= 0 {
			s.hide(s.pos + end + 2*len(closing))
			return
		}
		s.hide(len(s.in))
	case quote == '"' || quote == '{' || quote == '[':
		s.hide(valueEnd(s.in, s.pos))
	case quote == '\'' || quote == '`':
		if end := strings.IndexByte(rest[1:], quote); end >= 0 {
			s.hide(s.pos + end + 2)
			return
		}
		s.hide(len(s.in))
	default:
		stop := " \t\r\n,;&)}]\"'"
		if clause {
			stop = "\r\n,;)}]\"'"
		}
		end := strings.IndexAny(rest, stop)
		if end < 0 {
			end = len(rest)
		}
		scheme, _, ok := strings.Cut(rest[:end], " ")
		if !ok && isScheme(scheme) && end < len(rest) && isSpace(rest[end]) {
			s.take(s.pos + end)
			s.token()
			return
		}
		s.hide(s.pos + end)
	}
}

func isScheme(word string) bool {
	for _, scheme := range []string{"bearer", "basic", "token", "digest", "apikey"} {
		if strings.EqualFold(word, scheme) {
			return true
		}
	}
	return false
}
