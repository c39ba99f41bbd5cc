package supervisor

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

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
	s.validateEnv(fault)
	s.validateTools(fault)
	s.validateLimits(fault)
	s.validateSupervision(fault)
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
	if s.StartTimeout <= 0 || s.StartTimeout > time.Hour {
		fault("start_timeout_s must be more than 0 and at most 3600")
	}
	return errors.Join(faults...)
}

func (s ServerSpec) validateSizes(fault func(string, ...any)) {
	if len(s.Command) > MaxArgs {
		fault("command has %d words, the limit is %d", len(s.Command), MaxArgs)
	}
	for i, arg := range s.Command {
		if !validText(arg, MaxArgBytes) {
			fault("command word %d is longer than %d bytes or has a NUL byte", i, MaxArgBytes)
		}
	}
	if len(s.Volumes) > MaxVolumes {
		fault("volumes has %d entries, the limit is %d", len(s.Volumes), MaxVolumes)
	}
	for i, volume := range s.Volumes {
		if !validText(volume, maxFieldBytes) {
			fault("volume %d is longer than %d bytes or has a NUL byte", i, maxFieldBytes)
		}
	}
	for _, field := range [...]struct{ name, value string }{
		{"cwd", s.Dir}, {"image", s.Image}, {"endpoint", s.Endpoint}, {"network", s.Network},
	} {
		if !validText(field.value, maxFieldBytes) {
			fault("%s is longer than %d bytes or has a NUL byte", field.name, maxFieldBytes)
		}
	}
	if len(s.Description) > MaxDescription {
		fault("description is longer than %d bytes", MaxDescription)
	}
}

// validateEnv goes by name: the same spec always gives the same error text.
func (s ServerSpec) validateEnv(fault func(string, ...any)) {
	if len(s.Env) > MaxEnvCount {
		fault("env has %d variables, the limit is %d", len(s.Env), MaxEnvCount)
	}
	for _, k := range slices.Sorted(maps.Keys(s.Env)) {
		if !validEnvKey(k) {
			fault("env name %q must be at most %d letters, digits and _, not starting with a digit", clip(k), maxEnvKeyBytes)
		}
		if !validText(s.Env[k], MaxEnvBytes) {
			fault("env value of %q is longer than %d bytes or has a NUL byte", clip(k), MaxEnvBytes)
		}
	}
}

// validateTools: one broken raw message would make the whole spec impossible
// to encode, and so to keep.
func (s ServerSpec) validateTools(fault func(string, ...any)) {
	if len(s.Tools) > MaxTools {
		fault("tools has %d entries, the limit is %d", len(s.Tools), MaxTools)
	}
	for i, raw := range s.Tools {
		var tool struct {
			Name string `json:"name"`
		}
		if err := json.Unmarshal(raw, &tool); err != nil || tool.Name == "" {
			fault("tool %d must be a JSON object with a name", i)
		}
	}
}

func validText(s string, limit int) bool {
	return len(s) <= limit && !strings.ContainsRune(s, 0)
}

// ValidateID tells whether id may name a server or group: 1 to 64 characters
// of A-Za-z0-9_-, without "__", which separates server and tool at /mcp.
func ValidateID(id string) error { return validateID("mcp_server_id", id) }

func validateID(field, id string) error {
	for i := 0; i < len(id); i++ {
		if !isAlnum(id[i]) && id[i] != '_' && id[i] != '-' {
			return fmt.Errorf("%w: %s %q may have only letters, digits, _ and -", ErrInvalidSpec, field, clip(id))
		}
	}
	// From here on bytes are characters, as the message counts them.
	if id == "" || len(id) > MaxIDLength {
		return fmt.Errorf("%w: %s must have 1 to %d characters, this one has %d", ErrInvalidSpec, field, MaxIDLength, len(id))
	}
	if strings.Contains(id, "__") || strings.HasSuffix(id, "_") {
		return fmt.Errorf("%w: %s %q must not contain \"__\" or end with \"_\", \"__\" separates server and tool names", ErrInvalidSpec, field, id)
	}
	return nil
}

func validEnvKey(k string) bool {
	if k == "" || len(k) > maxEnvKeyBytes || k[0] >= '0' && k[0] <= '9' {
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

// clip shortens text from outside for a message, not inside a character.
func clip(s string) string {
	const limit = 80
	if len(s) <= limit {
		return s
	}
	end := limit
	for end > limit-utf8.UTFMax && !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end] + "…"
}
