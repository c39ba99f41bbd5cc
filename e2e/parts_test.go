package e2e_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const (
	nodeModules = "node/node_modules"
	pythonBin   = "../.cache/python/bin"
)

// parts tells of each part that may be missing whether it is there.
var parts = map[string]func() error{
	"node": func() error {
		version, err := exec.Command("node", "--version").Output()
		if err != nil {
			return fmt.Errorf("node does not run: %w", err)
		}
		major, _, _ := strings.Cut(strings.TrimPrefix(string(version), "v"), ".")
		if n, _ := strconv.Atoi(major); n < 20 {
			return fmt.Errorf("node is %s, 20 is needed", strings.TrimSpace(string(version)))
		}
		return present(nodeModules)
	},
	"curl": func() error {
		_, err := exec.LookPath("curl")
		return err
	},
	"python": func() error { return present(filepath.Join(pythonBin, "mcp-server-time")) },
}

func present(path string) error {
	if _, err := os.Stat(path); err != nil {
		return errors.New("e2e/" + path + " is missing, `make parts` makes it")
	}
	return nil
}

// require skips the test when a part is missing, and fails it when
// HANGAR_REQUIRE says that the part must be there.
func require(t *testing.T, part string) {
	t.Helper()
	err := parts[part]()
	if err == nil {
		return
	}
	if slices.Contains(strings.Split(os.Getenv("HANGAR_REQUIRE"), ","), part) {
		t.Fatalf("HANGAR_REQUIRE demands %s: %v", part, err)
	}
	t.Skipf("needs %s: %v", part, err)
}

// absolute is the path of a file of this folder for a process elsewhere.
func absolute(t *testing.T, path string) string {
	t.Helper()
	path, err := filepath.Abs(path)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// nodeBin is the path of a command of a package in e2e/node.
func nodeBin(t *testing.T, name string) string {
	t.Helper()
	return absolute(t, filepath.Join(nodeModules, ".bin", name))
}
