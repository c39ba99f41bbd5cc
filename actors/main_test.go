package actors

import (
	"os"
	"testing"

	"github.com/aabb9013/hangar/internal/leaktest"
	"github.com/aabb9013/hangar/internal/testserver"
)

func TestMain(m *testing.M) {
	testserver.ExecIfRequested()
	os.Exit(leaktest.Run(m))
}
