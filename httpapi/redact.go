package httpapi

import (
	"github.com/aabb9013/hangar/internal/redact"
	"github.com/aabb9013/hangar/supervisor"
)

// configShape is the spec as people may see it: values of environment variables
// and whatever looks like a credential in arguments and URLs stay inside.
type configShape struct {
	Mode                supervisor.Mode       `json:"mode"`
	Command             []string              `json:"command"`
	Dir                 string                `json:"cwd,omitempty"`
	Image               *string               `json:"image"`
	Endpoint            *string               `json:"endpoint"`
	Env                 map[string]string     `json:"env"`
	IdleTTL             float64               `json:"idle_ttl_s"`
	HealthCheckInterval float64               `json:"health_check_interval_s"`
	MaxFailures         int                   `json:"max_consecutive_failures"`
	MaxConcurrency      int                   `json:"max_concurrency"`
	StartTimeout        float64               `json:"start_timeout_s"`
	Description         *string               `json:"description"`
	Volumes             []string              `json:"volumes"`
	Network             string                `json:"network"`
	ReadOnly            bool                  `json:"read_only"`
	Provenance          supervisor.Provenance `json:"provenance"`
	Resources           limitsShape           `json:"resources,omitzero"`

	Restart       supervisor.Restart         `json:"restart"`
	MaxRestarts   int                        `json:"max_restarts"`
	RestartPeriod float64                    `json:"period_s"`
	Backoff       backoffShape               `json:"backoff"`
	Strategy      supervisor.RestartStrategy `json:"strategy"`
	DependsOn     []string                   `json:"depends_on"`
}

func configOf(s supervisor.ServerSpec) configShape {
	c := configShape{
		Mode:                s.Mode,
		Command:             redact.Command(s.Command),
		Dir:                 s.Dir,
		Image:               textOrNull(s.Image),
		Endpoint:            textOrNull(redact.URL(s.Endpoint)),
		Env:                 make(map[string]string, len(s.Env)),
		IdleTTL:             s.IdleTTL.Seconds(),
		HealthCheckInterval: s.HealthCheckInterval.Seconds(),
		MaxFailures:         s.MaxFailures,
		MaxConcurrency:      s.MaxConcurrency,
		StartTimeout:        s.StartTimeout.Seconds(),
		Description:         textOrNull(s.Description),
		Volumes:             append([]string{}, s.Volumes...),
		Network:             s.Network,
		ReadOnly:            s.ReadOnly,
		Provenance:          s.Provenance,
		Resources:           limitsShape(s.Limits),

		Restart:       s.Restart,
		MaxRestarts:   s.MaxRestarts,
		RestartPeriod: s.RestartPeriod.Seconds(),
		Backoff:       backoffOf(s.Backoff),
		Strategy:      s.Strategy,
		DependsOn:     append([]string{}, s.DependsOn...),
	}
	for k := range s.Env {
		c.Env[k] = redact.Mark
	}
	return c
}

func textOrNull(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}
