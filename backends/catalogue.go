package backends

import (
	"encoding/json"
	"sync"
)

// Tool is one tool as its server listed it; Raw is the whole object, with
// every field the server gave.
type Tool struct {
	Name string          `json:"name"`
	Raw  json.RawMessage `json:"raw"`
}

// Catalogue is what a server said of itself at the handshake. It is
// immutable from its first use on.
type Catalogue struct {
	ProtocolVersion string          `json:"protocol_version"`
	Initialize      json.RawMessage `json:"initialize"` // the whole initialize result
	Tools           []Tool          `json:"tools"`

	indexed sync.Once
	index   map[string]int // into Tools, by name; made by the first call, for a long list
}

// shortList is up to how many tools are looked through one by one: that costs
// no more than the index, which takes memory for every server.
const shortList = 32

// Tool finds a tool by name; the first one, should the server list two. Nil if
// there is none, or no catalogue. The usual call allocates nothing.
func (c *Catalogue) Tool(name []byte) *Tool {
	if c == nil {
		return nil
	}
	if len(c.Tools) <= shortList {
		for i := range c.Tools {
			if c.Tools[i].Name == string(name) {
				return &c.Tools[i]
			}
		}
		return nil
	}
	c.indexed.Do(func() {
		c.index = make(map[string]int, len(c.Tools))
		for i := len(c.Tools) - 1; i >= 0; i-- {
			c.index[c.Tools[i].Name] = i
		}
	})
	if i, ok := c.index[string(name)]; ok {
		return &c.Tools[i]
	}
	return nil
}
