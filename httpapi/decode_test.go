package httpapi

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/aabb9013/hangar/backends"
	"github.com/aabb9013/hangar/supervisor"
)

// badBodies are bodies of a create that must be refused, and why.
var badBodies = []struct {
	name, body string
	status     int
	message    string
}{
	{"empty", ``, 400, "JSON object is required"},
	{"blank", " \n", 400, "JSON object is required"},
	{"truncated", `{"mcp_server_id":"a"`, 400, "not valid JSON"},
	{"no JSON", `hello`, 400, "not valid JSON"},
	{"array", `[{}]`, 400, "must be a JSON object"},
	{"string", `"x"`, 400, "must be a JSON object"},
	{"null", `null`, 400, "must be a JSON object"},
	{"number", `7`, 400, "must be a JSON object"},
	{"trailing data", `{} {}`, 400, "not valid JSON"},
	{"trailing comma", `{"mode":"subprocess",}`, 400, "not valid JSON"},
	{"comment", `{/* */}`, 400, "not valid JSON"},
	{"byte order mark", "\ufeff{}", 400, "not valid JSON"},
	{"bad UTF-8", "{\"mcp_server_id\":\"\xff\"}", 400, "UTF-8"},
	{"NaN", `{"idle_ttl_s":NaN}`, 400, "not valid JSON"},
	{"hex", `{"idle_ttl_s":0x10}`, 400, "not valid JSON"},
	{"key twice", `{"mcp_server_id":"a","mode":"subprocess","mcp_server_id":"b"}`, 400, `"mcp_server_id" is there twice`},
	{"key twice, escaped", `{"mode":"subprocess","\u006dode":"docker"}`, 400, `"mode" is there twice`},
	{"deep", `{"env":` + strings.Repeat("[", 40) + strings.Repeat("]", 40) + `}`, 400, "deeper than 32"},
	{"deep and broken", strings.Repeat(`{"a":`, 100_000), 400, "deeper than 32"},

	{"too many members", `{` + manyMembers(maxMembers+1) + `}`, 400, "more than 1000 members"},
	{"too many variables", `{"mcp_server_id":"a","mode":"subprocess","command":["x"],"env":{` + manyMembers(maxMembers+1) + `}}`, 422, "env must have each name once, and no more than 1000"},

	{"nothing", `{}`, 422, "mcp_server_id is required; mode is required"},
	{"id null", `{"mcp_server_id":null,"mode":"subprocess","command":["x"]}`, 422, "mcp_server_id is required"},
	{"id number", `{"mcp_server_id":1,"mode":"subprocess","command":["x"]}`, 422, "mcp_server_id must be a string"},
	{"id empty", `{"mcp_server_id":"","mode":"subprocess","command":["x"]}`, 422, "mcp_server_id must not be empty"},
	{"id long", `{"mcp_server_id":"` + strings.Repeat("a", 65) + `","mode":"subprocess","command":["x"]}`, 422, "mcp_server_id"},
	{"id with slash", `{"mcp_server_id":"a/b","mode":"subprocess","command":["x"]}`, 422, "mcp_server_id"},
	{"id with newline", `{"mcp_server_id":"a\nb","mode":"subprocess","command":["x"]}`, 422, "mcp_server_id"},
	{"id with separator", `{"mcp_server_id":"a__b","mode":"subprocess","command":["x"]}`, 422, "mcp_server_id"},
	{"key in other case", `{"MCP_Server_ID":"a","mode":"subprocess","command":["x"]}`, 422, "unknown field"},
	{"mode missing", `{"mcp_server_id":"a","command":["x"]}`, 422, "mode is required"},
	{"mode unknown", `{"mcp_server_id":"a","mode":"vm"}`, 422, "mode must be one of"},
	{"mode in other case", `{"mcp_server_id":"a","mode":"Docker","image":"x"}`, 422, "mode must be one of"},
	{"mode inprocess", `{"mcp_server_id":"a","mode":"inprocess"}`, 422, "mode must be one of"},
	{"mode group", `{"mcp_server_id":"a","mode":"group"}`, 422, "mode must be one of"},
	{"command missing", `{"mcp_server_id":"a","mode":"subprocess"}`, 422, "command is required"},
	{"command empty", `{"mcp_server_id":"a","mode":"subprocess","command":[]}`, 422, "command is required"},
	{"command of nothing", `{"mcp_server_id":"a","mode":"subprocess","command":[""]}`, 422, "command is required"},
	{"command string", `{"mcp_server_id":"a","mode":"subprocess","command":"sh -c x"}`, 422, "command must be a list of strings"},
	{"command of numbers", `{"mcp_server_id":"a","mode":"subprocess","command":["x",1]}`, 422, "command must be a list of strings"},
	{"command with null", `{"mcp_server_id":"a","mode":"subprocess","command":["x",null]}`, 422, "command must be a list of strings"},
	{"command with NUL", `{"mcp_server_id":"a","mode":"subprocess","command":["x\u0000"]}`, 422, "NUL"},
	{"image missing", `{"mcp_server_id":"a","mode":"docker"}`, 422, "image is required"},
	{"endpoint missing", `{"mcp_server_id":"a","mode":"remote"}`, 422, "endpoint is required"},
	{"endpoint file", `{"mcp_server_id":"a","mode":"remote","endpoint":"file:///etc/passwd"}`, 422, "endpoint must be"},
	{"endpoint without host", `{"mcp_server_id":"a","mode":"remote","endpoint":"http:///x"}`, 422, "endpoint must be"},
	{"endpoint broken", `{"mcp_server_id":"a","mode":"remote","endpoint":"http://[::1"}`, 422, "endpoint must be"},
	{"ttl zero", `{"mcp_server_id":"a","mode":"subprocess","command":["x"],"idle_ttl_s":0}`, 422, "idle_ttl_s must be an integer between 1 and 86400"},
	{"ttl string", `{"mcp_server_id":"a","mode":"subprocess","command":["x"],"idle_ttl_s":"300"}`, 422, "idle_ttl_s must be an integer"},
	{"ttl fraction", `{"mcp_server_id":"a","mode":"subprocess","command":["x"],"idle_ttl_s":1.5}`, 422, "idle_ttl_s must be an integer"},
	{"ttl negative", `{"mcp_server_id":"a","mode":"subprocess","command":["x"],"idle_ttl_s":-1}`, 422, "idle_ttl_s must be an integer"},
	{"ttl endless", `{"mcp_server_id":"a","mode":"subprocess","command":["x"],"idle_ttl_s":1e999}`, 422, "idle_ttl_s must be an integer"},
	{"ttl true", `{"mcp_server_id":"a","mode":"subprocess","command":["x"],"idle_ttl_s":true}`, 422, "idle_ttl_s must be an integer"},
	{"ttl list", `{"mcp_server_id":"a","mode":"subprocess","command":["x"],"idle_ttl_s":[1]}`, 422, "idle_ttl_s must be an integer"},
	{"interval short", `{"mcp_server_id":"a","mode":"subprocess","command":["x"],"health_check_interval_s":4}`, 422, "between 5 and 3600"},
	{"interval long", `{"mcp_server_id":"a","mode":"subprocess","command":["x"],"health_check_interval_s":3601}`, 422, "between 5 and 3600"},
	{"restart unknown", `{"mcp_server_id":"a","mode":"subprocess","command":["x"],"restart":"always"}`, 422, "restart must be one of permanent, transient, temporary"},
	{"restart in other case", `{"mcp_server_id":"a","mode":"subprocess","command":["x"],"restart":"Permanent"}`, 422, "restart must be one of"},
	{"strategy of OTP", `{"mcp_server_id":"a","mode":"subprocess","command":["x"],"strategy":"one_for_all"}`, 422, "strategy must be one of"},
	{"no restarts", `{"mcp_server_id":"a","mode":"subprocess","command":["x"],"max_restarts":0}`, 422, "max_restarts must be an integer between 1 and 1000"},
	{"period fraction", `{"mcp_server_id":"a","mode":"subprocess","command":["x"],"period_s":1.5}`, 422, "period_s must be an integer"},
	{"backoff number", `{"mcp_server_id":"a","mode":"subprocess","command":["x"],"backoff":3}`, 422, "backoff must be an object"},
	{"backoff unknown key", `{"mcp_server_id":"a","mode":"subprocess","command":["x"],"backoff":{"factor":2}}`, 422, "unknown field"},
	{"backoff twice", `{"mcp_server_id":"a","mode":"subprocess","command":["x"],"backoff":{"max_s":1,"max_s":2}}`, 422, "backoff must have each name once"},
	{"backoff short", `{"mcp_server_id":"a","mode":"subprocess","command":["x"],"backoff":{"initial_s":0}}`, 422, "backoff.initial_s must be a number of seconds between 0.001 and 3600"},
	{"backoff text", `{"mcp_server_id":"a","mode":"subprocess","command":["x"],"backoff":{"max_s":"5"}}`, 422, "backoff.max_s must be a number"},
	{"backoff jitter", `{"mcp_server_id":"a","mode":"subprocess","command":["x"],"backoff":{"jitter":1.5}}`, 422, "backoff.jitter must be a number between 0 and 1"},
	{"backoff upside down", `{"mcp_server_id":"a","mode":"subprocess","command":["x"],"backoff":{"initial_s":5,"max_s":1}}`, 422, "backoff.max_s must be at least initial_s"},
	{"depends on text", `{"mcp_server_id":"a","mode":"subprocess","command":["x"],"depends_on":"b"}`, 422, "depends_on must be a list of strings"},
	{"depends on itself", `{"mcp_server_id":"a","mode":"subprocess","command":["x"],"depends_on":["a"]}`, 422, "depends_on names the server itself"},
	{"depends on no id", `{"mcp_server_id":"a","mode":"subprocess","command":["x"],"depends_on":["b c"]}`, 422, "depends_on entry 0"},
	{"env list", `{"mcp_server_id":"a","mode":"subprocess","command":["x"],"env":["A=1"]}`, 422, "env must be an object of strings"},
	{"env number", `{"mcp_server_id":"a","mode":"subprocess","command":["x"],"env":{"PORT":80}}`, 422, "env must be an object of strings"},
	{"env twice", `{"mcp_server_id":"a","mode":"subprocess","command":["x"],"env":{"A":"1","A":"2"}}`, 422, "env must have each name once"},
	{"env name", `{"mcp_server_id":"a","mode":"subprocess","command":["x"],"env":{"A=B":"1"}}`, 422, "env name"},
	{"env redacted", `{"mcp_server_id":"a","mode":"subprocess","command":["x"],"env":{"A":"***"}}`, 422, "redaction mark"},
	{"description number", `{"mcp_server_id":"a","mode":"subprocess","command":["x"],"description":1}`, 422, "description must be a string"},
	{"description long", `{"mcp_server_id":"a","mode":"subprocess","command":["x"],"description":"` + strings.Repeat("x", 5000) + `"}`, 422, "description"},
	{"volumes string", `{"mcp_server_id":"a","mode":"docker","image":"x","volumes":"/a"}`, 422, "volumes must be a list"},
	{"network unknown", `{"mcp_server_id":"a","mode":"docker","image":"x","network":"other"}`, 422, "network must be one of"},
	{"read_only string", `{"mcp_server_id":"a","mode":"docker","image":"x","read_only":"true"}`, 422, "read_only must be true or false"},
	{"read_only number", `{"mcp_server_id":"a","mode":"docker","image":"x","read_only":1}`, 422, "read_only must be true or false"},
	{"provenance", `{"mcp_server_id":"a","mode":"subprocess","command":["x"],"provenance":"config"}`, 422, `unknown field "provenance", known are mcp_server_id`},
	{"owner", `{"mcp_server_id":"a","mode":"subprocess","command":["x"],"owner":"me"}`, 422, `unknown field "owner"`},
	{"unknown with control characters", `{"mcp_server_id":"a","mode":"subprocess","command":["x"],"\u001b[31m":1}`, 422, `unknown field "\u001b[31m"`},
}

