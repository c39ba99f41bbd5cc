package limits

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/aabb9013/hangar/backends"
)

// Names of the directories that a runtime makes; its run tag follows.
const (
	groupPrefix = "hangar-"      // holds the groups of its instances
	selfPrefix  = "hangar-self-" // holds the runtime itself, v2 only; begins as the other
)

// Options of Open.
type Options struct {
	RunTag string // tells this runtime's groups from others'; a file name
	// Root is where /proc and /sys are found; empty is the real ones.
	Root string
}

// Manager makes the groups of instances. It is safe for concurrent use.
type Manager struct {
	opts   Options
	report Report
	own    map[string]string // v1: directory of this process, by controller
	base   map[string]string // directory of this runtime, by controller; "" for v2
	locks  []*os.File        // of the directories that this runtime made, as long as it lives
}

// Open looks at the host, chooses the mechanism, makes this runtime's
// directories and removes what dead runtimes left. It does not fail: a host
// that allows nothing is reported as such.
func Open(opts Options) *Manager {
	m := &Manager{opts: opts, own: make(map[string]string), base: make(map[string]string)}
	mountinfo, _ := os.ReadFile(m.path("/proc/self/mountinfo"))
	cgroup, _ := os.ReadFile(m.path("/proc/self/cgroup"))
	p := findPlace(string(mountinfo), string(cgroup))
	v2, base := m.openV2(p.v2)
	v1 := m.openV1(p.v1)
	m.report = choose(v2, v1)
	if m.report.Mechanism == CgroupV2 {
		for _, unused := range m.base {
			os.Remove(unused)
		}
		clear(m.own)
		m.base = map[string]string{"": base}
	} else if base != "" {
		os.Remove(base)
	}
	return m
}

func (m *Manager) path(name string) string { return filepath.Join(m.opts.Root, name) }

// Report says what is enforced, and by what.
func (m *Manager) Report() Report { return m.report }

// openV1 makes this runtime's directory for every controller that allows it.
func (m *Manager) openV1(own map[string]string) offer {
	o := offer{enabled: make(map[string]bool)}
	var faults []error
	for _, controller := range controllers {
		dir, ok := own[controller]
		if !ok {
			faults = append(faults, errors.New(controller+" is not mounted"))
			continue
		}
		dir = m.path(dir)
		removeLeftovers(dir)
		base := filepath.Join(dir, groupPrefix+m.opts.RunTag)
		if err := m.claim(base); err != nil {
			faults = append(faults, err)
			continue
		}
		m.own[controller], m.base[controller] = dir, base
		o.enabled[controller] = true
	}
	if err := errors.Join(faults...); err != nil {
		o.why = strings.ReplaceAll(err.Error(), "\n", ", ")
	}
	return o
}

// openV2 makes this runtime's directory and switches the controllers on in it.
func (m *Manager) openV2(own string) (o offer, base string) {
	o.enabled = make(map[string]bool)
	if own == "" {
		o.why = "not mounted"
		return o, ""
	}
	dir := m.path(own)
	text, err := os.ReadFile(filepath.Join(dir, "cgroup.controllers"))
	if err != nil {
		o.why = err.Error()
		return o, ""
	}
	var wanted []string
	for _, controller := range strings.Fields(string(text)) {
		if controller == "memory" || controller == "cpu" || controller == "pids" {
			wanted = append(wanted, "+"+controller)
		}
	}
	if len(wanted) == 0 {
		o.why = "none of its controllers is memory, cpu or pids"
		return o, ""
	}
	removeLeftovers(dir)
	base = filepath.Join(dir, groupPrefix+m.opts.RunTag)
	if err := m.claim(base); err != nil {
		o.why = err.Error()
		return o, ""
	}
	enable := strings.Join(wanted, " ")
	if err = m.enable(dir, enable); err == nil {
		err = write(filepath.Join(base, "cgroup.subtree_control"), enable)
	}
	if err != nil {
		o.why = err.Error()
		return o, base
	}
	for _, controller := range wanted {
		o.enabled[controller[1:]] = true
	}
	return o, base
}

// enable switches controllers on for the groups below dir. The kernel refuses
// while dir holds a process; if that is only this one, it moves into a leaf.
func (m *Manager) enable(dir, wanted string) error {
	control := filepath.Join(dir, "cgroup.subtree_control")
	err := write(control, wanted)
	if !errors.Is(err, syscall.EBUSY) {
		return err
	}
	self := strconv.Itoa(os.Getpid())
	inside, readErr := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
	if readErr != nil || strings.TrimSpace(string(inside)) != self {
		return fmt.Errorf("the group of the runtime holds other processes: %w", err)
	}
	leaf := filepath.Join(dir, selfPrefix+m.opts.RunTag)
	if err := m.claim(leaf); err != nil {
		return err
	}
	if err := write(filepath.Join(leaf, "cgroup.procs"), self); err != nil {
		return err
	}
	return write(control, wanted)
}

func (m *Manager) removeBases() {
	for _, base := range m.base {
		os.Remove(base)
	}
	clear(m.base)
	clear(m.own)
	for _, lock := range m.locks {
		lock.Close()
	}
	m.locks = nil
}

// Close removes this runtime's directories. Every group must be closed.
func (m *Manager) Close() { m.removeBases() }

// write replaces what a control file says. O_CREATE is for tests, whose root
// is an ordinary directory; in a cgroup no file can be made.
func write(file, text string) error { return os.WriteFile(file, []byte(text), 0o644) }

// Prepare makes the place in which one instance will run. The caller closes
// the group once the instance is gone, or if its start failed. Without limits
// the group is empty and costs nothing. A nil Manager holds nothing.
func (m *Manager) Prepare(server string, epoch uint64, l backends.Limits) (*Group, error) {
	g := &Group{limits: l}
	if m == nil || l == (backends.Limits{}) {
		return g, nil
	}
	name := server + "." + strconv.FormatUint(epoch, 10)
	var err error
	switch m.report.Mechanism {
	case CgroupV2:
		err = g.openV2(filepath.Join(m.base[""], name), m.report)
	case CgroupV1:
		err = g.openV1(m, name)
	default:
		g.entry.Data = uint64(l.Memory)
	}
	if err != nil {
		g.Close()
		return nil, fmt.Errorf("%w: cannot limit the resources of server %q: %w", backends.ErrResource, server, err)
	}
	return g, nil
}
