package httpapi

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/aabb9013/hangar/supervisor"
)

// fakeConfig is what a test wants to hear of the configuration.
type fakeConfig struct {
	asked []ReloadRequest
	err   error
	diff  string
}

func (f *fakeRuntime) ConfigDocument() (map[string]any, error) {
	return map[string]any{"mcp_servers": []any{map[string]any{"mcp_server_id": "math", "mode": "subprocess"}}}, f.config.err
}

func (f *fakeRuntime) ReloadConfig(_ context.Context, req ReloadRequest) (ReloadReport, error) {
	f.config.asked = append(f.config.asked, req)
	return ReloadReport{Path: "/etc/fleet.yaml", Added: []string{"a"}, Unchanged: []string{"b"}, Duration: 1500 * time.Microsecond}, f.config.err
}

func (f *fakeRuntime) ExportConfig() (string, []string, error) {
	return "mcp_servers: {}\n", []string{"TOKEN"}, f.config.err
}

func (f *fakeRuntime) BackupConfig() (string, error) { return "/etc/fleet.yaml.bak1", f.config.err }

func (f *fakeRuntime) DiffConfig() (string, error) { return f.config.diff, f.config.err }

func TestConfigurationIsShownReloadedExportedAndCompared(t *testing.T) {
	rt := testFleet()
	rt.config.diff = "--- on-disk\n+++ in-memory\n"
	a := testAPI(rt)
	for _, c := range []struct{ method, path, want string }{
		{"GET", "/api/config", `{"config":{"mcp_servers":[{"mcp_server_id":"math","mode":"subprocess"}]}}`},
		{"POST", "/api/config/reload", `{"result":{"success":true,"config_path":"/etc/fleet.yaml","mcp_servers_added":["a"],"mcp_servers_removed":[],"mcp_servers_updated":[],"mcp_servers_unchanged":["b"],"restart_required":[],"warnings":[],"duration_ms":1.5},"status":"reloaded"}`},
		{"POST", "/api/config/export", `{"variables":["TOKEN"],"yaml":"mcp_servers: {}\n"}`},
		{"POST", "/api/config/backup", `{"backup_path":"/etc/fleet.yaml.bak1","created":true}`},
		{"GET", "/api/config/diff/", `{"diff":"--- on-disk\n+++ in-memory\n","has_changes":true}`},
	} {
		if r := send(t, a, request{method: c.method, path: c.path}); r.status != 200 || string(r.body) != c.want {
			t.Errorf("%s %s: got %d\n%s\nwant\n%s", c.method, c.path, r.status, r.body, c.want)
		}
	}
	rt.config.diff = ""
	if r := send(t, a, request{method: "GET", path: "/api/config/diff"}); string(r.body) != `{"diff":"","has_changes":false}` {
		t.Errorf("got %s", r.body)
	}
}

func TestFailuresOfTheConfigurationHaveTheirStatus(t *testing.T) {
	rt := testFleet()
	a := testAPI(rt)
	rt.config.err = fmt.Errorf("%w: fleet.yaml:3:5: mcp_servers.a.mode: must be one of x", ErrConfiguration)
	for _, c := range [][2]string{{"POST", "/api/config/reload"}, {"GET", "/api/config/diff"}, {"POST", "/api/config/backup"}} {
		wantError(t, send(t, a, request{method: c[0], path: c[1]}), 500, "ConfigurationError", "fleet.yaml:3:5")
	}
	rt.config.err = fmt.Errorf("%w: permission denied", ErrConfigBackup)
	wantError(t, send(t, a, request{method: "POST", path: "/api/config/backup"}), 503, "ConfigurationBackupError", "permission denied")
	rt.config.err = ErrConfigPath
	wantError(t, send(t, a, request{method: "POST", path: "/api/config/reload"}), 422, "ValidationError", "directory")
	rt.config.err = fmt.Errorf("cannot change server %q: %w", "x", supervisor.ErrReadOnly)
	r := send(t, a, request{method: "POST", path: "/api/config/reload"})
	wantError(t, r, 507, "StateReadOnlyError", `cannot change server "x"`)
	if result, _ := r.decode(t)["result"].(map[string]any); result["success"] != false || fmt.Sprint(result["mcp_servers_added"]) != "[a]" {
		t.Errorf("the answer does not say what was changed before: %s", r.body)
	}
	rt.config.err = fmt.Errorf("cannot change server %q: %w", "x", supervisor.ErrReplaceFailed)
	wantError(t, send(t, a, request{method: "POST", path: "/api/config/reload"}), 500, "McpServerReplaceError", "did not take over")
	rt.config.err = errors.New("odd")
	wantError(t, send(t, a, request{method: "POST", path: "/api/config/reload"}), 500, "InternalServerError", "internal error")
}

