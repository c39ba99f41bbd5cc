package leaktest

import (
	"os"
	"os/exec"
	"runtime/pprof"
	"strings"
	"testing"
)

// leakEnv makes the test binary leave a goroutine behind instead of testing.
const leakEnv = "HANGAR_LEAKTEST_LEAK"

func TestMain(m *testing.M) {
	if os.Getenv(leakEnv) != "" {
		go waitForNobody()
		os.Exit(run(m, 0, nil))
	}
	os.Exit(Run(m))
}

func waitForNobody() { <-make(chan int) }

func TestLeakFailsTheProcess(t *testing.T) {
	cmd := exec.Command(os.Args[0], "-test.run=^$")
	cmd.Env = append(os.Environ(), leakEnv+"=1")
	output, err := cmd.CombinedOutput()
	if code := cmd.ProcessState.ExitCode(); code != 1 {
		t.Errorf("exit code %d, want 1 (%v)", code, err)
	}
	want := []string{"found unexpected goroutines", "leaktest.waitForNobody"}
	if pprof.Lookup("goroutineleak") != nil {
		want = append(want, "goroutineleak profile: total 1\n")
	}
	for _, text := range want {
		if !strings.Contains(string(output), text) {
			t.Errorf("no %q in\n%s", text, output)
		}
	}
}

type exitCode int

func (c exitCode) Run() int { return int(c) }

func TestExitCodeOfTheTestsStays(t *testing.T) {
	for _, want := range []int{0, 1, 2} {
		if code := Run(exitCode(want)); code != want {
			t.Errorf("exit code %d, want %d", code, want)
		}
	}
}
