package config

import (
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"

	"github.com/aabb9013/hangar/supervisor"
	"gopkg.in/yaml.v3"
)

// StrictVariable, set to 1, true, yes or on, makes unknown keys faults.
const StrictVariable = "HANGAR_CONFIG_STRICT"

// Config is a file that was accepted. It is a value nobody changes; what is
// not in the file has its default.
type Config struct {
	Path string
	// Digest is the SHA-256 of the text.
	Digest [sha256.Size]byte
	// Servers has the spec of every server in file order, of all modes, and
	// after them those that are defined inside of groups: Unsupported says
	// which of them this version cannot host.
	Servers []supervisor.ServerSpec
	// Definitions has the same servers as the file has them, same index.
	Definitions []Server
	Groups      []Group
	// GroupSpecs has the spec of every group, same index as Groups.
	GroupSpecs []supervisor.GroupSpec

	Execution     Execution
	Limits        Limits
	Discovery     Discovery
	Retry         Retry
	EventStore    EventStore
	Logging       Logging
	Health        Health
	Observability Observability
	Auth          Auth
	ConfigReload  ConfigReload
	Truncation    Truncation
	HotLoading    HotLoading
	RateLimit     RateLimit
	Persistence   Persistence
	Approvals     Approvals

	all      *file
	warnings Faults
}

// Load reads the file at path. A file that cannot be read is ErrUnreadable;
// one with mistakes is Faults, all of them, with ErrInvalid in the chain.
// getenv answers ${VAR} and StrictVariable; nil stands for an empty
// environment.
func Load(path string, getenv func(string) (string, bool)) (*Config, error) {
	data, err := ReadFile(path)
	if err != nil {
		return nil, err
	}
	return Parse(path, data, getenv)
}

// ReadFile returns the text of a file, up to one byte more than a file may
// have; ErrUnreadable. It does not wait for a pipe that nobody writes to.
func ReadFile(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnreadable, err)
	}
	return read(f)
}

// LoadInside is Load for a path that somebody outside has named: the file must
// lie in dir or below it, also after symbolic links. A relative path counts
// from dir. One that leads outside is ErrUnreadable.
func LoadInside(dir, path string, getenv func(string) (string, bool)) (*Config, error) {
	if filepath.IsAbs(path) {
		from, err := filepath.Abs(dir)
		if err == nil {
			path, err = filepath.Rel(from, path)
		}
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrUnreadable, err)
		}
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnreadable, err)
	}
	defer root.Close()
	f, err := root.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnreadable, err)
	}
	data, err := read(f)
	if err != nil {
		return nil, err
	}
	return Parse(filepath.Join(dir, path), data, getenv)
}

// read takes the text of an open file, and closes it.
func read(f *os.File) ([]byte, error) {
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFileBytes+1))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnreadable, err)
	}
	return data, nil
}

// Parse is Load for text in hand; name stands for the file in the faults.
func Parse(name string, data []byte, getenv func(string) (string, bool)) (*Config, error) {
	c := &collector{file: name}
	doc := parse(c, data, getenv)
	if err := c.err(); err != nil {
		return nil, err
	}
	cfg := newConfig(name, doc)
	cfg.Digest = sha256.Sum256(data)
	warnWithoutEffect(c, doc)
	c.warnings.sort()
	cfg.warnings = c.warnings
	return cfg, nil
}

// newConfig shows a document as a Config.
func newConfig(name string, doc *file) *Config {
	return &Config{
		Path: name, Servers: doc.Servers.specs, Definitions: doc.Servers.servers, Groups: doc.Servers.groups, GroupSpecs: doc.Servers.groupSpecs,
		Execution: doc.Execution, Limits: doc.Limits, Discovery: doc.Discovery, Retry: doc.Retry, EventStore: doc.EventStore,
		Logging: doc.Logging, Health: doc.Health, Observability: doc.Observability, Auth: doc.Auth,
		ConfigReload: doc.ConfigReload, Truncation: doc.Truncation, HotLoading: doc.HotLoading,
		RateLimit: doc.RateLimit, Persistence: doc.Persistence, Approvals: doc.Approvals,
		all: doc,
	}
}

// parse passes the text through the gates of the package comment.
func parse(c *collector, data []byte, getenv func(string) (string, bool)) *file {
	if !checkText(c, data) {
		return nil
	}
	root := parseYAML(c, data)
	if root == nil {
		return nil
	}
	t := tree{
		c: c, getenv: getenv, fromEnv: make(map[*yaml.Node]bool),
		written: make(map[*yaml.Node]string), broken: make(map[*yaml.Node]bool),
	}
	if !t.check(root, nil, 0) || !checkExpansion(c, root) {
		return nil
	}
	d := decoder{
		collector: c, strict: strict(getenv), fromEnv: t.fromEnv, broken: t.broken,
		written: t.written, origins: make(origins),
	}
	doc := new(file)
	doc.origins = d.origins
	v := reflect.ValueOf(doc).Elem()
	setDefaults(v)
	d.section(root, v, nil)
	d.memoryBudget(&doc.Limits)
	d.retention(&doc.EventStore.Retention)
	if doc.at.line > 0 && !doc.Servers.given && !doc.Discovery.Enabled && !doc.bad("mcp_servers") {
		c.fault(doc.where("mcp_servers"), nil, "no servers: mcp_servers is missing, and discovery is not enabled; write mcp_servers: {} if all of them are made by the API")
	}
	return doc
}

func strict(getenv func(string) (string, bool)) bool {
	if getenv == nil {
		return false
	}
	value, _ := getenv(StrictVariable)
	switch strings.ToLower(strings.TrimSpace(value)) {
	case "1", "true", "yes", "on":
		return true
	}
	return false
}

// Warnings lists what the user should know and what did not refuse the file:
// unknown keys, and keys without effect. Sorted by line.
func (c *Config) Warnings() []Fault { return c.warnings }
