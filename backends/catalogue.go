package backends

import "encoding/json"

// Tool is one tool as its server listed it; Raw is the whole object, with
// every field the server gave.
type Tool struct {
	Name string          `json:"name"`
	Raw  json.RawMessage `json:"raw"`
}

// Catalogue is what a server said of itself at the handshake. It is
// immutable.
type Catalogue struct {
	ProtocolVersion string          `json:"protocol_version"`
	Initialize      json.RawMessage `json:"initialize"` // the whole initialize result
	Tools           []Tool          `json:"tools"`
}

// Tool finds a tool by name.
func (c *Catalogue) Tool(name string) (Tool, bool) {
	if c == nil {
		return Tool{}, false
	}
	for _, t := range c.Tools {
		if t.Name == name {
			return t, true
		}
	}
	return Tool{}, false
}
