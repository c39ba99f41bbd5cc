package actors

import (
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/aabb9013/hangar/supervisor"
)

// changes are the names of what was changed, for the crash dossier: a change is
// the first suspect of a crash.
type changes struct {
	// since the last good run, and in effect in the present one
	effective []string
	// since the present run was started, so that they come with the next
	pending []string
}

// changesMade is where a change is noted.
func (c *cell) changesMade() *changes {
	if c.changes == nil {
		c.changes = &changes{}
	}
	return c.changes
}

// names are the changes in effect since the last good run.
func (ch *changes) names() []string {
	if ch == nil {
		return nil
	}
	return ch.effective
}

// toolsChanged notes that the server told other tools than before.
func (ch *changes) toolsChanged() { ch.effective = addNames(ch.effective, "tools") }

// specChanged notes a change of the spec.
func (ch *changes) specChanged(from, to supervisor.ServerSpec) {
	ch.pending = addNames(ch.pending, changedFields(from, to)...)
}

// begin is the start of a run: everything is in effect from here on.
func (ch *changes) begin() {
	if ch == nil {
		return
	}
	ch.effective = addNames(ch.effective, ch.pending...)
	ch.pending = nil
}

// good says that the present run is as it should be.
func (ch *changes) good() {
	if ch != nil {
		ch.effective = nil
	}
}

// addNames keeps names sorted, each once, and no more than a dossier has.
func addNames(names []string, more ...string) []string {
	if len(more) == 0 {
		return names
	}
	all := append(slices.Clone(names), more...)
	slices.Sort(all)
	all = slices.Compact(all)
	return all[:min(len(all), supervisor.MaxDossierChanges)]
}

// changedFields names the fields that differ, in the spelling of the API.
func changedFields(from, to supervisor.ServerSpec) (names []string) {
	a, b := reflect.ValueOf(from), reflect.ValueOf(to)
	for i := range a.NumField() {
		if reflect.DeepEqual(a.Field(i).Interface(), b.Field(i).Interface()) {
			continue
		}
		name, _, _ := strings.Cut(a.Type().Field(i).Tag.Get("json"), ",")
		if name != "env" {
			names = append(names, name)
		}
	}
	both := maps.Clone(from.Env)
	if both == nil {
		both = make(map[string]string, len(to.Env))
	}
	maps.Copy(both, to.Env)
	for name := range both {
		was, had := from.Env[name]
		if is, has := to.Env[name]; had != has || was != is {
			names = append(names, "env."+name)
		}
	}
	return names
}
