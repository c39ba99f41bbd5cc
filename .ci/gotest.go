//go:build ignore

// Gotest runs `go test` with the given arguments and prints less than -v and
// more than without it: every package's result line, everything about a test
// that failed, every skipped test with its reason, and the totals at the end.
// It exits as go test does. With HANGAR_TALLY set, the totals are also
// appended to that file, for a run of several go tests.
//
// With HANGAR_RERUN=1, as in continuous integration, up to maxRerun tests that
// failed are run once more, alone, and those that pass then are printed as FLAKY
// instead of failing the run: the tests start hundreds of real processes on
// machines of any speed. By hand nothing is run twice. A package that did not
// build, panicked or ran out of time fails at once.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
)

// event is one line of `go test -json`; see `go doc test2json`.
type event struct {
	Action, Package, Test, Output string
}

// maxRerun bounds the tests that are run once more: more are no accident.
const maxRerun = 5

type report struct {
	failures                []failure           // of whole tests, not of their parts
	broken                  bool                // a package failed without a test that did
	tests                   map[string][]string // output of tests under way, by package and name
	packages                map[string][]string // output of packages under way
	skips                   []string
	passed, failed, skipped int
	flaky                   int
}

type failure struct{ pkg, test string }

func main() {
	r, code := run(os.Args[1:])
	again := code == 1 && os.Getenv("HANGAR_RERUN") == "1" && !r.broken && len(r.failures) > 0 && len(r.failures) <= maxRerun
	if again {
		code = 0
		for _, f := range r.failures {
			fmt.Printf("==> once more: %s %s\n", f.pkg, f.test)
			second, status := run(append(flags(os.Args[1:]), "-run", "^"+f.test+"$", f.pkg))
			if status != 0 || second.passed == 0 {
				code = max(status, 1)
				continue
			}
			fmt.Printf("--- FLAKY: %s %s: failed, and passed when run alone\n", f.pkg, f.test)
			r.flaky++
		}
		if code == 0 {
			r.failed = 0
		}
	}
	r.close()
	os.Exit(code)
}

// flags are the arguments without the packages.
func flags(args []string) []string {
	return slices.DeleteFunc(slices.Clone(args), func(arg string) bool {
		return strings.HasPrefix(arg, ".") || strings.HasPrefix(arg, "github.com/")
	})
}

// run runs go test and returns what it told and its exit code.
func run(args []string) (*report, int) {
	command := exec.Command("go", append([]string{"test", "-json"}, args...)...)
	command.Stderr = os.Stderr
	stdout, err := command.StdoutPipe()
	if err == nil {
		err = command.Start()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "gotest:", err)
		os.Exit(2)
	}
	r := &report{tests: map[string][]string{}, packages: map[string][]string{}}
	lines := bufio.NewReader(stdout)
	for {
		line, err := lines.ReadString('\n')
		if line != "" {
			r.line(line)
		}
		if err != nil {
			break
		}
	}
	if err := command.Wait(); err != nil {
		return r, max(command.ProcessState.ExitCode(), 1)
	}
	return r, 0
}

func (r *report) line(line string) {
	var e event
	if json.Unmarshal([]byte(line), &e) != nil {
		fmt.Print(line)
		return
	}
	test := e.Package + " " + e.Test
	switch {
	case e.Action == "build-output":
		fmt.Print(e.Output)
	case e.Action == "output" && e.Test == "":
		r.packages[e.Package] = append(r.packages[e.Package], e.Output)
	case e.Action == "output":
		r.tests[test] = append(r.tests[test], e.Output)
	case e.Test == "":
		r.endPackage(e)
	case e.Action == "pass":
		r.passed++
		delete(r.tests, test)
	case e.Action == "fail":
		r.failed++
		if !strings.Contains(e.Test, "/") {
			r.failures = append(r.failures, failure{e.Package, e.Test})
		}
		fmt.Print(strings.Join(r.tests[test], ""))
		delete(r.tests, test)
	case e.Action == "skip":
		r.skipped++
		r.skips = append(r.skips, fmt.Sprintf("--- SKIP: %s: %s", test, reason(r.tests[test])))
		delete(r.tests, test)
	}
}

// endPackage prints the result line of a package that passed, and all there
// is of one that failed: its shuffle seed, its panic, its unfinished tests.
func (r *report) endPackage(e event) {
	switch e.Action {
	case "pass":
		for _, line := range r.packages[e.Package] {
			if strings.HasPrefix(line, "ok ") {
				fmt.Print(line)
			}
		}
	case "fail":
		if !slices.ContainsFunc(r.failures, func(f failure) bool { return f.pkg == e.Package }) {
			r.broken = true
		}
		for test, output := range r.tests {
			if strings.HasPrefix(test, e.Package+" ") {
				r.broken = true // it was under way when the package ended
				fmt.Print(strings.Join(output, ""))
				delete(r.tests, test)
			}
		}
		fmt.Print(strings.Join(r.packages[e.Package], ""))
	case "skip": // no test files
	default:
		return
	}
	delete(r.packages, e.Package)
}

func (r *report) close() {
	for _, skip := range r.skips {
		fmt.Println(skip)
	}
	totals := fmt.Sprintf("%d passed, %d failed, %d skipped", r.passed, r.failed, r.skipped)
	if r.flaky > 0 {
		totals += fmt.Sprintf(", %d flaky", r.flaky)
	}
	fmt.Println(totals)
	if name := os.Getenv("HANGAR_TALLY"); name != "" {
		tally, err := os.OpenFile(name, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o666)
		if err == nil {
			_, err = fmt.Fprintln(tally, totals)
			tally.Close()
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "gotest:", err)
		}
	}
}

var logLine = regexp.MustCompile(`^\s+\S+\.go:\d+: (.*)`)

// reason finds what t.Skip said: the last log line before the verdict.
func reason(output []string) string {
	for i := len(output) - 1; i >= 0; i-- {
		if m := logLine.FindStringSubmatch(strings.TrimRight(output[i], "\n")); m != nil {
			return m[1]
		}
	}
	return "no reason given"
}
