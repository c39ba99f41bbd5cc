package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"
)

// parseYAML returns the root value of the file's only document, or nil after
// telling why there is none.
func parseYAML(c *collector, data []byte) *yaml.Node {
	r := &lineReader{rest: bytes.TrimPrefix(data, byteOrderMark)}
	dec := yaml.NewDecoder(r)
	var doc yaml.Node
	switch err := decodeNode(dec, &doc); {
	case errors.Is(err, io.EOF):
		c.fault(position{}, nil, "the file is empty: mcp_servers is missing")
		return nil
	case err != nil:
		at, message := explainSyntax(err, r.lines)
		c.fault(at, nil, "%s", message)
		return nil
	}
	var second yaml.Node
	switch err := decodeNode(dec, &second); {
	case errors.Is(err, io.EOF):
	case err != nil:
		at, message := explainSyntax(err, r.lines)
		c.fault(at, nil, "%s", message)
		return nil
	default:
		c.fault(positionOf(&second), nil, "a second YAML document starts here; the file must have exactly one")
		return nil
	}
	root := doc.Content[0]
	if root.Kind == yaml.ScalarNode && root.ShortTag() == "!!null" {
		c.fault(position{}, nil, "the file is empty: mcp_servers is missing")
		return nil
	}
	return root
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

var yamlLine = regexp.MustCompile(`^line (\d+): `)

// explainSyntax finds the line of a parser's error and rewrites the texts
// that nobody understands or that repeat what the file says: an unquoted
// password that begins with * is an "unknown anchor" by its full name.
func explainSyntax(err error, linesRead int) (position, string) {
	message := strings.TrimPrefix(err.Error(), "yaml: ")
	at := position{line: max(linesRead, 1)}
	if m := yamlLine.FindStringSubmatch(message); m != nil {
		message = message[len(m[0]):]
		// Only the scanner's lines are right; the parser's name the start
		// of the enclosing block, one too low.
		if n, err := strconv.Atoi(m[1]); err == nil && !strings.HasPrefix(message, "did not find expected") {
			at.line = n
		}
	}
	switch {
	case strings.HasPrefix(message, "unknown anchor"):
		message = "an alias (*name) has no anchor (&name) before it; quote a text that begins with *"
	case strings.Contains(message, "found character that cannot start any token"):
		message += "; indent with spaces, not tabs, and quote a text that begins with @ or `"
	case strings.Contains(message, "mapping values are not allowed"):
		message += "; quote a text that has a colon in it, or check the indentation"
	case strings.HasPrefix(message, "did not find expected key"):
		message += "; check the indentation of this line and the one before"
	}
	return at, "not valid YAML: " + clip(message, 200)
}

func positionOf(n *yaml.Node) position { return position{line: n.Line, column: n.Column} }

// follow resolves an alias. The expansion bound has made sure it ends.
func follow(n *yaml.Node) *yaml.Node {
	for n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	return n
}
