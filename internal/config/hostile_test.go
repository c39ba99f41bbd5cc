package config

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

// answerWithin is the processor time a refusal may take, the best of a few
// tries. The promise is 100 ms (see BenchmarkRefusal); the race detector needs
// ten times that.
const (
	answerWithin = time.Second
	answerTries  = 4
)

// spent is the processor time of the process: unlike the clock it does not
// run while others have the machine. Tests that measure are not parallel.
func spent(t testing.TB) time.Duration {
	t.Helper()
	var use syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &use); err != nil {
		t.Skip(err)
	}
	return time.Duration(use.Utime.Nano() + use.Stime.Nano())
}

func bomb(levels int) string {
	var b strings.Builder
	b.WriteString("a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n")
	for i := 1; i < levels; i++ {
		fmt.Fprintf(&b, "a%d: &a%d [%s*a%d]\n", i, i, strings.Repeat(fmt.Sprintf("*a%d,", i-1), 9), i-1)
	}
	return b.String()
}

func mergeBomb(levels int) string {
	var b strings.Builder
	b.WriteString("a0: &a0 {k: v}\n")
	for i := 1; i < levels; i++ {
		fmt.Fprintf(&b, "a%d: &a%d {<<: [%s*a%d]}\n", i, i, strings.Repeat(fmt.Sprintf("*a%d,", i-1), 9), i-1)
	}
	return b.String()
}

func lines(format string, n int) string {
	var b strings.Builder
	for i := 0; i < n && b.Len() < maxFileBytes-200; i++ {
		fmt.Fprintf(&b, format, i)
	}
	return b.String()
}

