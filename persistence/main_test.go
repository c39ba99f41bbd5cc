package persistence_test

import (
	"fmt"
	"os"
	"os/exec"
	"testing"

	"go.uber.org/goleak"
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
	goleak.VerifyTestMain(m, // what badger leaves behind when it fails to open; a store that is not closed has more
		goleak.IgnoreTopFunction("github.com/dgraph-io/badger/v4.(*DB).monitorCache"),
		goleak.IgnoreTopFunction("github.com/dgraph-io/ristretto/v2/z.(*AllocatorPool).freeupAllocators"))
}

// child prepares this test binary as another process.
func child(program, dir string) *exec.Cmd {
	cmd := exec.Command(os.Args[0], dir)
	cmd.Env = append(os.Environ(), childEnv+"="+program)
	cmd.Stderr = os.Stderr
	return cmd
}
