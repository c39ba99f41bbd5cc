package supervisor

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
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

// Permanent restarts after every end, transient after an abnormal one,
// temporary never.
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

	// Tools are predefined tool objects (raw, with name and inputSchema),
	// listed before the first start and replaced by the real list.
	Tools []json.RawMessage `json:"tools,omitempty"`

	Provenance Provenance `json:"provenance"`
}

// ErrInvalidSpec is in the chain of every validation error of a spec.
var ErrInvalidSpec = errors.New("invalid server spec")

// WithDefaults returns the spec with every unset field at its default.
func (s ServerSpec) WithDefaults() ServerSpec {
	if s.Mode == "container" || s.Mode == "podman" {
		s.Mode = ModeDocker
	}
	s.IdleTTL = orDefault(s.IdleTTL, DefaultIdleTTL)
	s.HealthCheckInterval = orDefault(s.HealthCheckInterval, DefaultHealthCheckInterval)
	s.StartTimeout = orDefault(s.StartTimeout, DefaultStartTimeout)
	s.MaxFailures = orDefault(s.MaxFailures, DefaultMaxFailures)
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

// Validate reports every fault of a spec (after WithDefaults) at once; each
// is ErrInvalidSpec for errors.Is.
func (s ServerSpec) Validate() error {
	var faults []error
	fault := func(format string, args ...any) {
		faults = append(faults, fmt.Errorf("%w: "+format, append([]any{ErrInvalidSpec}, args...)...))
	}
	if err := ValidateID(s.ID); err != nil {
		faults = append(faults, err)
	}
	switch s.Mode {
	case ModeSubprocess:
		if len(s.Command) == 0 || s.Command[0] == "" {
			fault("command is required for mode subprocess")
		}
	case ModeDocker:
		if s.Image == "" {
			fault("image is required for mode docker")
		}
	case ModeRemote:
		if s.Endpoint == "" {
			fault("endpoint is required for mode remote")
		}
	case ModeInProcess:
	default:
		fault("mode %q is not one of subprocess, docker, remote", s.Mode)
	}
	s.validateSizes(fault)
	if s.IdleTTL < time.Second || s.IdleTTL > MaxIdleTTL {
		fault("idle_ttl_s must be between 1 and 86400")
	}
	if s.HealthCheckInterval < MinHealthCheckInterval || s.HealthCheckInterval > MaxHealthCheckInterval {
		fault("health_check_interval_s must be between 5 and 3600")
	}
	if s.MaxFailures < 1 || s.MaxFailures > 100 {
		fault("max_consecutive_failures must be between 1 and 100")
	}
	if s.MaxConcurrency < 0 || s.MaxConcurrency > 10000 {
		fault("max_concurrency must be between 0 and 10000")
	}
	if s.StartTimeout < 0 || s.StartTimeout > time.Hour {
		fault("start_timeout_s must be between 0 and 3600")
	}
	return errors.Join(faults...)
}

func (s ServerSpec) validateSizes(fault func(string, ...any)) {
	if len(s.Command) > MaxArgs {
		fault("command has %d words, the limit is %d", len(s.Command), MaxArgs)
	}
	for i, arg := range s.Command {
		if len(arg) > MaxArgBytes || strings.ContainsRune(arg, 0) {
			fault("command word %d is longer than %d bytes or has a NUL byte", i, MaxArgBytes)
		}
	}
	if len(s.Env) > MaxEnvCount {
		fault("env has %d variables, the limit is %d", len(s.Env), MaxEnvCount)
	}
	for k, v := range s.Env {
		if !validEnvKey(k) {
			fault("env name %q must be letters, digits and _, not starting with a digit", clip(k))
		}
		if len(v) > MaxEnvBytes || strings.ContainsRune(v, 0) {
			fault("env value of %q is longer than %d bytes or has a NUL byte", clip(k), MaxEnvBytes)
		}
	}
	if len(s.Description) > MaxDescription {
		fault("description is longer than %d bytes", MaxDescription)
	}
}

// ValidateID tells whether id may name a server or group: 1 to 64 characters
// of A-Za-z0-9_-, without "__", which separates server and tool at /mcp.
func ValidateID(id string) error {
	if id == "" || len(id) > MaxIDLength {
		return fmt.Errorf("%w: mcp_server_id must have 1 to %d characters, this one has %d", ErrInvalidSpec, MaxIDLength, len(id))
	}
	for i := 0; i < len(id); i++ {
		if !isAlnum(id[i]) && id[i] != '_' && id[i] != '-' {
			return fmt.Errorf("%w: mcp_server_id %q may have only letters, digits, _ and -", ErrInvalidSpec, id)
		}
	}
	if strings.Contains(id, "__") || strings.HasSuffix(id, "_") {
		return fmt.Errorf("%w: mcp_server_id %q must not contain \"__\" or end with \"_\", \"__\" separates server and tool names", ErrInvalidSpec, id)
	}
	return nil
}

func validEnvKey(k string) bool {
	if k == "" || len(k) > 256 || k[0] >= '0' && k[0] <= '9' {
		return false
	}
	for i := 0; i < len(k); i++ {
		if !isAlnum(k[i]) && k[i] != '_' {
			return false
		}
	}
	return true
}

func isAlnum(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
}

func clip(s string) string {
	if len(s) > 80 {
		return s[:80] + "…"
	}
	return s
}
