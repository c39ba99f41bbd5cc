package config

import "time"

// file is the whole document.
type file struct {
	keyed
	origins           origins
	Servers           serverMap     `cfg:"mcp_servers"`
	Execution         Execution     `cfg:"execution"`
	Limits            Limits        `cfg:"limits"`
	Discovery         Discovery     `cfg:"discovery"`
	Retry             Retry         `cfg:"retry"`
	EventStore        EventStore    `cfg:"event_store"`
	Logging           Logging       `cfg:"logging"`
	Health            Health        `cfg:"health"`
	Observability     Observability `cfg:"observability"`
	Auth              Auth          `cfg:"auth"`
	ConfigReload      ConfigReload  `cfg:"config_reload"`
	Truncation        Truncation    `cfg:"truncation"`
	HotLoading        HotLoading    `cfg:"hot_loading"`
	RateLimit         RateLimit     `cfg:"rate_limit"`
	Persistence       Persistence   `cfg:"persistence"`
	Approvals         Approvals     `cfg:"approvals"`
	Coordination      Opaque        `cfg:"coordination"`
	Interceptors      Opaque        `cfg:"interceptors"`
	ToolAccess        FleetToolMode `cfg:"tool_access"`
	RelayTasksEnabled bool          `cfg:"relay_tasks_enabled"`
	StartupChecks     StartupChecks `cfg:"startup_checks"`
	Headers           Opaque        `cfg:"headers"`
	HTTP              HTTPServing   `cfg:"http"`
	ResourceLinks     Opaque        `cfg:"resource_links"`
	UIResources       Opaque        `cfg:"ui_resources"`
	Catalog           Opaque        `cfg:"catalog" unread:"written by exports; nothing reads it"`
	Snapshot          Opaque        `cfg:"__snapshot__"` // written by backups, means nothing
}

// Execution bounds what runs at the same time. A concurrency of 0 means no
// limit, as in the reference.
type Execution struct {
	keyed
	MaxConcurrency           int `cfg:"max_concurrency" default:"50" min:"0" max:"100000"`
	DefaultServerConcurrency int `cfg:"default_mcp_server_concurrency" default:"10" min:"0" max:"10000"`
	// MaxParallelStarts is our own key; 0 leaves the choice to the runtime.
	MaxParallelStarts int `cfg:"max_parallel_starts" min:"0" max:"10000"`
}

// Limits bounds what the node takes on; the section is our own.
type Limits struct {
	keyed
	// MaxCalls bounds the calls in flight, waiting ones included; 0 = no bound.
	MaxCalls int `cfg:"max_calls" default:"20000" min:"0" max:"1000000"`
	// MemoryBudget bounds the memory of all servers: bytes, a size as 4g, or a
	// share of the node's memory as 80%. Empty or 0 = no bound.
	MemoryBudget string `cfg:"memory_budget,scalar"`
}

// Retry is the policy for calls that are tried again.
type Retry struct {
	keyed
	Default   RetryPolicy            `cfg:"default_policy"`
	PerServer map[string]RetryPolicy `cfg:"per_mcp_server"`
}

// RetryPolicy says how often, how far apart and after which errors.
type RetryPolicy struct {
	keyed
	MaxAttempts  int           `cfg:"max_attempts" default:"3" min:"1" max:"100"`
	Backoff      string        `cfg:"backoff" default:"exponential" enum:"exponential|linear|constant"`
	InitialDelay time.Duration `cfg:"initial_delay" default:"1" min:"0" max:"3600"`
	MaxDelay     time.Duration `cfg:"max_delay" default:"30" min:"0" max:"86400"`
	RetryOn      []string      `cfg:"retry_on"`
}

// EventStore says where the event log lives. Hangar has its own log: driver
// and path of the reference's SQLite file are accepted without effect.
type EventStore struct {
	keyed
	Enabled bool   `cfg:"enabled" default:"true"`
	Driver  string `cfg:"driver" default:"sqlite" enum:"sqlite|memory"`
	Path    string `cfg:"path" default:"data/events.db"`
	// Durability is our own key: what an acknowledged change survives.
	Durability          string `cfg:"durability" default:"process" enum:"process|power"`
	AllowMemoryFallback bool   `cfg:"allow_memory_fallback" unread:"has no effect: a log that cannot be opened ends the start"`
	// Retention is our own section: what of the log stays.
	Retention Retention `cfg:"retention"`
}

// Retention bounds the event log; the oldest go. 0 leaves the choice to the
// store: 256 MiB, and no age. Calls and other events share the bytes, so that
// calls never push out other events.
type Retention struct {
	keyed
	MaxBytes int            `cfg:"max_bytes" min:"0" max:"1099511627776"`
	MaxAge   time.Duration  `cfg:"max_age_s" min:"0" max:"3153600000"`
	Calls    RetentionShare `cfg:"calls"`
	Events   RetentionShare `cfg:"events"`
}

// RetentionShare bounds the calls in the event log, or all other events. 0 means
// for the bytes what the other leaves, and a quarter for events if neither says;
// for the age that of the whole log.
type RetentionShare struct {
	keyed
	MaxBytes int           `cfg:"max_bytes" min:"0" max:"1099511627776"`
	MaxAge   time.Duration `cfg:"max_age_s" min:"0" max:"3153600000"`
}