// hostile are texts that must be refused soon, with a text that says why.
func hostile() map[string]struct{ text, want string } {
	const full = maxFileBytes
	return map[string]struct{ text, want string }{
		"alias bomb":             {bomb(12), "once its aliases are followed"},
		"merge bomb":             {mergeBomb(12), "once its aliases are followed"},
		"text bomb":              {"a: &a " + strings.Repeat("x", 100_000) + "\nb: [" + strings.Repeat("*a,", 1000) + "]", "bytes of text once"},
		"alias of itself":        {"a: &a [*a]", "deeper than 64"},
		"merge of itself":        {"a: &a {<<: *a}", "deeper than 64"},
		"depth, flow":            {strings.Repeat("[", full/2) + strings.Repeat("]", full/2), "separators"},
		"depth 65":               {strings.Repeat("[", 66) + strings.Repeat("]", 66), "deeper than 64"},
		"depth, maps":            {strings.Repeat("{a: ", 9000), "not valid YAML"},
		"depth, dashes":          {strings.Repeat("- ", full/2), "separators"},
		"many items":             {"a: [" + strings.Repeat("a,", full/2-8) + "]", "separators"},
		"most items":             {"a: [" + strings.Repeat("a,", maxSeparators-10) + "]", "no servers"},
		"most comments":          {"a: [" + strings.Repeat("a, #\n", maxSeparators/2-10) + "]", "no servers"},
		"most items, unclosed":   {"a: [" + strings.Repeat("a,\n", maxSeparators-10), "not valid YAML"},
		"items, unclosed":        {"a: [" + strings.Repeat("a,\n", maxSeparators/6), "not valid YAML"},
		"most keys":              {lines("k%d: v\n", maxNodes/2-10), "no servers"},
		"too many keys":          {lines("k%d: v\n", 35_000), "separators"},
		"many unknown keys":      {"mcp_servers: {s: {command: [x]}}\nzz: \"a\nb\"\nlogging:\n" + lines(" leve%d: v\n", 25_000) + " level: 1", "more faults are not shown"},
		"directives":             {lines("%%TAG !t%d! tag:x\n", 80_000) + "---\na: b", "directives"},
		"1.1 MiB":                {strings.Repeat("#", 1_100_000), "larger than 1048576 bytes"},
		"blank":                  {strings.Repeat("\n", full), "empty"},
		"nothing":                {"", "empty"},
		"byte order mark only":   {"\xEF\xBB\xBF", "empty"},
		"comment only":           {"# nothing", "empty"},
		"null":                   {"~", "empty"},
		"no servers":             {"logging: {}", "no servers"},
		"no servers, null":       {"mcp_servers:\n", "no servers"},
		"discovery off":          {"discovery: {enabled: false}", "no servers"},
		"a list":                 {"[a]", "must be a map"},
		"two documents":          {"mcp_servers: {s: {command: [x]}}\n---\na: b\n", "a second YAML document"},
		"many documents":         {strings.Repeat("---\n", full/4), "separators"},
		"duplicate":              {"mcp_servers: {s: {command: [x]}}\nlogging: {}\nlogging: {}", "already set in line 2"},
		"duplicate server":       {"mcp_servers:\n  s: {command: [x]}\n  s: {command: [y]}", "already set in line 2"},
		"duplicate, deep":        {oneServer("build:\n  a: {b: 1, b: 2}"), "already set in line 5"},
		"python tag":             {"mcp_servers: !!python/object/apply:os.system [id]", "YAML tags of a program's own"},
		"own tag":                {oneServer("cwd: !secret x"), "YAML tags of a program's own"},
		"binary tag":             {oneServer("cwd: !!binary aGk="), "YAML tags of a program's own"},
		"wrong tag":              {oneServer("idle_ttl_s: !!int abc"), "must be a number"},
		"huge number":            {oneServer("idle_ttl_s: " + strings.Repeat("9", 500_000)), "must be a number of seconds"},
		"huge number, JSON":      {oneServer("build: {a: 0." + strings.Repeat("9", 1000) + "}"), "JSON can write"},
		"hexadecimal":            {oneServer("max_concurrency: 0x" + strings.Repeat("f", 90)), "must be a whole number"},
		"infinite, JSON":         {oneServer("build: {a: .inf}"), "JSON can write"},
		"complex key":            {"mcp_servers: {s: {command: [x]}}\n? [a, b]\n: c", "a key must be a plain text"},
		"merge of a text":        {oneServer("<<: text"), "merge key"},
		"merge of texts":         {oneServer("<<: [a]"), "merge key"},
		"tab":                    {"mcp_servers:\n\ts: {}", "tabs"},
		"unclosed":               {"mcp_servers: {s: {command: [x}", "not valid YAML"},
		"control character":      {"mcp_servers: \x01", "control characters"},
		"not UTF-8":              {"mcp_servers: \xff", "UTF-8"},
		"unknown anchor":         {oneServer("env: {PASSWORD: *hunter2}"), "quote a text that begins with *"},
		"too many servers":       {"mcp_servers: {" + lines("s%d: ,", 10_001) + "}", "the limit is 10000"},
		"many faults":            {"mcp_servers: {" + lines("s%d: ,", 9_000) + "}", "more faults are not shown"},
		"long key":               {"mcp_servers: {s: {command: [x]}}\nlogging: {level: " + strings.Repeat("x", 900_000) + "}", "…"},
		"NUL":                    {oneServer(`cwd: "a\0b"`), "NUL"},
		"too many words":         {oneServer("args: [" + strings.Repeat("a,", 200) + "]"), "the limit is 100"},
		"id too long":            {"mcp_servers: {" + strings.Repeat("a", 65) + ": {command: [x]}}", "1 to 64 characters"},
		"both network keys":      {oneServer("network: a\nnetwork_mode: b"), "must not differ"},
		"group of a group":       {"mcp_servers: {g: {mode: group, members: [{id: h}]}, h: {mode: group}}", "is a group"},
		"inprocess":              {"mcp_servers: {s: {mode: inprocess}}", "must be one of"},
		"member without program": {"mcp_servers: {g: {mode: group, members: [{id: a, mode: subprocess}]}}", "command is required"},
	}
}

// mostAllocated bounds what a refusal allocates, garbage included: what is in
// use at one time is less.
const mostAllocated = 32 << 20

