package config

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/aabb9013/hangar/supervisor"
)

const groupsFile = `mcp_servers:
  a:
    command:
      - x
    mode: subprocess
  g:
    canary:
      member: inside
      percent: 5
    members:
      - id: a
        weight: 7
      - command:
          - z
          - --token=${TOKEN}
        id: inside
    mode: group
    pins:
      bob: a
`

// TestGroupsAreWrittenWithTheServersTheyDefine: such a server stands in its
// group and nowhere else, as it runs now.
func TestGroupsAreWrittenWithTheServersTheyDefine(t *testing.T) {
	t.Parallel()
	c := mustParse(t, groupsFile, map[string]string{"TOKEN": "hunter2"})
	now := c.WithSpecs(c.Servers).WithGroups(c.GroupSpecs)
	if p := Diff(c, now); !p.Empty() {
		t.Errorf("got %+v", p)
	}
	e, err := now.Export()
	if err != nil {
		t.Fatal(err)
	}
	if _, body, _ := strings.Cut(e.YAML, "\nmcp_servers:"); "mcp_servers:"+body != groupsFile {
		t.Errorf("got\n%s", e.YAML)
	}
	changed := c.Servers[1]
	changed.Description = "changed"
	e, err = c.WithSpecs([]supervisor.ServerSpec{c.Servers[0], changed}).WithGroups(c.GroupSpecs).Export()
	if err != nil || strings.Count(e.YAML, "inside\n") != 2 || !strings.Contains(e.YAML, "        description: changed\n") {
		t.Errorf("%v\n%s", err, e.YAML)
	}
}

// TestChangedGroupKeepsWhatOnlyTheFileHas: a change by the API must not cost an
// export what a spec has no field for.
func TestChangedGroupKeepsWhatOnlyTheFileHas(t *testing.T) {
	t.Parallel()
	text := strings.Replace(groupsFile, "    pins:\n", "    access:\n      only:\n        - bob\n    pins:\n", 1)
	text = strings.Replace(text, "    mode: group\n", "    mode: group\n    tools:\n      deny_list:\n        - rm\n", 1)
	c := mustParse(t, text, map[string]string{"TOKEN": "hunter2"})
	spec := c.GroupSpecs[0].With(supervisor.GroupMember{ID: "made", Weight: 1, Priority: 1})
	spec.Strategy = supervisor.ByPriority
	made := supervisor.ServerSpec{ID: "made", Mode: supervisor.ModeSubprocess, Command: []string{"y"}, Provenance: supervisor.FromAPI}.WithDefaults()
	e, err := c.WithSpecs(append(slices.Clone(c.Servers), made)).WithGroups([]supervisor.GroupSpec{spec}).Export()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"strategy: priority\n", "- bob\n", "- rm\n", "        id: inside\n", "- --token=${TOKEN}\n", "      - id: made\n"} {
		if !strings.Contains(e.YAML, want) {
			t.Errorf("%q is lost:\n%s", want, e.YAML)
		}
	}
	back := mustParse(t, e.YAML, map[string]string{"TOKEN": "hunter2"})
	if got, want := back.GroupSpecs[0], spec; !same(reflect.ValueOf(got), reflect.ValueOf(want)) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

// TestEveryGroupFieldHasItsKey fails when a group's spec gets a field that a
// file cannot hold.
func TestEveryGroupFieldHasItsKey(t *testing.T) {
	t.Parallel()
	servers := mustParse(t, "mcp_servers: {m: {command: [x]}}", nil)
	base := supervisor.GroupSpec{ID: "g", AutoStart: true, Provenance: supervisor.FromConfig, Members: []supervisor.GroupMember{{ID: "m", Weight: 3, Priority: 2}}}.WithDefaults()
	for i := range reflect.TypeFor[supervisor.GroupSpec]().NumField() {
		name := reflect.TypeFor[supervisor.GroupSpec]().Field(i).Name
		spec := base
		switch name {
		case "ID", "Provenance", "Members":
		case "Canary":
			spec.Canary = &supervisor.Canary{Member: "m", Percent: 4}
		case "Pins":
			spec.Pins = map[string]string{"bob": "m"}
		case "Strategy":
			spec.Strategy = supervisor.ByPriority
		case "Affinity":
			spec.Affinity = supervisor.AffinitySession
		default:
			setSomething(t, reflect.ValueOf(&spec).Elem().Field(i), name)
		}
		api := spec
		api.Provenance = supervisor.FromAPI
		text, err := encode(servers.WithSpecs(servers.Servers).WithGroups([]supervisor.GroupSpec{api}).tree(literal{}))
		if err != nil {
			t.Fatal(err)
		}
		if got := mustParse(t, text, nil).GroupSpecs[0]; !same(reflect.ValueOf(got), reflect.ValueOf(spec)) {
			t.Errorf("%s: got %+v, want %+v\n%s", name, got, spec, text)
		}
	}
}
