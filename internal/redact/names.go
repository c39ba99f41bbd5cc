package redact

import (
	"net/url"
	"strings"
)

// Mark stands wherever a secret was.
const Mark = "***"

var words = []string{"secret", "key", "token", "password", "passwd", "passphrase", "credential", "authorization", "cookie"}

// Sensitive tells whether what stands under this name is a secret: the
// contract's four words (reference section 6.6) and some more, and pass where it
// stands as a word at the end, as in DB_PASS. It is the rule of configurations, too.
func Sensitive(name string) bool {
	name = strings.ToLower(name)
	if before, ok := strings.CutSuffix(name, "pass"); ok && strings.TrimRight(before, "_-") != before || name == "pass" {
		return true
	}
	for _, word := range words {
		if strings.Contains(name, word) {
			return true
		}
	}
	return false
}

// Command returns the arguments without the values of --api-key=x, --api-key x
// and TOKEN=x, without the credentials of URLs and without what else in a word
// has the form of a secret, as in headers.
func Command(command []string) []string {
	out := make([]string, 0, len(command))
	eachArgument(command, func(arg, shown, _ string) { out = append(out, shown) })
	return out
}

// eachArgument yields every argument, how it may be shown, and the secret that
// it holds as a whole or behind its =, empty if none.
func eachArgument(command []string, yield func(arg, shown, secret string)) {
	hideNext := false
	for _, arg := range command {
		name, value, assigned := strings.Cut(arg, "=")
		flag := strings.HasPrefix(arg, "-")
		shown, secret := arg, ""
		switch {
		case hideNext && (!flag || LooksSecret(arg)): // a token may begin with a dash
			shown, secret = Mark, arg
		case assigned && Sensitive(name) && value != "":
			shown, secret = name+"="+Mark, value
		case assigned && strings.Contains(value, "://") && !strings.Contains(name, "://"):
			shown = name + "=" + URL(value)
		case strings.Contains(arg, "://"):
			shown = URL(arg)
		default:
			shown = forms(arg)
		}
		hideNext = flag && !assigned && Sensitive(name)
		yield(arg, shown, secret)
	}
}

// URL hides user, password and the values of the query.
func URL(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		if strings.ContainsAny(raw, "@?") {
			return Mark
		}
		return raw
	}
	if u.User == nil && u.RawQuery == "" {
		return raw
	}
	if u.User != nil {
		u.User = url.User("redacted")
	}
	query := u.Query()
	for k := range query {
		query[k] = []string{Mark}
	}
	u.RawQuery = strings.ReplaceAll(query.Encode(), url.QueryEscape(Mark), Mark)
	return strings.Replace(u.String(), "//redacted@", "//"+Mark+"@", 1)
}
