package config

import (
	"time"
)

// Server is one entry of mcp_servers as the file has it. Config.Servers has
// the specs made of them, in the same order.
type Server struct {
	keyed
	ID string

	within *path // of a member that a group defines; else nil

	Mode                string            `cfg:"mode" default:"subprocess" enum:"subprocess|docker|container|podman|remote|group"`
	Command             []string          `cfg:"command,scalar"`
	Args                []string          `cfg:"args,scalar"` // appended to Command
	Cwd                 string            `cfg:"cwd"`
	Image               string            `cfg:"image"`
	Endpoint            string            `cfg:"endpoint"`
	Env                 map[string]string `cfg:"env,scalar"`
	Description         string            `cfg:"description" apply:"live"`
	IdleTTL             time.Duration     `cfg:"idle_ttl_s" default:"300" min:"1" max:"86400" apply:"live"`
	HealthCheckInterval time.Duration     `cfg:"health_check_interval_s" default:"60" min:"5" max:"3600" apply:"live"`
	MaxFailures         int               `cfg:"max_consecutive_failures" default:"3" min:"1" max:"100" apply:"live"`
	MaxConcurrency      int               `cfg:"max_concurrency" min:"0" max:"10000" apply:"live"`
	StartTimeout        time.Duration     `cfg:"start_timeout_s" default:"30" min:"0" max:"3600" apply:"live"`
	Restart             string            `cfg:"restart" default:"transient" enum:"permanent|transient|temporary" apply:"live"`
	MaxRestarts         int               `cfg:"max_restarts" default:"5" min:"1" max:"1000" apply:"live"`
	RestartPeriod       time.Duration     `cfg:"period_s" default:"60" min:"1" max:"86400" apply:"live"`
	Backoff             Backoff           `cfg:"backoff" apply:"live"`
	Strategy            string            `cfg:"strategy" default:"one_for_one" enum:"one_for_one|rest_for_one|all_for_one" apply:"live"`
	DependsOn           []string          `cfg:"depends_on" apply:"live"`
	Tools               Tools             `cfg:"tools" apply:"live"`
	Reload              ServerReload      `cfg:"reload" apply:"live"`

	Volumes     []string   `cfg:"volumes"`
	Build       Opaque     `cfg:"build"`
	Resources   Resources  `cfg:"resources"`
	Network     string     `cfg:"network"`
	NetworkMode string     `cfg:"network_mode"` // the other spelling of Network
	ReadOnly    bool       `cfg:"read_only" default:"true"`
	User        string     `cfg:"user,scalar"`
	Auth        RemoteAuth `cfg:"auth"`
	TLS         RemoteTLS  `cfg:"tls"`
	HTTP        RemoteHTTP `cfg:"http"`
	Transport   string     `cfg:"transport"`

	Access         Opaque `cfg:"access"`
	Canary         Opaque `cfg:"canary"`
	Capabilities   Opaque `cfg:"capabilities"`
	HeaderExposure Opaque `cfg:"header_exposure"`
	ToolAccess     Opaque `cfg:"tool_access"`
	ToolProjection Opaque `cfg:"tool_projection"`
}

// ServerReload says how a reload replaces an instance whose configuration
// changed. It is our own key.
type ServerReload struct {
	keyed
	Strategy string `cfg:"strategy" default:"replace" enum:"replace|blue_green"`
}

// Backoff is the curve of the delays between automatic restarts. Without
// initial_s and max_s they are 0.1 and 30, or what the given one of them forces.
type Backoff struct {
	keyed
	Initial    time.Duration `cfg:"initial_s" min:"0.001" max:"3600"`
	Max        time.Duration `cfg:"max_s" min:"0.001" max:"3600"`
	Jitter     float64       `cfg:"jitter" default:"0.2" min:"0" max:"1"`
	ResetAfter time.Duration `cfg:"reset_after_s" default:"60" min:"1" max:"86400"`
}

// Resources bounds a server. What is not written is no limit of a subprocess,
// and one of a container by the contract's defaults (resources.go).
type Resources struct {
	keyed
	Memory string `cfg:"memory,scalar"`
	CPU    string `cfg:"cpu,scalar"`
	PIDs   int    `cfg:"pids" min:"0" max:"4194304"` // 0 = no limit
}

