package config

import (
	"strings"
	"testing"
	"time"
)

func TestVariablesAreReplacedOnceInEveryValue(t *testing.T) {
	t.Parallel()
	vars := map[string]string{
		"A": "a", "B": "b", "EMPTY": "", "NUMBER": "42", "TRUE": "true", "NULL": "null",
		"NESTED": "${A} $${A} $A", "YAML": "x: [1, *y]\n- &z {}", "HASH": "# no comment", "OCTAL": "007",
	}
	for written, want := range map[string]string{
		`${A}`: "a", `"${A}"`: "a", `'${A}'`: "a", `x${A}y${B}z`: "xaybz", `${A}${B}`: "ab",
		`${NOT:-d}`: "d", `${NOT:-}`: "", `${EMPTY:-d}`: "", `${A:-d}`: "a", `${NOT:-a b:c}`: "a b:c",
		`$${A}`: "${A}", `"$$${A}"`: "$${A}", `x$${A}${A}`: "x${A}a", `$$`: "$$", `$A`: "$A", `$${`: "${",
		`${NESTED}`: "${A} $${A} $A", `${NOT:-$}`: "$", `${YAML}`: vars["YAML"], `${HASH}`: "# no comment",
		`${NUMBER}`: "42", `${TRUE}`: "true", `${NULL}`: "null", `${OCTAL}`: "007", `>-
        ${A}
        ${B}`: "a b",
	} {
		c := mustParse(t, oneServer("env:\n  V: "+written+"\ndescription: "+strings.ReplaceAll(written, "        ", "      ")), vars)
		if got := c.Servers[0].Env["V"]; got != want {
			t.Errorf("%s in env: got %q, want %q", written, got, want)
		}
		if got := c.Servers[0].Description; got != want {
			t.Errorf("%s in description: got %q, want %q", written, got, want)
		}
		if len(c.Warnings()) != 0 {
			t.Errorf("%s: got warnings %v", written, c.Warnings())
		}
	}
}

func TestPlainVariableTakesTheTypeOfItsText(t *testing.T) {
	t.Parallel()
	vars := map[string]string{"TTL": "120", "HALF": "7.5", "ON": "true", "MODE": "subprocess"}
	for _, text := range []string{
		"idle_ttl_s: ${TTL}\nhealth_check_interval_s: ${HALF}\nmode: '${MODE}'\nread_only: ${OFF:-false}\nmax_concurrency: ${N:-5}",
		"idle_ttl_s: \"${TTL}\"\nhealth_check_interval_s: '${HALF}'\nmode: '${MODE}'\nread_only: \"${OFF:-false}\"\nmax_concurrency: '${N:-5}'",
	} {
		c := mustParse(t, oneServer(text), vars)
		s := c.Servers[0]
		if s.IdleTTL != 2*time.Minute || s.HealthCheckInterval != 7500*time.Millisecond || s.ReadOnly || s.MaxConcurrency != 5 {
			t.Errorf("got %+v", s)
		}
	}
	for _, written := range []string{`idle_ttl_s: "120"`, `idle_ttl_s: !!str ${TTL}`, `idle_ttl_s: 1${TTL}`, `read_only: "x${ON}"`} {
		f := oneFault(t, oneServer(written), vars)
		if strings.Contains(written, "$") && strings.Contains(f.Message, "120") || !strings.Contains(f.Message, "found ") || !strings.Contains(f.Message, "text") {
			t.Errorf("%s: got %v", written, f)
		}
	}
}

func TestUnsetVariableIsAFaultThatNamesIt(t *testing.T) {
	t.Parallel()
	f := oneFault(t, oneServer("idle_ttl_s: ${TTL_OF_S}"), nil)
	if f.Line != 4 || f.Path != "mcp_servers.s.idle_ttl_s" || !strings.Contains(f.Message, "TTL_OF_S is not set") {
		t.Errorf("got %v", f)
	}
	faults := faultsOf(t, oneServer("description: ${ONE}${TWO}\ncwd: ${THREE}\ntools: [{name: '${FOUR}'}]\nbuild: {a: '${FIVE}'}"), nil)
	if len(faults) != 5 {
		t.Errorf("got %d faults, want 5: %v", len(faults), faults)
	}
	if _, err := Parse("f", []byte(oneServer("cwd: ${HOME}")), nil); err == nil {
		t.Error("a nil getenv answered")
	}
}

func TestKeysAreNotInterpolated(t *testing.T) {
	t.Parallel()
	f := oneFault(t, "mcp_servers: {'${A}': {command: [x]}}", map[string]string{"A": "a"})
	if !strings.Contains(f.Message, "${A}") {
		t.Errorf("got %v", f)
	}
}

func TestWhatIsNoVariableStaysWithAWarning(t *testing.T) {
	t.Parallel()
	for _, written := range []string{"${", "${}", "${a.b}", "${1}", "${A", "${A-b}", "x ${#a} y"} {
		c := mustParse(t, oneServer("description: '"+written+"'"), nil)
		if c.Servers[0].Description != written || len(c.Warnings()) != 1 {
			t.Errorf("%s: got %q, warnings %v", written, c.Servers[0].Description, c.Warnings())
		}
	}
}

func TestVariableOfAnAnchorIsReplacedOnce(t *testing.T) {
	t.Parallel()
	c := mustParse(t, "mcp_servers:\n  a: {command: [x], description: &d '${V}'}\n  b: {command: [x], description: *d}\n", map[string]string{"V": "${V}"})
	if c.Servers[0].Description != "${V}" || c.Servers[1].Description != "${V}" {
		t.Errorf("got %q and %q", c.Servers[0].Description, c.Servers[1].Description)
	}
}

func TestVariablesCannotGrowTheFileWithoutBound(t *testing.T) {
	t.Parallel()
	text := oneServer("args: [" + strings.Repeat("'${V}${V}${V}${V}', ", 90) + "]")
	f := oneFault(t, text, map[string]string{"V": strings.Repeat("x", 32<<10)})
	if !strings.Contains(f.Message, "variables of the file") {
		t.Errorf("got %v", f)
	}
}

func TestVariableInADefaultIsTold(t *testing.T) {
	t.Parallel()
	for written, want := range map[string]string{"${NOT:-${A}}": "${A}", "${A:-${NOT:-b}}": "a}"} {
		c := mustParse(t, oneServer("description: '"+written+"'"), map[string]string{"A": "a"})
		if c.Servers[0].Description != want || len(c.Warnings()) != 1 || !strings.Contains(c.Warnings()[0].Message, "ends at the first }") {
			t.Errorf("%s: got %q, warnings %v", written, c.Servers[0].Description, c.Warnings())
		}
	}
}
