package config

import (
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// origin says where the value at a place of the file came from: the text with
// its ${VAR} as it was written, and what that gave. It holds only as long as
// the value is still that one.
type origin struct{ written, value string }

// origins has the values that came out of variables, by path.id.
type origins map[string]origin

// of returns the text that was written for the value at p, or "".
func (o origins) of(p *path, value string) string {
	if from, ok := o[p.id()]; ok && from.value == value {
		return from.written
	}
	return ""
}

// id is the path as a key of a map: unlike String it shortens nothing.
func (p *path) id() string {
	if p == nil {
		return ""
	}
	if p.index >= 0 {
		return p.parent.id() + "\x01" + strconv.Itoa(p.index)
	}
	return p.parent.id() + "\x00" + p.key
}

// wholeReference matches a value that is one ${VAR} and nothing else, save a
// scheme of authentication before it.
var wholeReference = regexp.MustCompile(`^((?i:bearer |basic |token )?)\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-[^}]*)?\}$`)

// textOf is a decoded scalar as the file would spell it.
func textOf(v reflect.Value) string {
	if v.Type() == durationType {
		return secondsOf(time.Duration(v.Int()))
	}
	switch v.Kind() {
	case reflect.Bool:
		return strconv.FormatBool(v.Bool())
	case reflect.Int:
		return strconv.FormatInt(v.Int(), 10)
	case reflect.Float64:
		return strconv.FormatFloat(v.Float(), 'g', -1, 64)
	}
	return v.String()
}

// secondsOf spells a duration as a number of seconds, exactly.
func secondsOf(d time.Duration) string {
	whole, rest := d/time.Second, d%time.Second
	if rest == 0 {
		return strconv.FormatInt(int64(whole), 10)
	}
	text := strconv.FormatInt(int64(rest+time.Second), 10) // nine digits behind a 1
	return strconv.FormatInt(int64(whole), 10) + "." + strings.TrimRight(text[1:], "0")
}