// InMemory reports whether nothing of the log is to be kept on disk.
func (e EventStore) InMemory() bool { return !e.Enabled || e.Driver == "memory" }

// Logging is the log of the runtime itself, not that of the servers.
type Logging struct {
	keyed
	Level string `cfg:"level" default:"INFO" enum:"DEBUG|INFO|WARNING|ERROR|CRITICAL"`
	JSON  bool   `cfg:"json_format"`
	File  string `cfg:"file"`
}

// Health is documented by the reference and read by nobody; the interval of
// a server is health_check_interval_s of the server.
type Health struct {
	keyed
	Enabled  bool          `cfg:"enabled" default:"true" unread:"has no effect, in the reference neither; servers are always probed"`
	Interval time.Duration `cfg:"interval_s" default:"60" min:"0.1" max:"86400" unread:"has no effect, in the reference neither; set health_check_interval_s of a server"`
}

// Observability is tracing and what hangs on it.
type Observability struct {
	keyed
	Tracing  Tracing  `cfg:"tracing"`
	Langfuse Langfuse `cfg:"langfuse"`
	Audit    Audit    `cfg:"audit"`
}

// Tracing exports spans by OTLP.
type Tracing struct {
	keyed
	Enabled       bool   `cfg:"enabled"`
	OTLPEndpoint  string `cfg:"otlp_endpoint" default:"http://localhost:4317"`
	ServiceName   string `cfg:"service_name" default:"mcp-hangar"`
	JaegerHost    string `cfg:"jaeger_host"`
	JaegerPort    int    `cfg:"jaeger_port" default:"6831" min:"1" max:"65535"`
	ConsoleExport bool   `cfg:"console_export"`
}

// Langfuse sends calls to the service of that name.
type Langfuse struct {
	keyed
	Enabled      bool    `cfg:"enabled"`
	PublicKey    string  `cfg:"public_key"`
	SecretKey    string  `cfg:"secret_key"`
	Host         string  `cfg:"host" default:"https://cloud.langfuse.com"`
	SampleRate   float64 `cfg:"sample_rate" default:"1" min:"0" max:"1"`
	ScrubInputs  bool    `cfg:"scrub_inputs"`
	ScrubOutputs bool    `cfg:"scrub_outputs"`
}

// Audit is the audit trail of newer files.
type Audit struct {
	keyed
	_       openKeys
	Enabled bool `cfg:"enabled"`
}

// ConfigReload watches the file.
type ConfigReload struct {
	keyed
	Enabled     bool          `cfg:"enabled" default:"true"`
	UseWatchdog bool          `cfg:"use_watchdog" default:"true"`
	Interval    time.Duration `cfg:"interval_s" default:"5" min:"0.1" max:"86400"`
}

// Truncation cuts large results and keeps the rest for later.
type Truncation struct {
	keyed
	Enabled                bool          `cfg:"enabled"`
	MaxBatchSizeBytes      int           `cfg:"max_batch_size_bytes" default:"900000" min:"1"`
	MinPerResponseBytes    int           `cfg:"min_per_response_bytes" default:"10000" min:"1"`
	CacheTTL               time.Duration `cfg:"cache_ttl_s" default:"300" min:"1" max:"86400"`
	CacheDriver            string        `cfg:"cache_driver" default:"memory" enum:"memory|redis"`
	RedisURL               string        `cfg:"redis_url"`
	MaxCacheEntries        int           `cfg:"max_cache_entries" default:"10000" min:"1"`
	PreserveJSONStructure  bool          `cfg:"preserve_json_structure" default:"true"`
	TruncateOnLineBoundary bool          `cfg:"truncate_on_line_boundary" default:"true"`
}

// HotLoading installs servers from a registry at run time.
type HotLoading struct {
	keyed
	Enabled  bool   `cfg:"enabled"`
	Registry Opaque `cfg:"registry"`
	Cache    Opaque `cfg:"cache"`
}

// RateLimit bounds the rate of control requests; 0 = not set.
type RateLimit struct {
	keyed
	RPS   float64 `cfg:"rps" min:"0" max:"1000000"`
	Burst int     `cfg:"burst" min:"0" max:"1000000"`
}

// Persistence names the store of newer files.
type Persistence struct {
	keyed
	Backend    string `cfg:"backend" default:"sqlite" enum:"memory|sqlite|postgresql"`
	SQLite     Opaque `cfg:"sqlite"`
	PostgreSQL Opaque `cfg:"postgresql"`
}

// Approvals holds calls for a human.
type Approvals struct {
	keyed
	Enabled  bool   `cfg:"enabled"`
	Channel  string `cfg:"channel"`
	Delivery Opaque `cfg:"delivery"`
	Slack    Opaque `cfg:"slack"`
	Webhook  Opaque `cfg:"webhook"`
}

// FleetToolMode is the section tool_access of the whole fleet.
type FleetToolMode struct {
	keyed
	_     closedKeys
	Mode  string `cfg:"mode" default:"egress" enum:"egress|front_door"`
	Rules Opaque `cfg:"rules"`
}

// StartupChecks refuses to start on findings about security.
type StartupChecks struct {
	keyed
	Enforce bool `cfg:"enforce"`
}

// HTTPServing is the section http of newer files.
type HTTPServing struct {
	keyed
	GracefulShutdownTimeout time.Duration `cfg:"graceful_shutdown_timeout_s" default:"10" min:"0" max:"3600"`
}
