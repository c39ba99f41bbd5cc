package httpapi

import (
	"net/url"
	"strings"

	"github.com/aabb9013/hangar/supervisor"
)

// redacted stands wherever a secret was.
const redacted = "***"

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
}

func configOf(s supervisor.ServerSpec) configShape {
	c := configShape{
		Mode:                s.Mode,
		Command:             redactCommand(s.Command),
		Dir:                 s.Dir,
		Image:               textOrNull(s.Image),
		Endpoint:            textOrNull(redactURL(s.Endpoint)),
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
	}
	for k := range s.Env {
		c.Env[k] = redacted
	}
	return c
}

func textOrNull(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// isSensitive is the contract's rule (reference section 6.6) and two more words.
func isSensitive(name string) bool {
	name = strings.ToLower(name)
	for _, word := range []string{"secret", "key", "token", "password", "passwd", "credential", "authorization"} {
		if strings.Contains(name, word) {
			return true
		}
	}
	return false
}

// redactCommand hides the values of --api-key=x, --api-key x, TOKEN=x and the
// credentials of URLs among the arguments.
func redactCommand(command []string) []string {
	out := make([]string, 0, len(command))
	hideNext := false
	for _, arg := range command {
		name, value, assigned := strings.Cut(arg, "=")
		flag := strings.HasPrefix(arg, "-")
		switch {
		case hideNext && !flag:
			arg = redacted
		case assigned && isSensitive(name) && value != "":
			arg = name + "=" + redacted
		case assigned && strings.Contains(value, "://") && !strings.Contains(name, "://"):
			arg = name + "=" + redactURL(value)
		case strings.Contains(arg, "://"):
			arg = redactURL(arg)
		}
		hideNext = flag && !assigned && isSensitive(name)
		out = append(out, arg)
	}
	return out
}

// redactURL hides user, password and the values of the query.
func redactURL(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		if strings.ContainsAny(raw, "@?") {
			return redacted
		}
		return raw
	}
	if u.User == nil && u.RawQuery == "" {
		return raw
	}
	if u.User != nil {
		u.User = url.User("redacted")
	}
	query := u.Query()
	for k := range query {
		query[k] = []string{redacted}
	}
	u.RawQuery = strings.ReplaceAll(query.Encode(), url.QueryEscape(redacted), redacted)
	return strings.Replace(u.String(), "//redacted@", "//"+redacted+"@", 1)
}
