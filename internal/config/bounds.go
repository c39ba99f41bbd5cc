package config

import (
	"bytes"
	"io"
	"unicode/utf8"

	"gopkg.in/yaml.v3"
)

// Bounds of a file. They hold an answer to hostile input under 100 ms and far
// above any real file: 10,000 short server definitions fit.
const (
	maxFileBytes = 1 << 20
	// maxSeparators bounds the characters that can begin a value or a
	// comment, counted before the YAML parser sees the text: its time goes
	// with them, not with the bytes.
	maxSeparators = 32_000
	// maxDirectives: the parser compares every %TAG line with all others.
	maxDirectives = 16
	// maxNodes, maxDepth and maxExpanded bound the tree as it is read,
	// every alias counted as often as it is used.
	maxNodes    = 60_000
	maxDepth    = 64
	maxExpanded = 4 << 20
	maxServers  = 10_000
)

var byteOrderMark = []byte("\xEF\xBB\xBF")

// checkText refuses text that would cost the parser too much.
func checkText(c *collector, data []byte) bool {
	if len(data) > maxFileBytes {
		c.fault(positionAt(data, maxFileBytes), nil, "the file is larger than %d bytes", maxFileBytes)
		return false
	}
	separators, directives := 0, 0
	for i, b := range data {
		switch {
		case separates(data, i):
			separators++
		case b == '%' && (i == 0 || data[i-1] == '\n'):
			directives++
		}
		if separators > maxSeparators || directives > maxDirectives {
			c.fault(positionAt(data, i), nil, "the file has more than %d YAML separators or %d directives up to here", maxSeparators, maxDirectives)
			return false
		}
	}
	return true
}

// separates reports whether a byte may begin a value or a comment.
func separates(data []byte, i int) bool {
	switch data[i] {
	case ':', ',', '[', '{', '#', '&', '*', '!', '|', '>':
		return true
	case '-', '?':
		return i+1 == len(data) || data[i+1] == ' ' || data[i+1] == '\n' || data[i+1] == '\t'
	}
	return false
}

// costOf is about what the parser takes for a text, in bytes of plain text.
func costOf(data []byte) int {
	cost := len(data)
	for i := range data {
		if separates(data, i) {
			cost += 8
		}
	}
	return cost
}

// positionAt is the place of a byte.
func positionAt(data []byte, i int) position {
	before := bytes.TrimPrefix(data[:i], byteOrderMark)
	begin := bytes.LastIndexByte(before, '\n') + 1
	return position{bytes.Count(before, []byte{'\n'}) + 1, utf8.RuneCount(before[begin:]) + 1}
}

// expansion counts the tree as a decoder walks it, following aliases. An
// alias that contains itself runs into the depth bound.
type expansion struct {
	c            *collector
	nodes, bytes int
}

func checkExpansion(c *collector, root *yaml.Node) bool {
	e := expansion{c: c}
	return e.walk(root, 0)
}

func (e *expansion) walk(n *yaml.Node, depth int) bool {
	at := positionOf(n)
	for n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	e.nodes++
	e.bytes += len(n.Value)
	switch {
	case depth > maxDepth:
		e.c.fault(at, nil, "values are nested deeper than %d levels", maxDepth)
		return false
	case e.nodes > maxNodes:
		e.c.fault(at, nil, "the file has more than %d values once its aliases are followed", maxNodes)
		return false
	case e.bytes > maxExpanded:
		e.c.fault(at, nil, "the file has more than %d bytes of text once its aliases are followed", maxExpanded)
		return false
	}
	for _, child := range n.Content {
		if !e.walk(child, depth+1) {
			return false
		}
	}
	return true
}

// lineReader hands out a few lines at a time and so knows, when the parser
// gives up, about how far it has read: many of its errors carry a wrong line
// or none.
type lineReader struct {
	rest  []byte
	lines int // handed out, a last one without its end included
}

// leastRead keeps a file of empty lines from being read byte by byte.
const leastRead = 64

// Read implements io.Reader.
func (r *lineReader) Read(p []byte) (int, error) {
	if len(r.rest) == 0 {
		return 0, io.EOF
	}
	end := min(leastRead, len(r.rest))
	if next := bytes.IndexByte(r.rest[end-1:], '\n'); next >= 0 {
		end += next
	} else {
		end = len(r.rest)
	}
	n := copy(p, r.rest[:end])
	r.lines += bytes.Count(r.rest[:n], []byte{'\n'})
	if r.rest = r.rest[n:]; len(r.rest) == 0 && p[n-1] != '\n' {
		r.lines++
	}
	return n, nil
}
