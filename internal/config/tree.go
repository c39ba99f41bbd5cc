package config

import (
	"strings"

	"gopkg.in/yaml.v3"
)

// tree checks the document as it is written, each value once and aliases not
// followed: keys, duplicates, tags and ${VAR}.
type tree struct {
	c      *collector
	getenv func(string) (string, bool)
	// fromEnv has every scalar whose text came, even in part, from
	// interpolation: it may be a secret, and its type is what it is used as.
	fromEnv map[*yaml.Node]bool
	// written has, for the same scalars, the text before interpolation.
	written map[*yaml.Node]string
	// broken has the scalars that already have a fault; nothing more is
	// said about them.
	broken map[*yaml.Node]bool
	added  int // bytes interpolation has produced
}

// coreTags are the tags a file may write out. Others name types of some
// program (!!python/object) and mean nothing here.
var coreTags = map[string]bool{
	"!!str": true, "!!int": true, "!!float": true, "!!bool": true, "!!null": true,
	"!!map": true, "!!seq": true, "!!merge": true, "!!timestamp": true,
}

func (t *tree) check(n *yaml.Node, p *path, depth int) bool {
	if depth > maxDepth {
		t.c.fault(positionOf(n), p.short(), "values are nested deeper than %d levels", maxDepth)
		return false
	}
	if n.Kind == yaml.AliasNode {
		return true
	}
	if n.Style&yaml.TaggedStyle != 0 && !coreTags[n.ShortTag()] {
		t.c.fault(positionOf(n), p, "YAML tags of a program's own are not allowed; remove the tag or quote a text that begins with !")
		n.Tag, n.Style = "", n.Style&^yaml.TaggedStyle
	}
	switch n.Kind {
	case yaml.ScalarNode:
		return t.interpolate(n, p)
	case yaml.SequenceNode:
		for i, item := range n.Content {
			if !t.check(item, p.item(i), depth+1) {
				return false
			}
		}
	case yaml.MappingNode:
		return t.checkMapping(n, p, depth)
	}
	return true
}

// checkMapping also takes out the entries it refuses, so that nothing is
// told about them twice.
func (t *tree) checkMapping(n *yaml.Node, p *path, depth int) bool {
	var seen map[string]int
	if len(n.Content) > 2*fewKeys {
		seen = make(map[string]int, len(n.Content)/2)
	}
	kept := n.Content[:0]
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if key.Kind != yaml.ScalarNode {
			t.c.fault(positionOf(key), p, "a key must be a plain text")
			continue
		}
		child := p.child(key.Value)
		if isMerge(key) {
			if !mergeable(value) {
				t.c.fault(positionOf(value), child, "the merge key << takes an alias of a map, or a list of them")
				continue
			}
		} else if line := firstLine(seen, kept, key.Value); line > 0 {
			t.c.fault(positionOf(key), child, "the key is already set in line %d", line)
			continue
		}
		kept = append(kept, key, value)
		if seen != nil {
			seen[key.Value] = key.Line
		}
		if !t.check(value, child, depth+1) {
			return false
		}
	}
	n.Content = kept
	return true
}

// fewKeys is up to where looking through the keys beats a map of them.
const fewKeys = 12

// firstLine is where a key was set first, 0 if it was not.
func firstLine(seen map[string]int, kept []*yaml.Node, key string) int {
	if seen != nil {
		return seen[key]
	}
	for i := 0; i < len(kept); i += 2 {
		if kept[i].Value == key && !isMerge(kept[i]) {
			return kept[i].Line
		}
	}
	return 0
}

func isMerge(key *yaml.Node) bool { return key.Kind == yaml.ScalarNode && key.ShortTag() == "!!merge" }

// mergeable: a map, or a list of maps, aliased or in place.
func mergeable(n *yaml.Node) bool {
	switch n = follow(n); n.Kind {
	case yaml.MappingNode:
		return true
	case yaml.SequenceNode:
		for _, item := range n.Content {
			if follow(item).Kind != yaml.MappingNode {
				return false
			}
		}
		return true
	}
	return false
}

// pair is one entry of a mapping, merge keys resolved.
type pair struct {
	key   string
	at    position
	value *yaml.Node
}

// pairs lists a mapping in file order. Its own keys win over merged ones, and
// of several merged maps the first wins.
func pairs(n *yaml.Node) []pair {
	list, merges := ownPairs(make([]pair, 0, len(n.Content)/2), n, nil)
	if len(merges) == 0 {
		return list
	}
	seen := make(map[string]bool, len(list))
	for _, pr := range list {
		seen[pr.key] = true
	}
	return mergePairs(list, merges, seen)
}

// ownPairs adds the entries of a mapping that are not seen yet, and returns
// what it merges.
func ownPairs(list []pair, n *yaml.Node, seen map[string]bool) ([]pair, []*yaml.Node) {
	var merges []*yaml.Node
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		switch {
		case isMerge(key):
			merges = append(merges, follow(value))
		case !seen[key.Value]:
			if seen != nil {
				seen[key.Value] = true
			}
			list = append(list, pair{key: key.Value, at: positionOf(key), value: follow(value)})
		}
	}
	return list, merges
}

func mergePairs(list []pair, merges []*yaml.Node, seen map[string]bool) []pair {
	for _, m := range merges {
		maps := []*yaml.Node{m}
		if m.Kind == yaml.SequenceNode {
			maps = m.Content
		}
		for _, item := range maps {
			var inner []*yaml.Node
			list, inner = ownPairs(list, follow(item), seen)
			list = mergePairs(list, inner, seen)
		}
	}
	return list
}

// short cuts a path that is too deep to print to its first steps.
func (p *path) short() *path {
	depth := 0
	for q := p; q != nil; q = q.parent {
		depth++
	}
	for ; depth > 6; depth-- {
		p = p.parent
	}
	return p
}

// nameOf says what kind of value a node is.
func nameOf(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a map"
	case yaml.SequenceNode:
		return "a list"
	}
	switch n.ShortTag() {
	case "!!null":
		return "nothing"
	case "!!int":
		return "a whole number"
	case "!!float":
		return "a number"
	case "!!bool":
		return "true or false"
	}
	return "a text"
}

// hasText reports whether a scalar is text by YAML's rules.
func hasText(n *yaml.Node) bool {
	if n.Kind != yaml.ScalarNode {
		return false
	}
	tag := n.ShortTag()
	return tag == "!!str" || tag == "!!timestamp" || strings.HasPrefix(tag, "!!merge")
}
