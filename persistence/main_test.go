package persistence_test

import (
	"fmt"
	"os"
	"os/exec"
	"testing"

	"github.com/aabb9013/hangar/internal/leaktest"
)

// childEnv makes the test binary run a child program instead of the tests.
const childEnv = "HANGAR_PERSISTENCE_CHILD"

var children = map[string]func(dir string) error{
	"write": childWrite,
	"hold":  childHold,
	"fill":  childFill,
	"flip":  childFlip,

	"record":         childRecord,
	"record-and-die": childRecordAndDie,
}

func TestMain(m *testing.M) {
	if run, ok := children[os.Getenv(childEnv)]; ok {
		if err := run(os.Args[1]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(leaktest.Run(m, leaktest.BadgerCache, leaktest.BadgerAllocators))
}

// child prepares this test binary as another process.
func child(program, dir string) *exec.Cmd {
	cmd := exec.Command(os.Args[0], dir)
	cmd.Env = append(os.Environ(), childEnv+"="+program)
	cmd.Stderr = os.Stderr
	return cmd
}
