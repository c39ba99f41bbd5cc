package config

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/aabb9013/hangar/supervisor"
)

// seeds is how many configurations a property is tried on.
const seeds = 12

// TestWrittenConfigurationReadsBackAsItIs: the writer is the inverse of the
// reader, for every key and every awkward text.
func TestWrittenConfigurationReadsBackAsItIs(t *testing.T) {
	t.Parallel()
	for seed := range uint64(seeds) {
		c := generate(t, seed)
		text, err := encode(c.tree(literal{}))
		if err != nil {
			t.Fatal(err)
		}
		back, err := Parse("back", []byte(text), environment(nil))
		if err != nil {
			t.Fatalf("seed %d: %v\n%s", seed, err, text)
		}
		if p := Diff(c, back); !p.Empty() {
			t.Fatalf("seed %d: %+v\n%s", seed, p, text)
		}
		if d, err := TextDiff("a", "b", c, back); err != nil || d != "" {
			t.Fatalf("seed %d: %v\n%s", seed, err, d)
		}
	}
}

// exported loads an export with its variables set to what they stand for.
func exported(t *testing.T, c *Config, e Export) *Config {
	t.Helper()
	vars := make(map[string]string)
	refs := newReferences(c)
	c.tree(recording{refs, vars})
	back, err := Parse("export", []byte(e.YAML), environment(vars))
	if err != nil {
		t.Fatalf("the export does not load: %v\n%s", err, e.YAML)
	}
	for _, v := range e.Variables {
		if _, ok := vars[v.Name]; !ok {
			t.Errorf("%s at %s has no value", v.Name, v.Path)
		}
	}
	return back
}

// recording remembers the value that each reference stands for.
type recording struct {
	*references
	values map[string]string
}

func (r recording) secret(p *path, value, written string) string {
	text := r.references.secret(p, value, written)
	m := wholeReference.FindStringSubmatch(text)
	r.values[m[2]] = strings.TrimPrefix(value, m[1])
	return text
}

func TestExportLoadExportIsIdentical(t *testing.T) {
	t.Parallel()
	for seed := range uint64(seeds) {
		c := generate(t, seed)
		first, err := c.Export()
		if err != nil {
			t.Fatal(err)
		}
		back := exported(t, c, first)
		if p := Diff(c, back); !p.Empty() {
			t.Fatalf("seed %d: %+v\n%s", seed, p, first.YAML)
		}
		second, err := back.Export()
		if err != nil {
			t.Fatal(err)
		}
		if first.YAML != second.YAML {
			t.Fatalf("seed %d: %s\n%s", seed, excerpt(first.YAML, second.YAML), first.YAML)
		}
	}
}

// secretsFile has a secret wherever a person might put one.
const secretsFile = `
mcp_servers:
  a:
    command: [run, --api-key, hunter2, --token=hunter2, API_TOKEN=hunter2, "https://u:hunter2@h/x", "--url=https://h/?api_key=hunter2", plain]
    args: [--password, hunter2, -H, "x-api-key: hunter2", --header, "Authorization: Bearer hunter2", "--header=X-Api-Key: hunter2", '{"password": "hunter2"}', ghp_hunter2hunter2hunter2, "-H", "Authorization: Bearer ${UNSET:-hunter2}", DB_PASS=hunter2, --db-pass, hunter2, -H, "Cookie: session=hunter2", --passphrase=hunter2, "host=db password=hunter2", "u:hunter2@h:1", "--proxy=u:hunter2@h", --token, "-Hhunter2hunter2hunter2", --key, --verbose]
    env: {HOST: hunter2, TOKEN: "${TOKEN}", WITH_DEFAULT: "${UNSET:-hunter2}", MIXED: "hunter2${TOKEN}", EMPTY: ""}
    description: no secret
    tools: [{name: t, inputSchema: {type: object, properties: {token: {type: string, default: sk-hunter2hunter2hunter2}}}}]
    canary: {nested: [{api_key: hunter2, deep: {x: 1}}], password: [hunter2, 5], token: {a: hunter2}, url: "redis://:hunter2@h", headers: {X-Team: hunter2}, list: [[{pass: hunter2}], "Bearer hunter2hunter2"], dsn: "host=db password=hunter2"}
  r:
    mode: remote
    endpoint: https://u:hunter2@h/mcp
    auth: {type: bearer, value: hunter2, more: {x: hunter2}, token: "Bearer ${TOKEN}"}
    http: {headers: {Authorization: hunter2, X-Trace: "Bearer ${TOKEN}"}}
auth:
  storage: {driver: postgresql, dsn: hunter2, port: 5432}
  stdio: {x: hunter2}
truncation: {redis_url: "redis://:hunter2@r:6379/0"}
observability: {langfuse: {public_key: hunter2, secret_key: hunter2}}
persistence: {postgresql: {dsn: "postgres://u:hunter2@db/x", password: hunter2, replica: "host=db user=u password=hunter2"}, sqlite: {path: "file:x?key=hunter2"}}
discovery: {sources: [{type: docker, registry: "u:hunter2@r.example", registry_auth: {x: [hunter2]}, proxy: "http://u:hunter2@proxy:3128"}]}
approvals: {slack: {webhook_url: "https://hooks.slack.com/services/T0/B0/hunter2"}, webhook: {url: "https://h/hunter2", timeout: 3}}
`

