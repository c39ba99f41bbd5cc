package actors

import (
	"bytes"

	"github.com/aabb9013/hangar/backends"
)

// maxNamedTools bounds the tools of a kind that the event of a replacement
// names; the counts beside them are whole.
const maxNamedTools = 80

// replaced is the data of a replacement's event: which epoch ended and how the
// tools of the new instance differ from those of the old one.
func replaced(epoch uint64, old, now *backends.Catalogue) map[string]any {
	before := make(map[string][]byte)
	if old != nil {
		for _, tool := range old.Tools {
			before[tool.Name] = tool.Raw
		}
	}
	var added, removed, changed []string
	for _, tool := range now.Tools {
		switch was, had := before[tool.Name]; {
		case !had:
			added = append(added, tool.Name)
		case !bytes.Equal(was, tool.Raw):
			changed = append(changed, tool.Name)
		}
		delete(before, tool.Name)
	}
	if old != nil {
		for _, tool := range old.Tools {
			if _, gone := before[tool.Name]; gone {
				removed = append(removed, tool.Name)
			}
		}
	}
	data := map[string]any{"old_epoch": epoch}
	for name, tools := range map[string][]string{"tools_added": added, "tools_removed": removed, "tools_changed": changed} {
		data[name] = append([]string{}, tools[:min(len(tools), maxNamedTools)]...)
		data[name+"_count"] = len(tools)
	}
	return data
}
