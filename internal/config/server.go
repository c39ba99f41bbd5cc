package config

import (
	"errors"
	"net/url"
	"reflect"
	"slices"
	"strings"

	"github.com/aabb9013/hangar/supervisor"
	"gopkg.in/yaml.v3"
)

// serverMap is mcp_servers: servers and groups under one roof, told apart by
// their mode, each in file order.
type serverMap struct {
	given   bool // in the file, if only as {}
	servers []Server
	groups  []Group
	specs   []supervisor.ServerSpec // of servers, same index

	groupSpecs []supervisor.GroupSpec // of groups, same index
}

func (m *serverMap) decodeNode(d *decoder, n *yaml.Node, p *path) bool {
	if n.Kind != yaml.MappingNode {
		return d.mismatch(n, p, "a map from server ids to server definitions")
	}
	m.given = true
	entries := pairs(n)
	if len(entries) > maxServers {
		d.fault(positionOf(n), p, "%d servers are defined, the limit is %d", len(entries), maxServers)
		return false
	}
	good := true
	for _, pr := range entries {
		child := p.child(pr.key)
		ok := d.validID(pr.key, pr.at, child)
		if isNull(pr.value) || pr.value.Kind != yaml.MappingNode {
			good = d.mismatch(pr.value, child, "a map")
			continue
		}
		if isGroup(pr.value) {
			ok = m.addGroup(d, pr, child) && ok
		} else {
			ok = m.addServer(d, pr, child) && ok
		}
		good = good && ok
	}
	d.checkMembers(m, p)
	d.checkDependencies(m, p)
	return good
}

func isGroup(n *yaml.Node) bool {
	for _, pr := range pairs(n) {
		if pr.key == "mode" {
			return pr.value.Kind == yaml.ScalarNode && strings.EqualFold(pr.value.Value, "group")
		}
	}
	return false
}

func (m *serverMap) addServer(d *decoder, pr pair, p *path) bool {
	s := Server{ID: pr.key}
	v := reflect.ValueOf(&s).Elem()
	setDefaults(v)
	good := d.section(pr.value, v, p)
	s.at = pr.at
	spec, ok := d.spec(&s, p)
	m.servers = append(m.servers, s)
	m.specs = append(m.specs, spec)
	return good && ok
}

func (m *serverMap) addGroup(d *decoder, pr pair, p *path) bool {
	g := Group{ID: pr.key}
	v := reflect.ValueOf(&g).Elem()
	setDefaults(v)
	good := d.section(pr.value, v, p)
	g.at = pr.at
	if c := &g.Canary; c.has("split_pct") {
		if c.has("percent") && c.Percent != c.SplitPct {
			d.fault(c.where("split_pct"), p.child("canary").child("split_pct"), "percent and split_pct are two names of one key and must not differ")
			good = false
		}
		c.Percent, c.SplitPct = c.SplitPct, 0
	}
	m.groups = append(m.groups, g)
	return good
}

// path is where the server is defined.
func (s *Server) path() *path {
	if s.within != nil {
		return s.within
	}
	return mcpServers.child(s.ID)
}

func (d *decoder) validID(id string, at position, p *path) bool {
	if err := supervisor.ValidateID(id); err != nil {
		d.fault(at, p, "%s", clip(specText(err), 200))
		return false
	}
	return true
}

// spec makes the spec of a server whose keys are decoded, and tells what the
// spec itself finds wrong, at the key it is about.
func (d *decoder) spec(s *Server, p *path) (supervisor.ServerSpec, bool) {
	spec := s.spec()
	good := d.limits(s, &spec, p.child("resources"))
	if s.Network != "" && s.NetworkMode != "" && s.Network != s.NetworkMode {
		d.fault(s.where("network_mode"), p.child("network_mode"), "network and network_mode are two names of one key and must not differ")
		good = false
	}
	if spec.Mode == supervisor.ModeRemote && !s.bad("endpoint") && spec.Endpoint != "" && !validEndpoint(spec.Endpoint) {
		d.fault(s.where("endpoint"), p.child("endpoint"), "must be a URL that begins with http:// or https:// and names a host")
		good = false
	}
	for _, err := range split(spec.Validate()) {
		text := specText(err)
		key, _, _ := strings.Cut(text, " ")
		key, _, _ = strings.Cut(key, ".")
		switch {
		case key == "mcp_server_id", key == "mode":
			continue // told already
		case strings.Contains(text, "is required") && (s.bad(key) || s.bad("mode")):
			continue // the key is there but wrong, or its need goes with the mode
		case key == "depends_on" && s.bad(key):
			continue // a wrong entry is an empty one here
		}
		at, child := s.at, p
		if k, ok := s.find(key); ok {
			at, child = k.at, p.child(key)
		}
		d.fault(at, child, "%s", clip(text, 200))
		good = false
	}
	return spec, good
}

func (s *Server) spec() supervisor.ServerSpec {
	network := s.Network
	if network == "" {
		network = s.NetworkMode
	}
	return supervisor.ServerSpec{
		ID: s.ID, Mode: supervisor.Mode(s.Mode),
		Command: slices.Concat(s.Command, s.Args), Dir: s.Cwd,
		Image: s.Image, Endpoint: s.Endpoint, Env: s.Env, Description: s.Description,
		Volumes: s.Volumes, Network: network, ReadOnly: s.ReadOnly,
		IdleTTL: s.IdleTTL, HealthCheckInterval: s.HealthCheckInterval,
		MaxFailures: s.MaxFailures, MaxConcurrency: s.MaxConcurrency, StartTimeout: s.StartTimeout,
		Restart: supervisor.Restart(s.Restart), MaxRestarts: s.MaxRestarts, RestartPeriod: s.RestartPeriod,
		Backoff: supervisor.Backoff{
			Initial: s.Backoff.Initial, Max: s.Backoff.Max, Jitter: s.Backoff.Jitter, ResetAfter: s.Backoff.ResetAfter,
		},
		Strategy: supervisor.RestartStrategy(s.Strategy), DependsOn: s.DependsOn,
		Tools: s.Tools.Predefined, Provenance: supervisor.FromConfig,
	}.WithDefaults()
}

// split takes a joined error apart.
func split(err error) []error {
	if err == nil {
		return nil
	}
	var joined interface{ Unwrap() []error }
	if errors.As(err, &joined) {
		return joined.Unwrap()
	}
	return []error{err}
}

// specText is a validation error without the sentinel's text before it.
func specText(err error) string {
	return strings.TrimPrefix(err.Error(), supervisor.ErrInvalidSpec.Error()+": ")
}

func validEndpoint(endpoint string) bool {
	u, err := url.Parse(endpoint)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != ""
}
