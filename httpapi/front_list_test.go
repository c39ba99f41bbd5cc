package httpapi

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/aabb9013/hangar/backends"
	"github.com/aabb9013/hangar/supervisor"
)

// page lists one page of tools.
func page(t testing.TB, f *Front, s *session, cursor string) (tools []json.RawMessage, next string, raw []byte) {
	t.Helper()
	params := "{}"
	if cursor != "" {
		params = fmt.Sprintf(`{"cursor":%q}`, cursor)
	}
	raw = f.ask(t, s, `{"jsonrpc":"2.0","id":1,"method":"tools/list","params":`+params+`}`)
	var answer struct {
		Result struct {
			Tools      []json.RawMessage
			NextCursor string
		}
	}
	if err := json.Unmarshal(raw, &answer); err != nil {
		t.Fatalf("%v in %.300s", err, raw)
	}
	return answer.Result.Tools, answer.Result.NextCursor, raw
}

// listed are the raw tools of the servers, without the front's own.
func listed(t testing.TB, f *Front) []string {
	t.Helper()
	tools, next, _ := page(t, f, local(), "")
	if next != "" {
		t.Fatal("more than a page")
	}
	var out []string
	for _, raw := range tools[len(f.tools):] {
		out = append(out, string(raw))
	}
	return out
}

func TestToolsKeepTheirBytes(t *testing.T) {
	for _, tool := range [][2]string{
		{`{"name":"a"}`, `{"name":"s__a"}`},
		{`{ "inputSchema" : {"name":"a","$ref":"x"} ,"name" : "a" }`, `{ "inputSchema" : {"name":"a","$ref":"x"} ,"name" : "s__a" }`},
		{`{"name":"a","description":"é\u00e9 </b> name","x":1.50,"_meta":{"name":[{"name":1e9}]},"annotations":null}`,
			`{"name":"s__a","description":"é\u00e9 </b> name","x":1.50,"_meta":{"name":[{"name":1e9}]},"annotations":null}`},
		{`{"n\u0061me":"a","b":1}`, `{"n\u0061me":"s__a","b":1}`},
		{`{"name":"evil","b":1,"name":"a"}`, `{"name":"s__a","b":1,"name":"s__a"}`},
		{`{"name":"\u0061"}`, `{"name":"s__a"}`},
		{"{\n\t\"name\":\"a\"\n}", "{\n\t\"name\":\"s__a\"\n}"},
	} {
		f := NewFront(FrontOptions{Runtime: newFleet(ready("s", tool[0]))})
		if got := listed(t, f); len(got) != 1 || got[0] != tool[1] {
			t.Errorf("%s: got %q", tool[0], got)
		}
	}
}

func TestToolsThatCannotBeListed(t *testing.T) {
	long := strings.Repeat("x", maxToolName-len("s__"))
	v := ready("s", `{"name":"`+long+`"}`, `{"name":"`+long+`x"}`, `{"name":"a b"}`, `{"name":"ä"}`, `{"name":"a/b"}`, `{"name":"ok.-_9"}`, `{"name":"ok.-_9","twice":1}`)
	v.Catalogue.Tools = append(v.Catalogue.Tools,
		backends.Tool{Name: "", Raw: json.RawMessage(`{"name":""}`)}, backends.Tool{Name: "x", Raw: json.RawMessage(`{}`)},
		backends.Tool{Name: "x", Raw: json.RawMessage(`{"name":"x"`)}, backends.Tool{Name: "x", Raw: json.RawMessage(`["name","x"]`)}, backends.Tool{Name: "x"})
	got := listed(t, NewFront(FrontOptions{Runtime: newFleet(v)}))
	want := []string{`{"name":"s__` + long + `"}`, `{"name":"s__ok.-_9"}`}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %q\nwant %q", got, want)
	}
}