func TestBadBodiesChangeNothing(t *testing.T) {
	for _, c := range badBodies {
		t.Run(c.name, func(t *testing.T) {
			rt := testFleet()
			name := "ValidationError"
			if c.status == 400 {
				name = "InvalidRequestError"
			}
			r := send(t, testAPI(rt), request{method: "POST", path: "/api/mcp_servers", body: c.body})
			wantError(t, r, c.status, name, c.message)
			if rt.changed() != 0 {
				t.Error("the runtime was asked for a change")
			}
			if len(r.body) > 3000 {
				t.Errorf("the answer has %d bytes", len(r.body))
			}
		})
	}
}

func TestBadUpdatesChangeNothing(t *testing.T) {
	for body, want := range map[string]int{
		``: 400, `[]`: 400, `{`: 400, `{"env":{},"env":{}}`: 400,
		`{"idle_ttl_s":0}`: 422, `{"idle_ttl_s":"5"}`: 422, `{"health_check_interval_s":1}`: 422, `{"env":"A=1"}`: 422,
		`{"env":{"A":"***"}}`: 422, `{"env":{"":"x"}}`: 422, `{"env":{"A":"\u0000"}}`: 422, `{"description":[]}`: 422,
	} {
		for _, method := range []string{"PUT", "PATCH"} {
			rt := testFleet()
			r := send(t, testAPI(rt), request{method: method, path: "/api/mcp_servers/math", body: body})
			if r.status != want || rt.changed() != 0 {
				t.Errorf("%s %s: %d, %d changes, want %d", method, body, r.status, rt.changed(), want)
			}
		}
	}
}

