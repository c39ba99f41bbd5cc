package config

import (
	"fmt"
	"strings"
	"testing"
)

// TestSecretsAreInNoFault puts a secret everywhere a person might, with every
// mistake that could print it.
func TestSecretsAreInNoFault(t *testing.T) {
	t.Parallel()
	const secret = "hunter2"
	vars := map[string]string{"SECRET": secret, "SECRETS": "[" + secret + "]"}
	for _, text := range []string{
		"env: {A: [hunter2]}", "env: [hunter2]", "env: hunter2", "env: {API_KEY: {x: hunter2}}", "env: {A: !hunter2 x}",
		"env: {A: *hunter2}", "env: {A: !!int hunter2}", "env: {A: \"hunter2\\0\"}", "env: {A: 'hunter2', A: 'hunter2'}",
		"command: hunter2", "args: hunter2", "args: [[hunter2]]", "args: [--token=hunter2, {a: hunter2}]",
		"endpoint: [hunter2]", "mode: remote\nendpoint: 'ftp://u:hunter2@h'", "mode: remote\nendpoint: 'http://u:hunter2@h:x'",
		"auth: {type: hunter2}", "auth: hunter2", "http: {headers: {Authorization: [hunter2]}}", "http: {headers: hunter2}",
		"idle_ttl_s: ${SECRET}", "mode: ${SECRET}", "restart: '${SECRET}'", "tools: [{name: x, inputSchema: '${SECRET}'}]",
		"description: ['${SECRET}']", "build: {password: !!int hunter2}", "build: {a: !!float '${SECRET}'}", "tools: ${SECRETS}",
		"cwd: ${hunter2 x}", "api_token: hunter2", "secret: {hunter2}", "tools: [{name: '${SECRET}'}, {name: '${SECRET}'}]",
	} {
		assertNoSecret(t, oneServer(text), secret, vars)
	}
	for _, text := range []string{
		"hunter2", "[hunter2]", "- hunter2", "auth: hunter2", "auth: {enabled: hunter2}", "auth: {api_key: hunter2}",
		"auth: {oidc: {enabled: hunter2}}", "truncation: {redis_url: ['redis://:hunter2@h']}", "auth: {storage: {driver: hunter2}}",
		"observability: {langfuse: {secret_key: {a: hunter2}}}", "observability: {langfuse: {public_key: [hunter2]}}",
		"password: *hunter2", "password: @hunter2", "password: `hunter2`", "password: \"hunter2", "password: hunter2: x", "password: %hunter2",
		"password: &hunter2 x\nb: *hunter22", "password: !hunter2 x", "? {hunter2: x}\n: y", "-----BEGIN PRIVATE KEY-----\nhunter2\n-----END PRIVATE KEY-----",
	} {
		assertNoSecret(t, text, secret, vars)
		assertNoSecret(t, "mcp_servers: {s: {command: [x]}}\n"+text, secret, vars)
	}
}

func assertNoSecret(t *testing.T, text, secret string, vars map[string]string) {
	t.Helper()
	c, err := Parse("f", []byte(text), environment(vars))
	told := fmt.Sprint(err)
	if c != nil {
		told += fmt.Sprint(c.Warnings(), c.Unsupported())
	}
	if strings.Contains(told, secret) {
		t.Errorf("%s\ntells the secret: %s", text, told)
	}
}
