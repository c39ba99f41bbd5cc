package actors

import (
	"bytes"
	"context"
	"encoding/json"
	"time"

	"github.com/aabb9013/hangar/backends"
	"github.com/aabb9013/hangar/persistence"
	"github.com/aabb9013/hangar/supervisor"
)

// relistPause bounds refreshes of a server that floods list_changed to one a
// second.
const relistPause = time.Second

// listTimeout bounds one refresh of the tool list.
const listTimeout = 30 * time.Second

// setCatalogue takes what a fresh instance said of itself; what changed is
// kept for cold listings after the next start of the runtime.
func (c *cell) setCatalogue(cat *backends.Catalogue) {
	changed := !sameTools(c.catalogue, cat) || c.predefined
	known := c.catalogue != nil && !c.predefined
	c.catalogue, c.predefined, c.stale = cat, false, false
	if changed {
		c.saveCatalogue(known)
	}
	if changed && known {
		c.changesMade().toolsChanged()
	}
}

func (c *cell) saveCatalogue(known bool) {
	body, err := json.Marshal(c.catalogue)
	if err != nil {
		c.sys.logger.Error("catalogue not kept", "server", c.id, "err", err)
		return
	}
	batch := persistence.Batch{}
	if len(body) <= persistence.MaxDocBody {
		batch.Docs = []persistence.Doc{{Kind: docTools, ID: c.id, Body: body}}
	} else {
		c.sys.logger.Warn("the tool list is too large to be kept: after a restart of the runtime it is listed once the server ran",
			"server", c.id, "bytes", len(body), "limit", persistence.MaxDocBody)
	}
	if known {
		batch.Events = append(batch.Events, c.sys.record(supervisor.Event{
			Kind: supervisor.ToolsChanged, Server: c.id, Epoch: c.machine.Epoch,
			Data: map[string]any{"tools_count": len(c.catalogue.Tools)},
		}))
	}
	c.sys.tell(c.sys.eventlog, commit{batch: batch})
}

func sameTools(a, b *backends.Catalogue) bool {
	if a == nil || b == nil || len(a.Tools) != len(b.Tools) {
		return a == b
	}
	for i := range a.Tools {
		if !bytes.Equal(a.Tools[i].Raw, b.Tools[i].Raw) {
			return false
		}
	}
	return true
}

// onToolListChanged reads the list again: one refresh at a time, however
// often the server says so.
func (c *cell) onToolListChanged(epoch uint64) {
	if r := c.replacement; r.isFor(epoch) {
		r.relist = true
		return
	}
	if epoch != c.machine.Epoch || !c.machine.Live {
		return
	}
	if c.listing || c.instance == nil {
		// A refresh runs, or the handshake does and may have read the list before.
		c.relist = true
		return
	}
	c.listing, c.relist = true, false
	in, rest := c.instance, relistPause-time.Since(c.listedAt)
	tell := func(tools []backends.Tool, err error) { c.sys.tell(c.pid, toolsListed{epoch, tools, err}) }
	c.sys.run("tools/list of server "+c.id, func(err error) { tell(nil, err) }, func() {
		ctx, cancel := context.WithTimeout(c.sys.living, listTimeout)
		defer cancel()
		pause(ctx, in.Done(), rest)
		tell(backends.ListTools(ctx, in))
	})
}

func (c *cell) onToolsListed(m toolsListed) {
	c.listing, c.listedAt = false, time.Now()
	switch {
	case m.epoch != c.machine.Epoch || c.instance == nil || c.catalogue == nil:
		// An older instance's list; the new one may have changed its own meanwhile.
	case m.err != nil:
		c.sys.logger.Warn("tools/list failed after list_changed", "server", c.id, "err", c.secrets().Excerpt(m.err.Error(), maxReason, false))
	default:
		c.setCatalogue(&backends.Catalogue{
			ProtocolVersion: c.catalogue.ProtocolVersion, Initialize: c.catalogue.Initialize, Tools: m.tools,
		})
		c.publish()
	}
	if c.relist {
		c.onToolListChanged(c.machine.Epoch)
	}
}

// predefinedCatalogue lists the tools a spec declares.
func predefinedCatalogue(spec supervisor.ServerSpec) *backends.Catalogue {
	cat := &backends.Catalogue{}
	for _, raw := range spec.Tools {
		var tool struct {
			Name string `json:"name"`
		}
		if json.Unmarshal(raw, &tool) == nil && tool.Name != "" {
			cat.Tools = append(cat.Tools, backends.Tool{Name: tool.Name, Raw: raw})
		}
	}
	return cat
}