// RemoteAuth is what a remote server wants to see. The names of further keys
// go with the type.
type RemoteAuth struct {
	keyed
	_    openKeys
	Type string `cfg:"type" default:"none" enum:"none|api_key|bearer|basic"`
}

// RemoteTLS says how to check a remote server's certificate.
type RemoteTLS struct {
	keyed
	VerifySSL  bool   `cfg:"verify_ssl" default:"true"`
	CACertPath string `cfg:"ca_cert_path"`
}

// RemoteHTTP tunes the connection to a remote server.
type RemoteHTTP struct {
	keyed
	ConnectTimeout time.Duration     `cfg:"connect_timeout" default:"10" min:"0.001" max:"3600"`
	ReadTimeout    time.Duration     `cfg:"read_timeout" default:"30" min:"0.001" max:"86400"`
	MaxRetries     int               `cfg:"max_retries" default:"3" min:"0" max:"100"`
	RetryBackoff   time.Duration     `cfg:"retry_backoff" default:"0.5" min:"0" max:"3600"`
	Headers        map[string]string `cfg:"headers,scalar"`
}

// Group is an entry of mcp_servers with mode: group.
type Group struct {
	keyed
	ID string

	Mode        string       `cfg:"mode" enum:"group"`
	Strategy    string       `cfg:"strategy" default:"round_robin" enum:"round_robin|weighted_round_robin|least_connections|random|priority"`
	MinHealthy  int          `cfg:"min_healthy" default:"1" min:"1" max:"10000"`
	AutoStart   bool         `cfg:"auto_start" default:"true"`
	Description string       `cfg:"description"`
	Health      GroupHealth  `cfg:"health"`
	Breaker     GroupBreaker `cfg:"circuit_breaker"`
	Tools       Tools        `cfg:"tools"`
	Members     []Member     `cfg:"members"`

	Affinity  string            `cfg:"affinity" default:"none" enum:"none|session"`
	SlowStart time.Duration     `cfg:"slow_start_s" default:"10" min:"0" max:"86400"`
	Canary    GroupCanary       `cfg:"canary"`
	Pins      map[string]string `cfg:"pins"` // principal to member
	Outlier   GroupOutlier      `cfg:"outlier"`

	Access         Opaque `cfg:"access"`
	Capabilities   Opaque `cfg:"capabilities"`
	ToolAccess     Opaque `cfg:"tool_access"`
	ToolProjection Opaque `cfg:"tool_projection"`
}

// GroupHealth says when a member leaves the rotation and comes back.
type GroupHealth struct {
	keyed
	UnhealthyThreshold int `cfg:"unhealthy_threshold" default:"2" min:"1" max:"1000"`
	HealthyThreshold   int `cfg:"healthy_threshold" default:"1" min:"1" max:"1000"`
}

// GroupBreaker says when a group refuses all calls for a while.
type GroupBreaker struct {
	keyed
	FailureThreshold int           `cfg:"failure_threshold" default:"10" min:"1" max:"100000"`
	ResetTimeout     time.Duration `cfg:"reset_timeout_s" default:"60" min:"1" max:"86400"`
}

// GroupCanary sends a share of the calls to one member.
type GroupCanary struct {
	keyed
	Member        string `cfg:"member,required"`
	Percent       int    `cfg:"percent" min:"0" max:"100"`
	SplitPct      int    `cfg:"split_pct" min:"0" max:"100"` // the reference's name of Percent
	PinnedTenants Opaque `cfg:"pinned_tenants"`
}

// GroupOutlier says when a member that is slower than the others leaves the
// rotation; without a factor none does.
type GroupOutlier struct {
	keyed
	Factor   float64       `cfg:"factor" min:"0" max:"1000"`
	Interval time.Duration `cfg:"interval_s" default:"10" min:"1" max:"86400"`
	Ejection time.Duration `cfg:"ejection_s" default:"30" min:"1" max:"86400"`
	MinCalls int           `cfg:"min_calls" default:"20" min:"1" max:"100000"`
}

// Member is a server of a group: one defined beside the group, named by its
// id, or one defined here with the keys of a server.
type Member struct {
	Server
	Name     string `cfg:"id,required"`
	Weight   int    `cfg:"weight" default:"1" min:"1" max:"100"`
	Priority int    `cfg:"priority" default:"1" min:"1" max:"100"`
}