func TestListShowsWhatIsKnown(t *testing.T) {
	cold, never, shared := ready("cold", `{"name":"a"}`), ready("never"), ready("shared")
	cold.State, cold.ToolsStale = supervisor.Cold, true
	never.State, never.Catalogue = supervisor.Cold, nil
	shared.Catalogue = cold.Catalogue
	fl := newFleet(ready("z_1", `{"name":"b"}`, `{"name":"a"}`), cold, never, shared)
	f := NewFront(FrontOptions{Runtime: fl})
	want := []string{`{"name":"z_1__b"}`, `{"name":"z_1__a"}`, `{"name":"cold__a"}`, `{"name":"shared__a"}`}
	for range 3 { // the order is that of registration, every time
		if got := listed(t, f); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Fatalf("got %q\nwant %q", got, want)
		}
	}
	tools, _, _ := page(t, f, local(), "")
	for i, name := range []string{"hangar_list", "hangar_start", "hangar_stop", "hangar_status", "hangar_tools", "hangar_details", "hangar_reload_config", "hangar_call"} {
		var tool struct {
			Name, Description string
			InputSchema       struct{ Type string }
		}
		if json.Unmarshal(tools[i], &tool) != nil || tool.Name != name || tool.Description == "" || tool.InputSchema.Type != "object" {
			t.Errorf("tool %d: %s", i, tools[i])
		}
	}
}

func TestListFollowsTheFleet(t *testing.T) {
	fl := newFleet(ready("a", `{"name":"x"}`))
	f := NewFront(FrontOptions{Runtime: fl})
	listed(t, f)
	fl.views = append(fl.views, ready("b", `{"name":"y"}`))
	if got := listed(t, f); len(got) != 1 {
		t.Errorf("made anew without a new version: %q", got)
	}
	fl.version.Add(1)
	if got := listed(t, f); fmt.Sprint(got) != `[{"name":"a__x"} {"name":"b__y"}]` {
		t.Errorf("after the change: %q", got)
	}
	fl.views = fl.views[1:]
	fl.version.Add(1)
	if got := listed(t, f); fmt.Sprint(got) != `[{"name":"b__y"}]` || len(f.list.renamed) != 1 {
		t.Errorf("after the removal: %q, %d servers kept", got, len(f.list.renamed))
	}
}

func TestListHasPages(t *testing.T) {
	var views []*supervisor.View
	for i := range 1000 {
		views = append(views, ready(fmt.Sprint("server-", i), `{"name":"a"}`, `{"name":"b"}`, `{"name":"c"}`))
	}
	fl := newFleet(views...)
	f := NewFront(FrontOptions{Runtime: fl})
	s := local()
	seen, pages, cursor := map[string]bool{}, 0, ""
	for {
		tools, next, _ := page(t, f, s, cursor)
		pages++
		for _, raw := range tools {
			var tool struct{ Name string }
			_ = json.Unmarshal(raw, &tool)
			if seen[tool.Name] {
				t.Fatalf("%s twice", tool.Name)
			}
			seen[tool.Name] = true
		}
		if next == "" {
			break
		}
		cursor = next
	}
	if len(seen) != 3000+len(f.tools) || pages != 4 {
		t.Errorf("%d tools on %d pages", len(seen), pages)
	}
	for _, bad := range []string{`"1"`, `"1.0"`, `"1.-1"`, `"1.9999"`, `"2.1000"`, `"x.y"`, `7`, `{}`, `"1.99999999999999999999"`} {
		wantRPCError(t, f.ask(t, s, `{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"cursor":`+bad+`}}`), "1", codeInvalidParams, "cursor")
	}
	for _, first := range []string{``, `,"params":{"cursor":null}`, `,"params":{"cursor":""}`, `,"params":{"_meta":{"progressToken":1}}`} {
		if raw := f.ask(t, s, `{"jsonrpc":"2.0","id":1,"method":"tools/list"`+first+`}`); !strings.Contains(string(raw), `"nextCursor":"1.1000"`) {
			t.Errorf("%s: %.200s", first, raw)
		}
	}
	fl.version.Add(1)
	_, _, raw := page(t, f, s, cursor)
	wantRPCError(t, raw, "1", codeInvalidParams, "cursor")
	if s.told.Load() != 1 {
		t.Error("a refused page must not pass for news of the change")
	}
}

func BenchmarkFrontList(b *testing.B) {
	var views []*supervisor.View
	for i := range 1000 {
		views = append(views, ready(fmt.Sprint("server-", i), `{"name":"a","inputSchema":{"type":"object"}}`))
	}
	fl := newFleet(views...)
	f := NewFront(FrontOptions{Runtime: fl})
	s := local()
	for _, changed := range []bool{false, true} {
		b.Run(fmt.Sprint("changed=", changed), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if changed {
					fl.version.Add(1)
				}
				f.ask(b, s, `{"jsonrpc":"2.0","id":1,"method":"tools/list"}`)
			}
		})
	}
}
