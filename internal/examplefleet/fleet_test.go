package examplefleet

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/aabb9013/hangar/internal/leaktest"
)

// serveEnv makes the test binary serve the example server it names, so that
// Run is tested over real standard streams.
const serveEnv = "EXAMPLEFLEET_SERVE"

func TestMain(m *testing.M) {
	if name := os.Getenv(serveEnv); name != "" {
		if err := Run(context.Background(), name); err != nil {
			os.Stderr.WriteString(err.Error() + "\n")
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(leaktest.Run(m))
}

// connect opens a client's session with a fresh server in memory.
func connect(t *testing.T, name string) *mcp.ClientSession {
	t.Helper()
	server, err := newServer(name)
	if err != nil {
		t.Fatal(err)
	}
	clientSide, serverSide := mcp.NewInMemoryTransports()
	serving, err := server.Connect(t.Context(), serverSide, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { serving.Close() })
	return open(t, clientSide)
}

func open(t *testing.T, transport mcp.Transport) *mcp.ClientSession {
	t.Helper()
	client := mcp.NewClient(&mcp.Implementation{Name: "test", Version: "1"}, nil)
	session, err := client.Connect(t.Context(), transport, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { session.Close() })
	return session
}

// call answers the structured content of a tool's result, or the text of its
// failure.
func call(t *testing.T, session *mcp.ClientSession, tool string, args map[string]any) (map[string]any, string) {
	t.Helper()
	result, err := session.CallTool(t.Context(), &mcp.CallToolParams{Name: tool, Arguments: args})
	if err != nil {
		t.Fatalf("%s: %v", tool, err)
	}
	if result.IsError {
		return nil, result.Content[0].(*mcp.TextContent).Text
	}
	raw, err := json.Marshal(result.StructuredContent)
	if err != nil {
		t.Fatal(err)
	}
	var out map[string]any
	if err := json.Unmarshal(raw, &out); err != nil {
		t.Fatal(err)
	}
	return out, ""
}

func TestEveryToolIsDescribedAndAnnotated(t *testing.T) {
	want := map[string][]string{
		"calc":  {"add", "evaluate", "multiply"},
		"text":  {"echo", "slugify", "word_count"},
		"clock": {"add_duration", "now"},
		"notes": {"get", "list", "put"},
	}
	for _, name := range Names() {
		tools, err := connect(t, name).ListTools(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, tool := range tools.Tools {
			got = append(got, tool.Name)
			if tool.Description == "" || tool.InputSchema == nil || tool.OutputSchema == nil || tool.Annotations == nil {
				t.Errorf("%s: tool %s lacks a description, a schema or annotations", name, tool.Name)
				continue
			}
			if readOnly := tool.Name != "put"; tool.Annotations.ReadOnlyHint != readOnly {
				t.Errorf("%s: tool %s says readOnlyHint %t", name, tool.Name, !readOnly)
			}
		}
		slices.Sort(got)
		if diff := cmp.Diff(want[name], got); diff != "" {
			t.Errorf("%s: tools (-want +got):\n%s", name, diff)
		}
	}
}

func TestCalc(t *testing.T) {
	session := connect(t, "calc")
	type args = map[string]any
	for _, c := range []struct {
		tool    string
		args    args
		want    float64
		failure string
	}{
		{"add", args{"a": 2, "b": 3.5}, 5.5, ""},
		{"add", args{"a": 1e308, "b": 1e308}, 0, "too large"},
		{"multiply", args{"a": -4, "b": 2.5}, -10, ""},
		{"evaluate", args{"expression": "(1 + 2) * 3.5"}, 10.5, ""},
		{"evaluate", args{"expression": "2 + 3 * 4 - 10/4"}, 11.5, ""},
		{"evaluate", args{"expression": "-(-2) - +1"}, 1, ""},
		{"evaluate", args{"expression": "010 + 1e2"}, 110, ""},
		{"evaluate", args{"expression": "1/0"}, 0, "division by zero"},
		{"evaluate", args{"expression": "7 % 2"}, 0, "unknown operator"},
		{"evaluate", args{"expression": "1 +"}, 0, "no arithmetic expression"},
		{"evaluate", args{"expression": `"a"`}, 0, "no decimal number"},
		{"evaluate", args{"expression": "f(1)"}, 0, "only numbers"},
		{"evaluate", args{"expression": strings.Repeat("(", 1001)}, 0, "longer than"},
		{"add", args{"a": "two", "b": 3}, 0, "type"},
	} {
		got, failure := call(t, session, c.tool, c.args)
		switch {
		case c.failure != "":
			if !strings.Contains(failure, c.failure) {
				t.Errorf("%s %v: failure %q, want one with %q (answer %v)", c.tool, c.args, failure, c.failure, got)
			}
		case failure != "" || got["result"] != c.want:
			t.Errorf("%s %v: got %v %s, want %v", c.tool, c.args, got, failure, c.want)
		}
	}
}

func TestText(t *testing.T) {
	session := connect(t, "text")
	if got, _ := call(t, session, "echo", map[string]any{"text": "tab\t, ünïcode \"quoted\"\n"}); got["text"] != "tab\t, ünïcode \"quoted\"\n" {
		t.Errorf("echo: got %q", got["text"])
	}
	got, _ := call(t, session, "word_count", map[string]any{"text": "zwei Wörter\nund\n mehr"})
	if diff := cmp.Diff(map[string]any{"words": 4.0, "lines": 3.0, "characters": 21.0}, got); diff != "" {
		t.Errorf("word_count (-want +got):\n%s", diff)
	}
	if got := count(""); got != (counts{}) {
		t.Errorf("count of nothing: got %v", got)
	}
	for in, want := range map[string]string{
		"Hello, World!":         "hello-world",
		"  don't -- stop  ":     "dont-stop",
		"Größe 42 µm":           "größe-42-µm",
		"already-a-slug":        "already-a-slug",
		"many   \t\n spaces ok": "many-spaces-ok",
	} {
		if got := slugify(in); got != want {
			t.Errorf("slugify(%q): got %q, want %q", in, got, want)
		}
	}
	if _, failure := call(t, session, "slugify", map[string]any{"text": "!?"}); failure == "" {
		t.Error("slugify of punctuation alone: no failure")
	}
}

func TestClock(t *testing.T) {
	session := connect(t, "clock")
	before := time.Now().Unix()
	got, failure := call(t, session, "now", map[string]any{"time_zone": "Asia/Kolkata"})
	if failure != "" {
		t.Fatal(failure)
	}
	if unix := int64(got["unix"].(float64)); unix < before || unix > time.Now().Unix() {
		t.Errorf("now: unix %d is not now", unix)
	}
	if at, _ := got["time"].(string); !strings.HasSuffix(at, "+05:30") || got["time_zone"] != "Asia/Kolkata" {
		t.Errorf("now: got %v", got)
	}
	for _, zone := range []string{"Mars/Olympus", "Local", "../etc/passwd"} {
		if _, failure := call(t, session, "now", map[string]any{"time_zone": zone}); !strings.Contains(failure, "no time zone") {
			t.Errorf("now in %q: failure %q", zone, failure)
		}
	}
	got, _ = call(t, session, "add_duration", map[string]any{"time": "2026-02-28T23:30:00+01:00", "duration": "45m"})
	want := map[string]any{"time": "2026-03-01T00:15:00+01:00", "time_zone": "+01:00", "weekday": "Sunday", "unix": 1772320500.0}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("add_duration (-want +got):\n%s", diff)
	}
	for _, args := range []map[string]any{{"time": "noon", "duration": "1h"}, {"time": "2026-02-28T23:30:00Z", "duration": "a day"}} {
		if _, failure := call(t, session, "add_duration", args); failure == "" {
			t.Errorf("add_duration %v: no failure", args)
		}
	}
}

func TestNotes(t *testing.T) {
	session := connect(t, "notes")
	put := func(name, text string) (map[string]any, string) {
		return call(t, session, "put", map[string]any{"name": name, "text": text})
	}
	if got, _ := call(t, session, "list", map[string]any{}); len(got["names"].([]any)) != 0 {
		t.Errorf("list at the start: got %v", got)
	}
	if _, failure := call(t, session, "get", map[string]any{"name": "b"}); !strings.Contains(failure, `no note "b"`) {
		t.Errorf("get of an unknown note: failure %q", failure)
	}
	put("b", "first")
	put("a", "other")
	if got, _ := put("b", "second"); got["replaced"] != true {
		t.Errorf("second put: got %v", got)
	}
	if got, _ := call(t, session, "get", map[string]any{"name": "b"}); got["text"] != "second" {
		t.Errorf("get: got %v", got)
	}
	if got, _ := call(t, session, "list", map[string]any{}); !cmp.Equal(got["names"], []any{"a", "b"}) {
		t.Errorf("list: got %v", got)
	}
	if _, failure := put("", "x"); failure == "" {
		t.Error("put without a name: no failure")
	}
	if _, failure := put("big", strings.Repeat("x", maxNoteBytes+1)); failure == "" {
		t.Error("put of a note over the limit: no failure")
	}
}

func TestNotesAreBounded(t *testing.T) {
	book := &notebook{notes: map[string]storedNote{}}
	for i := range maxNotes {
		if _, err := book.put(note{Name: string(rune('a'+i%26)) + strings.Repeat("x", i/26)}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := book.put(note{Name: "one more"}); err == nil {
		t.Error("a note over the limit was taken")
	}
	if _, err := book.put(note{Name: "a"}); err != nil {
		t.Errorf("replacing a note at the limit: %v", err)
	}
}

func TestRunServesOverStdioAndEndsWithStdin(t *testing.T) {
	command := exec.Command(os.Args[0])
	command.Env = append(os.Environ(), serveEnv+"=calc")
	session := open(t, &mcp.CommandTransport{Command: command})
	if got, failure := call(t, session, "add", map[string]any{"a": 2, "b": 3}); got["result"] != 5.0 {
		t.Errorf("add: got %v %s", got, failure)
	}
	if err := session.Close(); err != nil {
		t.Errorf("the server did not end cleanly when stdin was closed: %v", err)
	}
}

func TestRunNamesTheServersItKnows(t *testing.T) {
	err := Run(t.Context(), "nope")
	if err == nil || !strings.Contains(err.Error(), "calc, text, clock, notes") {
		t.Errorf("got %v", err)
	}
}
