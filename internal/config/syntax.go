package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"unicode/utf8"

	"gopkg.in/yaml.v3"
)

// errSecondDocument is how readDocument tells of text after the document.
var errSecondDocument = errors.New("a second YAML document starts here; the file must have exactly one")

// parseYAML returns the root value of the file's only document, or nil after
// telling why there is none.
func parseYAML(c *collector, data []byte) *yaml.Node {
	data = bytes.TrimPrefix(data, byteOrderMark)
	r := &lineReader{rest: data}
	root, err := readDocument(r)
	switch {
	case err == nil:
		return root
	case errors.Is(err, io.EOF):
		c.fault(position{1, 1}, nil, "the file is empty: mcp_servers is missing")
	case errors.Is(err, errSecondDocument):
		c.fault(position{max(root.Line, 1), max(root.Column, 1)}, nil, "%s", err)
	default:
		c.fault(syntaxPosition(data, r.lines, err), nil, "not valid YAML: %s", explainSyntax(err))
	}
	return nil
}

// readDocument reads the only document of a stream; io.EOF means there is
// nothing in it. With errSecondDocument comes the root of the second one.
func readDocument(r *lineReader) (*yaml.Node, error) {
	dec := yaml.NewDecoder(r)
	var first, second yaml.Node
	if err := decodeNode(dec, &first); err != nil {
		return nil, err
	}
	switch err := decodeNode(dec, &second); {
	case err == nil:
		return &second, errSecondDocument
	case !errors.Is(err, io.EOF):
		return nil, err
	}
	root := first.Content[0]
	if isNull(root) {
		return nil, io.EOF
	}
	return root, nil
}

// decodeNode keeps a panic of the parser inside: the file comes from outside,
// and a reload must not end the process that hosts everything.
func decodeNode(dec *yaml.Decoder, n *yaml.Node) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("yaml: the parser failed: %v", r)
		}
	}()
	return dec.Decode(n)
}

// maxReread bounds what is parsed again to find the place of an error, as costOf
// counts.
const maxReread = 400 << 10

// syntaxPosition finds the place of an error. The parser's own line is often
// that of the enclosing block, or one too low, or missing, and it has no
// column; so the answer is the first line after which the text has this very
// error: that is the line itself, or the one that opened what is never closed.
func syntaxPosition(data []byte, linesRead int, err error) position {
	message := withoutLine(err)
	fails := func(text []byte) bool {
		_, err := readDocument(&lineReader{rest: text})
		return err != nil && !errors.Is(err, io.EOF) && withoutLine(err) == message
	}
	line, end := max(linesRead, 1), lineEnd(data, linesRead)
	budget := maxReread - costOf(data[:end])
	for budget > 0 && line > 1 {
		end = bytes.LastIndexByte(data[:max(end-1, 0)], '\n') + 1
		if budget -= costOf(data[:end]); budget < 0 || !fails(data[:end]) {
			break
		}
		line--
	}
	return position{line, syntaxColumn(data, line, budget, fails)}
}

// syntaxColumn halves the line of an error until it knows a character with
// which the error comes and without which it does not. When the budget is used
// up before, it is the nearest that is known, at least where the line begins.
func syntaxColumn(data []byte, line, budget int, fails func([]byte) bool) int {
	begin, end := lineEnd(data, line-1), lineEnd(data, line)
	text := bytes.TrimRight(data[begin:end], "\r\n")
	low, high := len(text)-len(bytes.TrimLeft(text, " ")), len(text)
	for high-low > 1 {
		middle := (low + high) / 2
		for middle > low && !utf8.RuneStart(text[middle]) {
			middle--
		}
		if budget -= costOf(data[:begin+middle]); middle == low || budget < 0 {
			break
		}
		if fails(data[:begin+middle]) {
			high = middle
		} else {
			low = middle
		}
	}
	return utf8.RuneCount(text[:min(low, max(len(text)-1, 0))]) + 1
}

// lineEnd is the offset behind the n-th line.
func lineEnd(data []byte, n int) int {
	end := 0
	for ; n > 0; n-- {
		next := bytes.IndexByte(data[end:], '\n') + 1
		if next == 0 {
			return len(data)
		}
		end += next
	}
	return end
}

var yamlPrefix = regexp.MustCompile(`^yaml: (line \d+: )?`)

func withoutLine(err error) string { return yamlPrefix.ReplaceAllString(err.Error(), "") }

// explainSyntax rewrites the texts that nobody understands or that repeat
// what the file says: an unquoted password that begins with * is an "unknown
// anchor" by its full name.
func explainSyntax(err error) string {
	message := withoutLine(err)
	switch {
	case strings.HasPrefix(message, "unknown anchor"):
		return "an alias (*name) has no anchor (&name) before it; quote a text that begins with *"
	case strings.Contains(message, "found character that cannot start any token"):
		message += "; indent with spaces, not tabs, and quote a text that begins with @ or `"
	case strings.Contains(message, "mapping values are not allowed"):
		message += "; quote a text that has a colon in it, or check the indentation"
	case strings.HasPrefix(message, "did not find expected key"):
		message += "; check the indentation of this line and the one before"
	}
	return clip(message, 200)
}

func positionOf(n *yaml.Node) position { return position{line: n.Line, column: n.Column} }

// follow resolves an alias. The expansion bound has made sure it ends.
func follow(n *yaml.Node) *yaml.Node {
	for n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	return n
}
