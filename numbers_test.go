package hangar_test

import (
	"flag"
	"fmt"
	"go/ast"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var updateNumbers = flag.Bool("update", false, "write docs/tests.md")

// numbers are the promises about recovery (R), misbehaving servers (C) and
// exhaustion (E) that tests prove under their numbers. bench is the command
// that prints the times or the whole count, where a test must not look at them, or
// fuzzes for minutes.
var numbers = []struct{ id, promise, bench string }{
	{"R01", "a killed child fails only calls that were written to it; other servers see no error", "bench -recovery`, `bench -times"},
	{"R02", "a killed server is ready again by itself, soon", "bench -recovery`, `bench -times"},
	{"R03", "all of 300 servers killed at once come back, a few at a time and not in step, while the API answers", "bench -recovery`, `bench -times"},
	{"R04", "a crash loop backs off: at most 6 starts in 60 s and a tenth of a core, `next_retry_at` told", "bench -times"},
	{"R05", "exactly `max_restarts` in the window, one more gives up once, with its reason", ""},
	{"R06", "every strategy, restart type and kind of exit as OTP has it; start order and reverse stop order", ""},
	{"R07", "a late answer of an older instance reaches nobody and is counted", ""},
	{"R08", "a deadline cancels at the server, the late answer is dropped, nothing stays in the table of calls", "bench -times"},
	{"R09", "a client that leaves ends its call and frees the slot", "bench -times"},
	{"R10", "`kill -9` of the runtime leaves no process, grandchildren in sessions of their own included", "bench -orphans`, `bench -times"},
	{"R11", "`kill -9` of the reaper, alone and with the runtime", "bench -times"},
	{"R12", "SIGTERM with many stubborn servers under load ends in time; a second one kills what is left and closes the log", "bench -times"},
	{"R13", "a stopped child (SIGSTOP) is found and replaced as `unresponsive`", ""},
	{"C01", "noise on stdout is counted, shown at most 10 times a second, and over 1,000 lines in a row a protocol error", ""},
	{"C02", "an endless line is cut at the limit in bounded memory and ends only its server", "bench -times"},
	{"C03", "messages split anywhere and many in one write", ""},
	{"C04", "hostile JSON: invalid UTF-8, NUL, depth, duplicate and other-cased keys, odd ids, batches", "make nightly"},
	{"C05", "a stdin that nobody reads is given up after 5 s; nobody else feels it", "bench -times"},
	{"C06", "a flood of stderr is drained into a bounded ring, what it pushed out is counted", "bench -times"},
	{"C07", "closed stdout, closed stdin, exit code 0", ""},
	{"C08", "a child that ignores the end of stdin and SIGTERM is killed with its tree, in time", "bench -times"},
	{"C09", "an exit is seen at once though a daemon holds stdout; the daemon is killed", "bench -times"},
	{"C10", "1,000 zombies are reaped", "bench -times"},
	{"C11", "a flood of notifications: calls go on, lists are read once in a second at most", "bench -times"},
	{"C12", "initialize never answered, answered twice, in another version, or not survived", ""},
	{"C13", "programs that cannot be started: permanent, named with path and reason, not repeated", ""},
	{"C14", "a child at its memory limit is told `oom_killed` and restarted", ""},
	{"E01", "no processes left: a resource error that burns no restart", "bench -times"},
	{"E02", "no descriptors left: the API answers, running servers go on", ""},
	{"E03", "a full volume: changes are refused, calls go on, nothing ends, all goes on when there is space again", ""},
	{"E04", "a data directory that is locked, not writable or not ours is refused with its path, unchanged, exit code 6", ""},
	{"E05", "whatever the clock of the next run says, no wait is longer than the policy's, and none is forgotten for a clock set back", ""},
	{"E10", "10,000 calls at once to one server: a bounded queue, the rest refused at once", "bench -times"},
	{"E11", "10,000 reloads of two files that differ in one server: the others keep their process, nothing grows", "bench -reloads"},
	{"E12", "a reload that is refused changes nothing and says where the mistake is", ""},
	{"E13", "10,000 starts, streams and WebSockets and 100,000 calls leave no goroutine, descriptor or memory behind", "bench -soak"},
	{"E15", "/metrics has bounded labels and at most 2 MiB for 500 servers", ""},
}

// awaited are the numbers without a test, and what they wait for.
var awaited = map[string]string{}

var numberPattern = regexp.MustCompile(`\b[RCE]\d\d\b`)

// numbered finds the functions of tests that name a number, in their own name
// (TestC05…) or in their comment.
func numbered(t *testing.T) map[string][]string {
	t.Helper()
	proofs := map[string][]string{}
	for _, f := range goFiles(t) {
		if !f.test && !under(f.dir, "backends/backendtest") {
			continue
		}
		for _, d := range f.tree.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok {
				continue
			}
			text := fn.Doc.Text()
			if name, ok := strings.CutPrefix(fn.Name.Name, "Test"); ok && len(name) >= 3 {
				text += " " + name[:3]
			}
			proof := fmt.Sprintf("`%s` in `%s`", fn.Name.Name, f.path)
			for _, id := range numberPattern.FindAllString(text, -1) {
				if !slices.Contains(proofs[id], proof) {
					proofs[id] = append(proofs[id], proof)
				}
			}
		}
	}
	for _, list := range proofs {
		slices.Sort(list)
	}
	return proofs
}

// TestEveryNumberHasATest fails for a number without a test, for a test of a
// number that is not in the list, and when docs/tests.md tells otherwise.
func TestEveryNumberHasATest(t *testing.T) {
	proofs := numbered(t)
	var page strings.Builder
	page.WriteString(`# Numbered tests

Each promise about recovery (R), misbehaving servers (C) and exhaustion (E) has a number, and tests that name it: in the
name (` + "`TestC05…`" + `) or in the comment of the function. The functions in ` + "`backends/backendtest`" + ` are cases of the suite
that every backend passes; the tests in ` + "`e2e`" + ` run the built program with real children. Times are printed by ` + "`bench`" + `,
never asserted by a test: a loaded host would fail them.

This page is written by ` + "`go test . -run TestEveryNumberHasATest -update`" + `; the same test fails when it is out of date.

| number | promise | proved by | times and whole counts |
|---|---|---|---|
`)
	for _, n := range numbers {
		proof := strings.Join(proofs[n.id], "<br>")
		switch reason, waits := awaited[n.id]; {
		case len(proofs[n.id]) == 0 && !waits:
			t.Errorf("%s (%s) has no test: name it in the comment of one", n.id, n.promise)
		case len(proofs[n.id]) > 0 && waits:
			t.Errorf("%s has a test now: take it out of awaited", n.id)
		case waits:
			proof = "waits for: " + reason
		}
		delete(proofs, n.id)
		bench := ""
		if n.bench != "" {
			bench = "`" + n.bench + "`"
		}
		fmt.Fprintf(&page, "| %s | %s | %s | %s |\n", n.id, n.promise, proof, bench)
	}
	for id, tests := range proofs {
		t.Errorf("%s is no number of the list, but %s names it", id, tests[0])
	}
	path := filepath.Join("docs", "tests.md")
	if *updateNumbers {
		if err := os.WriteFile(path, []byte(page.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(text) != page.String() {
		t.Errorf("%s is out of date: run go test . -run TestEveryNumberHasATest -update", path)
	}
}
