package supervisor

import (
	"encoding/json"
	"errors"
	"time"
)

// Mode names the backend that runs a server's instances.
type Mode string

// The modes of the contract. Container and podman are spelled docker.
const (
	ModeSubprocess Mode = "subprocess"
	ModeDocker     Mode = "docker"
	ModeRemote     Mode = "remote"
	ModeInProcess  Mode = "inprocess"
	// ModeGroup is no server's: the views of groups carry it.
	ModeGroup Mode = "group"
)

// Provenance says who owns a spec: a reload touches only what the
// configuration file owns.
type Provenance string

// The owners of a spec.
const (
	FromConfig    Provenance = "config"
	FromAPI       Provenance = "api"
	FromDiscovery Provenance = "discovery"
	FromEmbedder  Provenance = "attached"
)

// Restart is OTP's restart type: when an instance that ended by itself is
// started again.
type Restart string

// Permanent restarts after every end, is started with the runtime and never
// stopped for being idle; transient restarts after an abnormal end; temporary
// never.
const (
	Permanent Restart = "permanent"
	Transient Restart = "transient"
	Temporary Restart = "temporary"
)

// Defaults and bounds of the contract (reference section 1.1.1) and of the
// supervision policy.
const (
	DefaultIdleTTL             = 300 * time.Second
	MaxIdleTTL                 = 86400 * time.Second
	DefaultHealthCheckInterval = 60 * time.Second
	MinHealthCheckInterval     = 5 * time.Second
	MaxHealthCheckInterval     = 3600 * time.Second
	DefaultMaxFailures         = 3
	DefaultStartTimeout        = 30 * time.Second
	DefaultCallTimeout         = 60 * time.Second
	// DefaultMaxInFlight bounds the calls written to one instance and not
	// yet answered when the spec sets no max_concurrency.
	DefaultMaxInFlight = 256
	// MaxIDLength bounds an id; with "__" and a tool name it must stay
	// inside the 128 characters MCP allows for a tool name.
	MaxIDLength    = 64
	MaxEnvCount    = 100
	MaxEnvBytes    = 32 << 10
	MaxArgs        = 100
	MaxArgBytes    = 32 << 10
	MaxDescription = 4096
	MaxVolumes     = 100
	MaxTools       = 1000
	maxEnvKeyBytes = 256
	maxFieldBytes  = 4096 // of a path, image, address or network name
)

// ServerSpec is the wanted configuration of one server. It is a value: nobody
// changes a spec, its slices or its map after handing it over.
type ServerSpec struct {
	ID          string            `json:"mcp_server_id"`
	Mode        Mode              `json:"mode"`
	Command     []string          `json:"command,omitempty"` // program and arguments, never through a shell
	Dir         string            `json:"cwd,omitempty"`
	Image       string            `json:"image,omitempty"`
	Endpoint    string            `json:"endpoint,omitempty"`
	Env         map[string]string `json:"env,omitempty"`
	Description string            `json:"description,omitempty"`
	Volumes     []string          `json:"volumes,omitempty"`
	Network     string            `json:"network,omitempty"`
	ReadOnly    bool              `json:"read_only"`

	IdleTTL             time.Duration `json:"idle_ttl"`
	HealthCheckInterval time.Duration `json:"health_check_interval"`
	MaxFailures         int           `json:"max_consecutive_failures"`
	MaxConcurrency      int           `json:"max_concurrency,omitempty"` // 0 = DefaultMaxInFlight
	StartTimeout        time.Duration `json:"start_timeout"`
	Limits              Limits        `json:"limits,omitzero"`

	// How the server is supervised; see supervision.go.
	Restart       Restart         `json:"restart,omitempty"`
	MaxRestarts   int             `json:"max_restarts,omitempty"`   // automatic restarts allowed in RestartPeriod
	RestartPeriod time.Duration   `json:"restart_period,omitempty"` // the intensity's window
	Backoff       Backoff         `json:"backoff,omitzero"`
	Strategy      RestartStrategy `json:"strategy,omitempty"`
	DependsOn     []string        `json:"depends_on,omitempty"` // ids of servers that must be ready before this one starts

	// Tools are predefined tool objects (raw, with name and inputSchema),
	// listed before the first start and replaced by the real list.
	Tools []json.RawMessage `json:"tools,omitempty"`

	Provenance Provenance `json:"provenance"`
}

// ErrInvalidSpec is in the chain of every validation error of a server's or group's spec.
var ErrInvalidSpec = errors.New("invalid spec")

// WithDefaults returns the spec with every unset field at its default, except
// ReadOnly: only who decoded the input can tell an unset bool from false, so
// the contract's default of true is set there.
func (s ServerSpec) WithDefaults() ServerSpec {
	if s.Mode == "container" || s.Mode == "podman" {
		s.Mode = ModeDocker
	}
	s.IdleTTL = orDefault(s.IdleTTL, DefaultIdleTTL)
	s.HealthCheckInterval = orDefault(s.HealthCheckInterval, DefaultHealthCheckInterval)
	s.StartTimeout = orDefault(s.StartTimeout, DefaultStartTimeout)
	s.MaxFailures = orDefault(s.MaxFailures, DefaultMaxFailures)
	s.Restart = orDefault(s.Restart, Transient)
	s.MaxRestarts = orDefault(s.MaxRestarts, DefaultMaxRestarts)
	s.RestartPeriod = orDefault(s.RestartPeriod, DefaultRestartPeriod)
	s.Backoff = s.Backoff.withDefaults()
	s.Strategy = orDefault(s.Strategy, OneForOne)
	if s.Network == "" {
		s.Network = "none"
	}
	if s.Provenance == "" {
		s.Provenance = FromAPI
	}
	return s
}

func orDefault[T comparable](v, def T) T {
	var zero T
	if v == zero {
		return def
	}
	return v
}
