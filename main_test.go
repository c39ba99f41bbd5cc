package hangar_test

import (
	"os"
	"testing"

	"github.com/aabb9013/hangar"
	"github.com/aabb9013/hangar/internal/leaktest"
	"github.com/aabb9013/hangar/internal/testserver"
)

// The test binary is the reaper and the stub server, too.
func TestMain(m *testing.M) {
	hangar.BeReaper()
	testserver.ExecIfRequested()
	os.Exit(leaktest.Run(m, leaktest.FasthttpWorkers, leaktest.FasthttpDate))
}
