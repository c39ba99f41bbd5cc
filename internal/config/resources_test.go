package config

import (
	"strings"
	"testing"

	"github.com/aabb9013/hangar/supervisor"
)

func TestResourcesBecomeLimits(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]supervisor.Limits{
		"cwd: /":                        {}, // the defaults are a container's
		"resources: {}":                 {},
		"resources: {memory: 64m}":      {Memory: 64 << 20},
		"resources: {memory: 67108864}": {Memory: 64 << 20},
		"resources: {memory: 1g, cpu: 0.5, pids: 20}":   {Memory: 1 << 30, CPU: 0.5, PIDs: 20},
		"resources: {cpu: \"2\"}":                       {CPU: 2},
		"mode: docker\nimage: x":                        {Memory: 512 << 20, CPU: 1},
		"mode: docker\nimage: x\nresources: {cpu: 2.0}": {Memory: 512 << 20, CPU: 2},
	} {
		if got := mustParse(t, oneServer(text), nil).Servers[0].Limits; got != want {
			t.Errorf("%s: got %+v, want %+v", text, got, want)
		}
	}
}

func TestBadResourcesAreRefused(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"resources: {memory: lots}":  "resources.memory",
		"resources: {memory: 1m}":    "resources.memory",
		"resources: {cpu: fast}":     "resources.cpu",
		"resources: {cpu: 0.0001}":   "resources.cpu",
		"resources: {pids: -1}":      "resources.pids",
		"resources: {pids: 9999999}": "resources.pids",
	} {
		_, err := Parse("c.yaml", []byte(oneServer(text)), nil)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want a fault that names %s", text, err, want)
		}
	}
}
