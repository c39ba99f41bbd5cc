package limits

import (
	"path/filepath"
	"strings"
)

// controllers are those that the limits need, in the order of reports.
var controllers = [...]string{"memory", "cpu", "pids"}

// place is where this process is in the hierarchies of the host: directories
// that may or may not be visible and writable.
type place struct {
	v2 string            // empty: no v2 hierarchy is mounted
	v1 map[string]string // by controller
}

// findPlace reads /proc/self/mountinfo and /proc/self/cgroup.
func findPlace(mountinfo, cgroup string) place {
	p := place{v1: make(map[string]string)}
	own := ownGroups(cgroup)
	for line := range strings.Lines(mountinfo) {
		m, ok := parseMount(line)
		if !ok {
			continue
		}
		switch m.kind {
		case "cgroup2":
			if group, ok := own[""]; ok && p.v2 == "" {
				p.v2 = m.dir(group)
			}
		case "cgroup":
			for _, option := range m.options {
				if group, ok := own[option]; ok && p.v1[option] == "" {
					p.v1[option] = m.dir(group)
				}
			}
		}
	}
	return p
}

// ownGroups is the path of this process by controller; "" is the v2 hierarchy.
func ownGroups(cgroup string) map[string]string {
	groups := make(map[string]string)
	for line := range strings.Lines(cgroup) {
		parts := strings.SplitN(strings.TrimRight(line, "\n"), ":", 3)
		if len(parts) != 3 {
			continue
		}
		for _, controller := range strings.Split(parts[1], ",") {
			groups[controller] = parts[2]
		}
	}
	return groups
}

type mount struct {
	root, point, kind string
	options           []string // of the super block: the controllers of a v1 mount
}

// parseMount reads one line of mountinfo (proc(5)): fields up to a lone dash,
// then type, source and super options.
func parseMount(line string) (mount, bool) {
	before, after, ok := strings.Cut(line, " - ")
	fields, rest := strings.Fields(before), strings.Fields(after)
	if !ok || len(fields) < 5 || len(rest) < 3 {
		return mount{}, false
	}
	return mount{root: fields[3], point: fields[4], kind: rest[0], options: strings.Split(rest[2], ",")}, true
}

// dir is where a group is seen below the mount, which may show only a part of
// the hierarchy.
func (m mount) dir(group string) string {
	if m.root != "/" {
		if below, ok := strings.CutPrefix(group, m.root); ok {
			group = below
		}
	}
	return filepath.Join(m.point, group)
}