func TestBodyOverLimitIsRefused(t *testing.T) {
	rt := testFleet()
	a := testAPI(rt, func(o *Options) { o.MaxBodyBytes = 100 })
	r := send(t, a, request{method: "POST", path: "/api/mcp_servers", body: strings.Repeat(" ", 101)})
	wantError(t, r, 413, "PayloadTooLarge", "too large")
	if rt.changed() != 0 {
		t.Error("the runtime was asked for a change")
	}
}

// TestMutatedBodiesNeverBreakAnything sends 10,000 bodies, random, truncated
// and mutated, always the same ones. None may answer 5xx, and none that is
// refused may have changed anything.
func TestMutatedBodiesNeverBreakAnything(t *testing.T) {
	rng := rand.New(rand.NewPCG(42, 42))
	seeds := []string{
		`{"mcp_server_id":"a","mode":"subprocess","command":["x","y"],"env":{"A":"1"},"idle_ttl_s":300,"read_only":true}`,
		`{"mcp_server_id":"a","mode":"docker","image":"x","volumes":["/a:/b"],"network":"none"}`,
		`{"mcp_server_id":"a","mode":"remote","endpoint":"http://example.com/mcp"}`,
		`{"description":"x","env":{"A":"1"},"idle_ttl_s":10,"health_check_interval_s":10}`,
	}
	for _, b := range badBodies {
		if len(b.body) < 1000 {
			seeds = append(seeds, b.body)
		}
	}
	targets := []request{
		{method: "POST", path: "/api/mcp_servers"}, {method: "PUT", path: "/api/mcp_servers/math"},
		{method: "POST", path: "/api/mcp_servers/math/stop"}, {method: "POST", path: "/api/mcp_servers/math/tools/add/call"},
	}
	accepted := 0
	for i := range 10_000 {
		req := targets[rng.IntN(len(targets))]
		req.body = mutate(rng, seeds[rng.IntN(len(seeds))])
		rt := testFleet()
		r := sendRaw(testAPI(rt), req)
		if r.status >= 400 {
			checkEnvelope(t, req, r)
		}
		if i%50 == 0 { // the whole document takes too long for all
			checkContract(t, req, r)
		}
		switch {
		case r.status >= 500:
			t.Fatalf("%s %s %q: %d %s", req.method, req.path, req.body, r.status, r.body)
		case r.status >= 300 && rt.changed() != 0:
			t.Fatalf("%s %s %q: refused with %d after a change", req.method, req.path, req.body, r.status)
		case r.status < 300:
			accepted++
			if req.path == "/api/mcp_servers" && !json.Valid([]byte(req.body)) {
				t.Fatalf("accepted what is no JSON: %q", req.body)
			}
		}
	}
	if accepted == 0 || accepted == 10_000 {
		t.Errorf("%d of 10000 bodies were accepted: the mutations test nothing", accepted)
	}
}

