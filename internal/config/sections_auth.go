package config

import "time"

// Auth says who may do what. It is off unless Enabled.
type Auth struct {
	keyed
	Enabled         bool             `cfg:"enabled"`
	AllowAnonymous  bool             `cfg:"allow_anonymous"`
	APIKey          APIKeyAuth       `cfg:"api_key"`
	OIDC            OIDC             `cfg:"oidc"`
	OPA             OPA              `cfg:"opa"`
	Storage         AuthStorage      `cfg:"storage"`
	RateLimit       AuthRateLimit    `cfg:"rate_limit"`
	RoleAssignments []RoleAssignment `cfg:"role_assignments"`
	Stdio           Opaque           `cfg:"stdio"`
}

// APIKeyAuth reads a key from a header.
type APIKeyAuth struct {
	keyed
	Enabled    bool   `cfg:"enabled" default:"true"`
	HeaderName string `cfg:"header_name" default:"X-API-Key"`
}

// OIDC accepts tokens of an issuer.
type OIDC struct {
	keyed
	Enabled      bool   `cfg:"enabled"`
	Issuer       string `cfg:"issuer"`
	Audience     string `cfg:"audience"`
	JWKSURI      string `cfg:"jwks_uri"`
	ClientID     string `cfg:"client_id"`
	SubjectClaim string `cfg:"subject_claim" default:"sub"`
	GroupsClaim  string `cfg:"groups_claim" default:"groups"`
	TenantClaim  string `cfg:"tenant_claim" default:"tenant_id"`
	EmailClaim   string `cfg:"email_claim" default:"email"`
}

// OPA asks a policy server.
type OPA struct {
	keyed
	Enabled    bool          `cfg:"enabled"`
	URL        string        `cfg:"url"`
	PolicyPath string        `cfg:"policy_path" default:"v1/data/mcp/authz/allow"`
	Timeout    time.Duration `cfg:"timeout" default:"5" min:"0.001" max:"300"`
}

// AuthStorage is where keys and roles are kept. Its further keys depend on
// the driver.
type AuthStorage struct {
	keyed
	_      openKeys
	Driver string `cfg:"driver" default:"memory" enum:"memory|sqlite|postgresql|event_sourcing"`
	Path   string `cfg:"path"`
}

// AuthRateLimit locks out an address that guesses.
type AuthRateLimit struct {
	keyed
	Enabled     bool          `cfg:"enabled" default:"true"`
	MaxAttempts int           `cfg:"max_attempts" default:"10" min:"1" max:"100000"`
	Window      time.Duration `cfg:"window_seconds" default:"60" min:"1" max:"86400"`
	Lockout     time.Duration `cfg:"lockout_seconds" default:"300" min:"0" max:"86400"`
	RPS         float64       `cfg:"rps" min:"0" unread:"has no effect, in the reference neither; set max_attempts and window_seconds"`
	Burst       int           `cfg:"burst" min:"0" unread:"has no effect, in the reference neither; set max_attempts and window_seconds"`
}

// RoleAssignment gives a principal a role at the start.
type RoleAssignment struct {
	keyed
	Principal string `cfg:"principal,required"`
	Role      string `cfg:"role,required"`
	Scope     string `cfg:"scope" default:"global"`
}