func TestNoSecretLeavesInAnyForm(t *testing.T) {
	t.Parallel()
	vars := map[string]string{"TOKEN": "hunter2"}
	c := mustParse(t, secretsFile, vars)
	other := mustParse(t, strings.ReplaceAll(secretsFile, "hunter2", "hunter22"), vars)
	e, err := c.Export()
	if err != nil {
		t.Fatal(err)
	}
	doc, err := c.Document()
	if err != nil {
		t.Fatal(err)
	}
	shown, err := json.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	diff, err := TextDiff("a", "b", c, other)
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"export": e.YAML, "variables": fmt.Sprint(e.Variables), "document": string(shown), "diff": diff} {
		if strings.Contains(text, "hunter2") {
			t.Errorf("%s tells the secret:\n%s", name, text)
		}
	}
	if n := strings.Count(diff, "another value"); n < 15 {
		t.Errorf("the diff hides that secrets differ: %d told\n%s", n, diff)
	}
	golden(t, "secrets_export.golden", e.YAML)
	back := exported(t, c, e)
	if p := Diff(c, back); !p.Empty() {
		t.Errorf("%+v", p)
	}
}

func TestReferencesAreExportedAsTheyAreWritten(t *testing.T) {
	t.Parallel()
	const text = `mcp_servers:
  a:
    command:
      - ${PROGRAM:-run}
      - --level=${LEVEL}
      - Bearer ${TOKEN}
    cwd: /srv/${TENANT}/x
    env:
      TOKEN: ${TOKEN}
    idle_ttl_s: ${TTL}
    mode: subprocess
`
	vars := map[string]string{"LEVEL": "3", "TENANT": "t", "TOKEN": "x", "TTL": "60"}
	c := mustParse(t, text, vars)
	e, err := c.Export()
	if err != nil {
		t.Fatal(err)
	}
	_, body, _ := strings.Cut(e.YAML, "mcp_servers:")
	if "mcp_servers:"+body != text {
		t.Errorf("got\n%s", e.YAML)
	}
	for i, name := range []string{"LEVEL", "TENANT", "TOKEN", "TTL"} {
		if len(e.Variables) != 4 || e.Variables[i].Name != name || e.Variables[i].Made {
			t.Fatalf("got %v", e.Variables)
		}
	}
	// A value that was changed since is no longer that of the variable.
	spec := c.Servers[0]
	spec.IdleTTL = 90 * time.Second
	spec.Env = map[string]string{"TOKEN": "new"}
	e, err = c.WithSpecs([]supervisor.ServerSpec{spec}).Export()
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(e.YAML, "idle_ttl_s: 90\n") || !strings.Contains(e.YAML, "TOKEN: ${A_TOKEN}\n") {
		t.Errorf("got\n%s", e.YAML)
	}
}

// TestEverySpecFieldHasItsKey fails when a spec gets a field that a definition
// cannot hold: an export would lose it.
func TestEverySpecFieldHasItsKey(t *testing.T) {
	t.Parallel()
	base := supervisor.ServerSpec{ID: "a", Mode: supervisor.ModeSubprocess, Command: []string{"x"}, Endpoint: "http://h", Image: "i", Dir: "/", ReadOnly: true, Provenance: supervisor.FromConfig}.WithDefaults()
	for i := range reflect.TypeFor[supervisor.ServerSpec]().NumField() {
		name := reflect.TypeFor[supervisor.ServerSpec]().Field(i).Name
		if name == "ID" || name == "Provenance" {
			continue
		}
		spec := base
		setSomething(t, reflect.ValueOf(&spec).Elem().Field(i), name)
		if same(reflect.ValueOf(spec), reflect.ValueOf(base)) {
			t.Fatalf("%s did not change", name)
		}
		other := base
		other.ID = "y" // to depend on
		text, err := encode(Default().WithSpecs([]supervisor.ServerSpec{fromAPI(spec), fromAPI(other)}).tree(literal{}))
		if err != nil {
			t.Fatal(err)
		}
		got := mustParse(t, text, nil).Servers[0]
		if !same(reflect.ValueOf(got), reflect.ValueOf(spec)) {
			t.Errorf("%s is lost: got %+v, want %+v; give it a key of the same name in Server, or a line in specKeys", name, got, spec)
		}
	}
}

func fromAPI(s supervisor.ServerSpec) supervisor.ServerSpec {
	s.Provenance = supervisor.FromAPI
	return s
}

// setSomething gives a field a value that is not its default.
func setSomething(t *testing.T, v reflect.Value, name string) {
	t.Helper()
	switch v.Kind() {
	case reflect.String:
		v.SetString("remote") // a mode, too
		if special, ok := map[string]string{
			"Endpoint": "https://other", "Restart": string(supervisor.Permanent), "Strategy": string(supervisor.AllForOne),
		}[name]; ok {
			v.SetString(special)
		}
	case reflect.Bool:
		v.SetBool(!v.Bool())
	case reflect.Int:
		v.SetInt(v.Int() + 1)
	case reflect.Int64:
		v.SetInt(v.Int() + int64(time.Second))
	case reflect.Float64:
		v.SetFloat(v.Float() + 2)
		if name == "Backoff" {
			v.SetFloat(0.5) // its jitter, at most 1
		}
	case reflect.Map:
		v.Set(reflect.ValueOf(map[string]string{"A": "b"}))
	case reflect.Slice:
		if v.Type() == reflect.TypeFor[[]json.RawMessage]() {
			v.Set(reflect.ValueOf([]json.RawMessage{json.RawMessage(`{"name":"x","inputSchema":{}}`)}))
			return
		}
		v.Set(reflect.ValueOf([]string{"y"}))
	case reflect.Struct:
		for i := range v.NumField() {
			setSomething(t, v.Field(i), name)
		}
	default:
		t.Fatalf("no value for %s of kind %s; teach setSomething", name, v.Kind())
	}
}
