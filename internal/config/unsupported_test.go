package config

import (
	"errors"
	"strings"
	"testing"
)

func TestWhatIsSwitchedOnAndNotBuiltIsListed(t *testing.T) {
	t.Parallel()
	const server = "mcp_servers: {s: {command: [x]}}\n"
	for text, path := range map[string]string{
		server + "auth: {enabled: true}":                                   "auth.enabled",
		server + "discovery: {enabled: true}":                              "discovery.enabled",
		"discovery: {enabled: true}":                                       "discovery.enabled",
		server + "truncation: {enabled: yes}":                              "truncation.enabled",
		server + "hot_loading: {enabled: true}":                            "hot_loading.enabled",
		server + "approvals: {enabled: true}":                              "approvals.enabled",
		server + "observability: {tracing: {enabled: true}}":               "observability.tracing.enabled",
		server + "observability: {langfuse: {enabled: true}}":              "observability.langfuse.enabled",
		server + "observability: {audit: {enabled: true}}":                 "observability.audit.enabled",
		server + "rate_limit: {rps: 10}":                                   "rate_limit",
		server + "retry: {default_policy: {max_attempts: 2}}":              "retry.default_policy",
		server + "retry: {per_mcp_server: {s: {}}}":                        "retry.per_mcp_server",
		server + "persistence: {backend: postgresql}":                      "persistence.backend",
		server + "tool_access: {mode: front_door}":                         "tool_access.mode",
		server + "tool_access: {rules: []}":                                "tool_access.rules",
		server + "relay_tasks_enabled: true":                               "relay_tasks_enabled",
		server + "startup_checks: {enforce: true}":                         "startup_checks.enforce",
		server + "coordination: {lease_ttl_s: 3}":                          "coordination",
		server + "interceptors: {validators: []}":                          "interceptors",
		"mcp_servers: {s: {mode: docker, image: i}}":                       "mcp_servers.s.mode",
		"mcp_servers: {s: {mode: remote, endpoint: 'http://h'}}":           "mcp_servers.s.mode",
		oneGroup("tools: {deny_list: ['*']}"):                              "mcp_servers.g.tools",
		oneGroup("access: {prompt: {deny_list: ['*']}}"):                   "mcp_servers.g.access",
		oneGroup("members: [{id: m, mode: remote, endpoint: 'http://h'}]"): "mcp_servers.g.members[0].mode",
		oneServer("tools: {deny_list: ['*']}"):                             "mcp_servers.s.tools",
		oneServer("access: {prompt: {deny_list: ['*']}}"):                  "mcp_servers.s.access",
		oneServer("canary: {}"):                                            "mcp_servers.s.canary",
		oneServer("capabilities: {}"):                                      "mcp_servers.s.capabilities",
		oneServer("tool_projection: {}"):                                   "mcp_servers.s.tool_projection",
	} {
		list := mustParse(t, text, nil).Unsupported()
		if len(list) != 1 {
			t.Errorf("%s: got %v, want one", text, list)
			continue
		}
		if f := list[0]; f.Path != path || f.Line == 0 || !errors.Is(list, ErrNotBuilt) || errors.Is(list, ErrInvalid) || f.File != "hangar.yaml" {
			t.Errorf("%s: got %v", text, f)
		}
	}
}

func TestWhatIsPresentAndOffIsHarmless(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"auth: {enabled: false, api_key: {enabled: true}}", "discovery: {enabled: false, sources: [{type: docker}]}",
		"truncation: {enabled: no}", "hot_loading: {enabled: off}", "observability: {tracing: {enabled: false}}",
		"rate_limit: {}", "retry: {default_policy: {max_attempts: 1}}", "tool_access: {mode: egress}", "auth:", "retry:",
		"config_reload: {enabled: false}", "coordination:",
	} {
		c := mustParse(t, oneServer("restart: transient\ntools: {allow_list: []}")+text, nil)
		if len(c.Unsupported()) != 0 || len(c.Warnings()) != 0 {
			t.Errorf("%s: got unsupported %v, warnings %v", text, c.Unsupported(), c.Warnings())
		}
	}
}

func TestKeysWithoutEffectWarn(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"health: {enabled: true}":                             "in the reference neither",
		"event_store: {driver: sqlite}":                       "its own event log",
		"event_store: {driver: memory}":                       "kept in memory",
		"event_store: {enabled: false}":                       "kept in memory",
		"auth: {allow_anonymous: true}":                       "off without enabled: true",
		"discovery: {sources: [{type: docker}]}":              "off without enabled: true",
		"observability: {tracing: {otlp_endpoint: 'http:x'}}": "off without enabled: true",
		"auth: {enabled: false, rate_limit: {rps: 3}}":        "in the reference neither",
		"persistence: {backend: sqlite}":                      "its own store",
		"catalog: {}":                                         "nothing reads it",
	} {
		c := mustParse(t, oneServer("cwd: /")+text, nil)
		if len(c.Warnings()) != 1 || !strings.Contains(c.Warnings()[0].Message, want) {
			t.Errorf("%s: got %v", text, c.Warnings())
		}
	}
	c := mustParse(t, oneServer("image: x\nnetwork: bridge\nauth: {type: none}"), nil)
	if len(c.Warnings()) != 3 {
		t.Errorf("keys of other modes: got %v", c.Warnings())
	}
}

func TestMemoryStoreIsAField(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bool{"driver: memory": true, "driver: sqlite": false, "enabled: false": true, "path: x": false} {
		if got := mustParse(t, oneServer("cwd: /")+"event_store: {"+text+"}", nil).EventStore.InMemory(); got != want {
			t.Errorf("%s: got %v", text, got)
		}
	}
}

// oneGroup is a file with a server s and a group g with these keys.
func oneGroup(keys string) string {
	return "mcp_servers: {s: {command: [x]}, g: {mode: group, " + keys + "}}"
}
