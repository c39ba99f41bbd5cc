package redact

import (
	"os"
	"testing"

	"github.com/aabb9013/hangar/internal/leaktest"
)

func TestMain(m *testing.M) { os.Exit(leaktest.Run(m)) }