func TestReloadTakesAnyBodyButNoPathOfAnybody(t *testing.T) {
	rt := testFleet()
	open := testAPI(rt)
	for _, c := range []struct {
		body string
		want ReloadRequest
	}{
		{"", ReloadRequest{RequestedBy: "api"}},
		{"{}", ReloadRequest{RequestedBy: "api"}},
		{"[", ReloadRequest{RequestedBy: "api"}},
		{`{"graceful":false}`, ReloadRequest{RequestedBy: "api", Hasty: true}},
		{`{"graceful":true,"config_path":null}`, ReloadRequest{RequestedBy: "api"}},
	} {
		rt.config.asked = nil
		if r := send(t, open, request{method: "POST", path: "/api/config/reload", body: c.body}); r.status != 200 || len(rt.config.asked) != 1 || rt.config.asked[0] != c.want {
			t.Errorf("%s: %d, asked %+v", c.body, r.status, rt.config.asked)
		}
	}
	rt.config.asked = nil
	body := `{"config_path":"other.yaml"}`
	for _, c := range []string{body, `{"graceful":3}`, `{"config_path":3}`, `{"path":"x"}`} {
		wantError(t, send(t, open, request{method: "POST", path: "/api/config/reload", body: c}), 422, "ValidationError", "")
	}
	guarded := func(may ...Permission) *API {
		return testAPI(rt, func(o *Options) {
			o.Authorize = func(_ *fasthttp.RequestCtx, p Permission) error {
				for _, m := range may {
					if m == p {
						return nil
					}
				}
				return ErrForbidden
			}
		})
	}
	wantError(t, send(t, guarded(), request{method: "POST", path: "/api/config/reload", body: body}), 403, "AccessDeniedError", "")
	wantError(t, send(t, guarded(PermConfigReload), request{method: "POST", path: "/api/config/reload", body: body}), 422, "ValidationError", "config_path is not for this caller")
	if len(rt.config.asked) != 0 {
		t.Errorf("asked %+v", rt.config.asked)
	}
	send(t, guarded(PermConfigReload, PermConfigPath), request{method: "POST", path: "/api/config/reload", body: body})
	if len(rt.config.asked) != 1 || rt.config.asked[0].Path != "other.yaml" {
		t.Errorf("asked %+v", rt.config.asked)
	}
}

func TestReloadToolTellsSuccessAndFailure(t *testing.T) {
	rt := testFleet()
	f := frontOf(rt)
	got, isError := own(t, f, "hangar_reload_config", `{"graceful":false}`)
	const want = `{"duration_ms":1.5,"mcp_servers_added":["a"],"mcp_servers_removed":[],"mcp_servers_unchanged":["b"],"mcp_servers_updated":[],"message":"the configuration was reloaded","restart_required":[],"status":"success"}`
	if string(got) != want || isError {
		t.Errorf("got %s, error %v", got, isError)
	}
	if req := rt.config.asked[0]; req != (ReloadRequest{Hasty: true, RequestedBy: "mcp_tool"}) {
		t.Errorf("asked %+v", req)
	}
	rt.config.err = fmt.Errorf("%w: fleet.yaml:3:5: no", ErrConfiguration)
	got, _ = own(t, f, "hangar_reload_config", `{}`)
	if s := string(got); !strings.Contains(s, `"status":"failed"`) || !strings.Contains(s, `"error_type":"ConfigurationError"`) || !strings.Contains(s, "fleet.yaml:3:5") {
		t.Errorf("got %s", got)
	}
	if _, isError := own(t, f, "hangar_reload_config", `{"config_path":"/etc/passwd"}`); !isError {
		t.Error("a path was taken")
	}
}