func TestHostileTextIsRefusedSoonAndBriefly(t *testing.T) {
	for name, h := range hostile() {
		t.Run(name, func(t *testing.T) {
			var err error
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			start := spent(t)
			_, err = Parse("f", []byte(h.text), environment(nil))
			took := spent(t) - start
			runtime.ReadMemStats(&after)
			if n := after.TotalAlloc - before.TotalAlloc; n > mostAllocated {
				t.Errorf("%d MiB were allocated", n>>20)
			}
			for try := 1; try < answerTries && took > answerWithin; try++ {
				start := spent(t)
				_, err = Parse("f", []byte(h.text), environment(nil))
				took = spent(t) - start
			}
			if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), h.want) {
				t.Fatalf("got %s, want %q", clip(fmt.Sprint(err), 500), h.want)
			}
			if took > answerWithin {
				t.Errorf("took %v", took)
			}
			if len(err.Error()) > 500<<10 {
				t.Errorf("the text has %d bytes", len(err.Error()))
			}
			var faults Faults
			if !errors.As(err, &faults) || len(faults) == 0 {
				t.Fatal("no Faults")
			}
			if faults[0].Line == 0 || faults[0].Column == 0 {
				t.Errorf("no line or no column: %v", faults[0])
			}
		})
	}
}

func TestFileAtTheBoundsIsAccepted(t *testing.T) {
	t.Parallel()
	c := mustParse(t, "mcp_servers:\n"+lines(" s%d:\n  command: [./server]\n", maxServers), nil)
	if len(c.Servers) != maxServers || c.Servers[9999].ID != "s9999" {
		t.Errorf("got %d servers", len(c.Servers))
	}
	nested := strings.Repeat("[", 60) + strings.Repeat("]", 60)
	mustParse(t, oneServer("build: "+nested), nil)
}

func TestByteOrderMarkAndLineEndsOfWindowsAreAccepted(t *testing.T) {
	t.Parallel()
	c := mustParse(t, "\xEF\xBB\xBF"+strings.ReplaceAll(oneServer("idle_ttl_s: 7"), "\n", "\r\n"), nil)
	if c.Servers[0].IdleTTL != 7*time.Second {
		t.Errorf("got %v", c.Servers[0].IdleTTL)
	}
	f := oneFault(t, "\xEF\xBB\xBFmcp_servers: 3", nil)
	if f.Line != 1 || f.Column != 14 {
		t.Errorf("got %v", f)
	}
}

func TestMergeKeysAndAliasesShareSettings(t *testing.T) {
	t.Parallel()
	c := mustParse(t, `
mcp_servers:
  a: &base {command: [x], idle_ttl_s: 10, max_concurrency: 1}
  b: {<<: *base, idle_ttl_s: 20}
  c: {idle_ttl_s: 30, <<: [{max_concurrency: 3}, *base]}
  d: *base
`, nil)
	got := ""
	for _, s := range c.Servers {
		got += fmt.Sprintln(s.ID, s.Command, s.IdleTTL, s.MaxConcurrency)
	}
	if want := "a [x] 10s 1\nb [x] 20s 1\nc [x] 30s 3\nd [x] 10s 1\n"; got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

func TestSyntaxFaultNamesThePlaceToLookAt(t *testing.T) {
	t.Parallel()
	for text, at := range map[string]position{
		"a:\n  b: 1\n c: 2\nd: 1\n":             {3, 2},
		"x: 1\na: [1, 2\nb: 3\nc: 4\n":          {2, 8},
		"a:\n\tb: 1\n":                          {2, 1},
		"x: 1\na: 'x\nb: 1\n":                   {2, 4},
		"x: 1\na: *x\nb: 1\n":                   {2, 5},
		"x: 1\ny: 2\na: b: c\nz: 1\n":           {3, 5},
		"\n\n\nfoo: @bar\nx: y\n":               {4, 6},
		"x: 1\na: \"\\q\"\nb: 1":                {2, 5},
		"x: 1\na: \x01\nb: 1\nc: 1\n":           {2, 4},
		"x: 1\na: !e!foo x\nb: 1":               {2, 7},
		"a: 1\nb: |\n  x\n y\nc: 1":             {4, 2},
		"a: 1\nb\nc: 1\n":                       {2, 1},
		"a:\n  b:\n    c: [x]\n   d:\n    e: y": {4, 4},
		"a: b\n---\nc: d\n":                     {2, 1},
		"a: 'é ü', b: [é, *ü]":                  {1, 9},
	} {
		if f := oneFault(t, text, nil); (position{f.Line, f.Column}) != at {
			t.Errorf("%q: got %v, want %v", text, f, at)
		}
	}
}
