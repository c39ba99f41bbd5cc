package actors

import (
	"testing"

	"github.com/aabb9013/hangar/internal/testserver"
)

func TestMain(m *testing.M) {
	testserver.ExecIfRequested()
	m.Run()
}
