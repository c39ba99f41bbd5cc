package httpapi

import (
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/aabb9013/hangar/supervisor"
)

// createFields are the contract's fields of a create and, after them, those of
// the configuration file that make sense here too.
var createFields = []string{
	"mcp_server_id", "mode", "command", "image", "endpoint", "env", "idle_ttl_s", "health_check_interval_s",
	"description", "volumes", "network", "read_only",
	"cwd", "max_consecutive_failures", "max_concurrency", "start_timeout_s", "resources",
	"restart", "max_restarts", "period_s", "backoff", "strategy", "depends_on",
}

// decodeSpec reads and validates the body of a create.
func decodeSpec(body []byte) (supervisor.ServerSpec, error) {
	o, err := decodeObject(body)
	if err != nil {
		return supervisor.ServerSpec{}, err
	}
	f := &fields{object: o}
	f.onlyKnown(createFields...)
	spec := supervisor.ServerSpec{
		ID:       f.required("mcp_server_id"),
		Mode:     f.mode(),
		Command:  f.texts("command"),
		Volumes:  f.texts("volumes"),
		ReadOnly: true,
		// What comes in over the API is owned by the API, whatever it says.
		Provenance: supervisor.FromAPI,
	}
	setIf(&spec.Image, f.text("image"))
	setIf(&spec.Endpoint, f.text("endpoint"))
	setIf(&spec.Env, f.textMap("env"))
	setIf(&spec.Description, f.text("description"))
	setIf(&spec.Network, f.network())
	setIf(&spec.ReadOnly, f.flag("read_only"))
	setIf(&spec.Dir, f.text("cwd"))
	setIf(&spec.IdleTTL, f.idleTTL())
	setIf(&spec.HealthCheckInterval, f.healthCheckInterval())
	setIf(&spec.MaxFailures, f.integer("max_consecutive_failures", 1, 100))
	setIf(&spec.MaxConcurrency, f.integer("max_concurrency", 0, 10000))
	setIf(&spec.StartTimeout, f.seconds("start_timeout_s", time.Second, time.Hour))
	spec.Limits = f.limits()
	f.supervision(&spec)
	f.needs(spec)
	if err := f.err(); err != nil {
		return supervisor.ServerSpec{}, err
	}
	spec = spec.WithDefaults()
	return spec, spec.Validate()
}

// decodePatch reads the body of an update. Unknown fields are ignored, as the
// contract says, and so never applied.
func decodePatch(body []byte) (supervisor.Patch, error) {
	o, err := decodeObject(body)
	if err != nil {
		return supervisor.Patch{}, err
	}
	f := &fields{object: o}
	patch := supervisor.Patch{
		Description:         f.text("description"),
		Env:                 f.textMap("env"),
		IdleTTL:             f.idleTTL(),
		HealthCheckInterval: f.healthCheckInterval(),
	}
	return patch, f.err()
}

func setIf[T any](to *T, from *T) {
	if from != nil {
		*to = *from
	}
}

func (f *fields) idleTTL() *time.Duration {
	return f.seconds("idle_ttl_s", time.Second, supervisor.MaxIdleTTL)
}

func (f *fields) healthCheckInterval() *time.Duration {
	return f.seconds("health_check_interval_s", supervisor.MinHealthCheckInterval, supervisor.MaxHealthCheckInterval)
}

// mode takes the three modes and the two other spellings of docker; in-process
// servers are attached by embedding programs, never over the network.
func (f *fields) mode() supervisor.Mode {
	mode := f.required("mode")
	switch supervisor.Mode(mode) {
	case supervisor.ModeSubprocess, supervisor.ModeDocker, supervisor.ModeRemote, "":
		return supervisor.Mode(mode)
	case "container", "podman":
		return supervisor.ModeDocker
	}
	f.fault("mode", "must be one of subprocess, docker, remote, not %s", quoteClient(mode))
	return ""
}

func (f *fields) network() *string {
	name := f.text("network")
	if name != nil && !slices.Contains([]string{"none", "bridge", "host"}, *name) {
		f.fault("network", "must be one of none, bridge, host")
	}
	return name
}

// needs checks what the mode makes required.
func (f *fields) needs(spec supervisor.ServerSpec) {
	blameless := func(name string) bool { return !slices.Contains(f.names, name) }
	switch spec.Mode {
	case supervisor.ModeSubprocess:
		if (len(spec.Command) == 0 || spec.Command[0] == "") && blameless("command") {
			f.fault("command", "is required for mode subprocess")
		}
	case supervisor.ModeDocker:
		if spec.Image == "" && blameless("image") {
			f.fault("image", "is required for mode docker")
		}
	case supervisor.ModeRemote:
		if spec.Endpoint == "" {
			if blameless("endpoint") {
				f.fault("endpoint", "is required for mode remote")
			}
			return
		}
		u, err := url.Parse(spec.Endpoint)
		if err != nil || u.Host == "" || !strings.EqualFold(u.Scheme, "http") && !strings.EqualFold(u.Scheme, "https") {
			f.fault("endpoint", "must be an http or https URL")
		}
	}
}