// mutate truncates, overwrites, inserts into, or doubles parts of s, or makes
// up bytes altogether.
func mutate(rng *rand.Rand, s string) string {
	b := []byte(s)
	tokens := []string{`"`, `{`, `}`, `[`, `]`, `,`, `:`, `null`, `1e9`, `-1`, `\u0000`, "\xff", "\x00", `"mode"`, `{"a":`, " ", "\n", "***"}
	for range rng.IntN(4) {
		if len(b) == 0 {
			break
		}
		i := rng.IntN(len(b))
		switch rng.IntN(5) {
		case 0:
			b = b[:i]
		case 1:
			b[i] = byte(rng.IntN(256))
		case 2:
			b = append(b[:i:i], append([]byte(tokens[rng.IntN(len(tokens))]), b[i:]...)...)
		case 3:
			b = append(b[:i:i], b[rng.IntN(len(b)):]...)
		case 4:
			for j := range b {
				b[j] = byte(rng.IntN(256))
			}
		}
	}
	return string(b)
}

// FuzzDecode holds that what the decoders accept is one JSON object without a
// key twice, and that an accepted spec is a valid one, owned by the API.
func FuzzDecode(f *testing.F) {
	for _, b := range badBodies {
		if len(b.body) < 1000 { // the engine spends its time on shortening long ones
			f.Add([]byte(b.body))
		}
	}
	f.Add([]byte(`{"mcp_server_id":"a","mode":"subprocess","command":["x"],"env":{"A":"1"}}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		o, err := decodeObject(body)
		if err == nil {
			var m map[string]json.RawMessage
			if json.Unmarshal(body, &m) != nil || len(m) != len(o.keys) {
				t.Fatalf("%q: %d keys, encoding/json sees %d", body, len(o.keys), len(m))
			}
		}
		if spec, err := decodeSpec(body); err == nil {
			if spec.Validate() != nil || spec.Provenance != supervisor.FromAPI || spec.Mode == supervisor.ModeInProcess {
				t.Fatalf("%q: accepted as %+v", body, spec)
			}
		} else if answer, _, known := describeError(err); !known || answer.status != 400 && answer.status != 422 {
			t.Fatalf("%q: refused with %v", body, err)
		}
		if patch, err := decodePatch(body); err == nil && patch.IdleTTL != nil && *patch.IdleTTL <= 0 {
			t.Fatalf("%q: idle ttl %v", body, *patch.IdleTTL)
		}
		stopWish(body)
		args, err := callArguments(body)
		c := backends.NewCall()
		c.SetToolCall("t", args)
		if err == nil && !json.Valid(c.Line) {
			t.Fatalf("%q: the line is no JSON", body)
		}
	})
}

// manyMembers is the inside of an object with n of them.
func manyMembers(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `"k%d":"",`, i)
	}
	return strings.TrimSuffix(b.String(), ",")
}

// A message of /mcp may hold millions of members, which must not be noted.
func TestDecodingStopsAtTooManyMembers(t *testing.T) {
	body := []byte(`{` + manyMembers(100_000) + `}`)
	n := testing.AllocsPerRun(1, func() {
		if _, err := toolArgs(body, "state_filter"); err == nil {
			t.Fatal("they were taken")
		}
	})
	if n > 20*maxMembers {
		t.Errorf("%v allocations", n)
	}
}
