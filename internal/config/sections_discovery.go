package config

import "time"

// Discovery finds servers by itself. It is off unless Enabled.
type Discovery struct {
	keyed
	Enabled         bool               `cfg:"enabled"`
	RefreshInterval time.Duration      `cfg:"refresh_interval_s" default:"30" min:"1" max:"86400"`
	AutoRegister    bool               `cfg:"auto_register" default:"true"`
	Sources         []Source           `cfg:"sources"`
	Security        DiscoverySecurity  `cfg:"security"`
	Lifecycle       DiscoveryLifecycle `cfg:"lifecycle"`
}

// Source is one place to look. Keys beyond these are options of its type.
type Source struct {
	keyed
	_             openKeys
	Type          string   `cfg:"type,required" enum:"docker|filesystem|kubernetes|entrypoint"`
	Mode          string   `cfg:"mode" default:"additive" enum:"additive|authoritative"`
	Enabled       bool     `cfg:"enabled" default:"true"`
	Path          string   `cfg:"path"`
	Pattern       string   `cfg:"pattern" default:"*.yaml"`
	Watch         bool     `cfg:"watch"`
	SocketPath    string   `cfg:"socket_path"`
	Namespaces    []string `cfg:"namespaces"`
	LabelSelector string   `cfg:"label_selector"`
	InCluster     bool     `cfg:"in_cluster"`
	Group         string   `cfg:"group"`
}

// DiscoverySecurity is what a found server must pass.
type DiscoverySecurity struct {
	keyed
	AllowedNamespaces   []string      `cfg:"allowed_namespaces"`
	DeniedNamespaces    []string      `cfg:"denied_namespaces" default:"kube-system|default"`
	RequireHealthCheck  bool          `cfg:"require_health_check" default:"true"`
	RequireMCPSchema    bool          `cfg:"require_mcp_schema" unread:"has no effect, in the reference neither"`
	MaxServersPerSource int           `cfg:"max_mcp_servers_per_source" default:"100" min:"1" max:"100000"`
	MaxRegistrationRate int           `cfg:"max_registration_rate" default:"10" min:"1" max:"100000"`
	HealthCheckTimeout  time.Duration `cfg:"health_check_timeout_s" default:"5" min:"0.1" max:"300"`
	QuarantineOnFailure bool          `cfg:"quarantine_on_failure" default:"true"`
}

// DiscoveryLifecycle removes what is no longer found.
type DiscoveryLifecycle struct {
	keyed
	DefaultTTL    time.Duration `cfg:"default_ttl_s" default:"90" min:"1" max:"86400"`
	CheckInterval time.Duration `cfg:"check_interval_s" default:"10" min:"1" max:"86400"`
	DrainTimeout  time.Duration `cfg:"drain_timeout_s" default:"30" min:"0" max:"86400" unread:"has no effect, in the reference neither"`
}
