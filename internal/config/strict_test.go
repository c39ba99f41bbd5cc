package config

import (
	"strings"
	"testing"
)

func TestUnknownKeyWarnsAndInStrictModeRefuses(t *testing.T) {
	t.Parallel()
	const text = "mcp_servers:\n  s:\n    command: [x]\n    idle_tt1_s: 3\n"
	c := mustParse(t, text, nil)
	if len(c.Warnings()) != 1 {
		t.Fatalf("got %v", c.Warnings())
	}
	const want = "hangar.yaml:4:5: warning: mcp_servers.s.idle_tt1_s: unknown key, did you mean idle_ttl_s?; it is ignored"
	if got := c.Warnings()[0].Error(); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	for _, on := range []string{"1", "true", "YES", " on "} {
		f := oneFault(t, text, map[string]string{StrictVariable: on})
		if f.Error() != "hangar.yaml:4:5: mcp_servers.s.idle_tt1_s: unknown key, did you mean idle_ttl_s?" {
			t.Errorf("%s: got %v", on, f)
		}
	}
	for _, off := range []string{"", "0", "no", "false"} {
		mustParse(t, text, map[string]string{StrictVariable: off})
	}
}

func TestMisspeltRestrictionRefusesTheFileAlways(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		oneServer("tools: {denylist: [x]}"),
		"mcp_servers: {s: {command: [x]}, g: {mode: group, tools: {allow: [x]}}}",
		"mcp_servers: {s: {command: [x]}}\ntool_access: {Mode: front_door}",
	} {
		if f := oneFault(t, text, nil); !strings.Contains(f.Message, "unknown key") {
			t.Errorf("got %v", f)
		}
	}
}

func TestUnknownKeySuggestsTheNearest(t *testing.T) {
	t.Parallel()
	for written, want := range map[string]string{
		"comand: 1": "command", "commnad: 1": "command", "Command: 1": "command", "idle-ttl-s: 1": "idle_ttl_s",
		"enviroment: 1": "", "cmd: 1": "command", "working_dir: 1": "cwd", "zzzz: 1": "", "healthcheck_interval_s: 1": "health_check_interval_s",
		strings.Repeat("k", 500) + ": 1": "",
	} {
		c := mustParse(t, oneServer(written), nil)
		got := c.Warnings()[0].Message
		if want == "" && strings.Contains(got, "did you mean") || want != "" && !strings.Contains(got, "did you mean "+want+"?") {
			t.Errorf("%s: got %q, want %q", clip(written, 40), got, want)
		}
	}
	_, err := Parse("f", []byte("providers: {a: {command: [x]}}"), nil)
	if err == nil || !strings.Contains(err.Error(), "did you mean mcp_servers?") {
		t.Errorf("providers: got %v", err)
	}
	c := mustParse(t, oneServer("members: []"), nil)
	if !strings.Contains(c.Warnings()[0].Message, "mode: group") {
		t.Errorf("members of a server: got %v", c.Warnings())
	}
}
