package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"gopkg.in/yaml.v3"
)

// nowhere loads no URL: a schema must stand alone.
type nowhere struct{}

func (nowhere) Load(url string) (any, error) { return nil, errors.New("no loading of " + url) }

func compiledSchema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(Schema()))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.UseLoader(nowhere{})
	if err := c.AddResource("hangar.json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("hangar.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// against validates YAML as an editor does.
func against(s *jsonschema.Schema, text []byte) error {
	var value any
	if err := yaml.Unmarshal(text, &value); err != nil {
		return err
	}
	asJSON, err := json.Marshal(value)
	if err != nil {
		return err
	}
	instance, err := jsonschema.UnmarshalJSON(bytes.NewReader(asJSON))
	if err != nil {
		return err
	}
	return s.Validate(instance)
}

func TestSchemaIsPublishedAsItIs(t *testing.T) {
	t.Parallel()
	golden(t, "schema.json.golden", string(Schema()))
}

func TestSchemaAcceptsTheExamplesAndWhatIsExported(t *testing.T) {
	t.Parallel()
	s := compiledSchema(t)
	for _, name := range []string{filepath.Join("testdata", "reference.yaml"), filepath.Join("..", "..", "examples", "fleet.yaml")} {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := against(s, text); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for seed := range uint64(seeds) {
		e, err := generate(t, seed).Export()
		if err != nil {
			t.Fatal(err)
		}
		if err := against(s, []byte(e.YAML)); err != nil {
			t.Errorf("seed %d: %v\n%s", seed, err, e.YAML)
		}
	}
}

// TestSchemaAndReaderAgree: what the reader takes the schema takes, and what
// the reader refuses the schema refuses, for every key.
func TestSchemaAndReaderAgree(t *testing.T) {
	t.Parallel()
	s := compiledSchema(t)
	right, wrong := 0, 0
	for _, k := range allKeys() {
		for _, value := range k.rightValues() {
			right++
			if err := against(s, []byte(k.write(value))); err != nil {
				t.Errorf("%s: %s: %v", k.path, value, err)
			}
		}
		for _, value := range k.wrongValues() {
			wrong++
			if value == `"\0"` {
				continue // a text to the schema
			}
			if err := against(s, []byte(k.write(value))); err == nil {
				t.Errorf("%s: %s is accepted", k.path, value)
			}
		}
	}
	if right < 300 || wrong < 800 {
		t.Errorf("only %d right and %d wrong values tried", right, wrong)
	}
	for _, text := range []string{
		oneServer("idle_tt1_s: 3"), "nope: {}\nmcp_servers: {s: {command: [x]}}", "mcp_servers: {'a b': {command: [x]}}",
		oneServer("tools: [{inputSchema: {}}]"), oneServer("tools: {allow: []}"), "mcp_servers: {s: [x]}",
	} {
		if against(s, []byte(text)) == nil {
			t.Errorf("accepted:\n%s", text)
		}
	}
	if err := against(s, []byte(oneServer("idle_ttl_s: ${TTL}\nread_only: ${RO:-true}\nmode: ${MODE}"))); err != nil {
		t.Errorf("variables: %v", err)
	}
}
