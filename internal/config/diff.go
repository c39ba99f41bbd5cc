package config

import (
	"reflect"
	"slices"
)

// Plan is what must change for one configuration to become another. Ids are in
// the order of the configuration that has them.
type Plan struct {
	Added, Removed, Unchanged []string
	Changed                   []Change

	AddedGroups, RemovedGroups, ChangedGroups, UnchangedGroups []string

	// Sections has the keys outside of mcp_servers that differ, as in
	// logging.level: only a restart applies them.
	Sections []string
}

// Change is a server that differs.
type Change struct {
	ID   string
	Keys []string // that differ, in the order of the schema
	// Restart: a running instance does not see the change; it must be
	// replaced.
	Restart bool
}

// Diff compares what the configurations mean: defaults are filled in, an empty
// list is no list, and the way something is written does not count.
func Diff(before, after *Config) Plan {
	var p Plan
	old := make(map[string]int, len(before.Definitions))
	for i := range before.Definitions {
		old[before.Definitions[i].ID] = i
	}
	kept := make(map[string]bool, len(after.Definitions))
	for i := range after.Definitions {
		def := &after.Definitions[i]
		kept[def.ID] = true
		j, known := old[def.ID]
		if !known {
			p.Added = append(p.Added, def.ID)
			continue
		}
		change := diffServer(&before.Definitions[j], def)
		if len(change.Keys) == 0 {
			p.Unchanged = append(p.Unchanged, def.ID)
		} else {
			p.Changed = append(p.Changed, change)
		}
	}
	for i := range before.Definitions {
		if id := before.Definitions[i].ID; !kept[id] {
			p.Removed = append(p.Removed, id)
		}
	}
	p.diffGroups(before.Groups, after.Groups)
	p.Sections = differences(reflect.ValueOf(before.all).Elem(), reflect.ValueOf(after.all).Elem(), "")
	return p
}

// Empty reports that nothing differs.
func (p Plan) Empty() bool {
	return len(p.Added)+len(p.Removed)+len(p.Changed)+len(p.AddedGroups)+len(p.RemovedGroups)+len(p.ChangedGroups)+len(p.Sections) == 0
}

func diffServer(before, after *Server) Change {
	a, b := canonical(*before), canonical(*after)
	c := Change{ID: after.ID}
	va, vb := reflect.ValueOf(&a).Elem(), reflect.ValueOf(&b).Elem()
	for _, f := range planOf(va.Type()).fields {
		if !same(va.FieldByIndex(f.index), vb.FieldByIndex(f.index)) {
			c.Keys = append(c.Keys, f.name)
			c.Restart = c.Restart || !f.live
		}
	}
	return c
}

func (p *Plan) diffGroups(before, after []Group) {
	for i := range after {
		g := &after[i]
		j := slices.IndexFunc(before, func(b Group) bool { return b.ID == g.ID })
		switch {
		case j < 0:
			p.AddedGroups = append(p.AddedGroups, g.ID)
		case same(reflect.ValueOf(before[j].canonical()), reflect.ValueOf(g.canonical())):
			p.UnchangedGroups = append(p.UnchangedGroups, g.ID)
		default:
			p.ChangedGroups = append(p.ChangedGroups, g.ID)
		}
	}
	for i := range before {
		if id := before[i].ID; !slices.ContainsFunc(after, func(a Group) bool { return a.ID == id }) {
			p.RemovedGroups = append(p.RemovedGroups, id)
		}
	}
}

// differences lists the keys of a section that differ, those of sections in it
// one by one. Keys that nothing reads do not count.
func differences(a, b reflect.Value, prefix string) []string {
	var keys []string
	for _, f := range planOf(a.Type()).fields {
		fa, fb := a.FieldByIndex(f.index), b.FieldByIndex(f.index)
		_, custom := fa.Addr().Interface().(nodeDecoder)
		switch {
		case f.unread != "" || f.name == "mcp_servers" || f.name == "__snapshot__":
		case f.kind.Kind() == reflect.Struct && !custom:
			keys = append(keys, differences(fa, fb, prefix+f.name+".")...)
		case !same(fa, fb):
			keys = append(keys, prefix+f.name)
		}
	}
	if !sameExtra(keyedOf(a), keyedOf(b)) {
		keys = append(keys, prefix+"*")
	}
	return keys
}
