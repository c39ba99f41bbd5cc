package hangar_test

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/aabb9013/hangar/internal/testserver"
)

// The test binary is the stub server, too. When all tests are done, nothing
// that any of them started may still run in this process.
func TestMain(m *testing.M) {
	testserver.ExecIfRequested()
	goleak.VerifyTestMain(m, goleak.Cleanup(exit))
}
