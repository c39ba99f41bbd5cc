package main

import (
	"os"
	"path/filepath"
)

// findConfig is the configuration file of who names none: that of the user,
// else the one of the working directory, as the reference has it; empty if
// neither is there.
func findConfig() string {
	places := []string{"config.yaml"}
	if home, err := os.UserHomeDir(); err == nil {
		places = []string{filepath.Join(home, ".config", "mcp-hangar", "config.yaml"), places[0]}
	}
	for _, path := range places {
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() {
			return path
		}
	}
	return ""
}
