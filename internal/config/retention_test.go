package config

import (
	"strings"
	"testing"
)

func TestSharesOfTheEventLogFitIntoIt(t *testing.T) {
	t.Parallel()
	for text, fault := range map[string]string{
		"max_bytes: 100, calls: {max_bytes: 60}, events: {max_bytes: 40}": "",
		"max_bytes: 100, calls: {max_bytes: 60}, events: {max_bytes: 41}": "event_store.retention.events.max_bytes",
		"max_bytes: 100, calls: {max_bytes: 99}":                          "",
		"max_bytes: 100, calls: {max_bytes: 100}":                         "event_store.retention.calls.max_bytes",
		"max_bytes: 100, events: {max_bytes: 100}":                        "event_store.retention.events.max_bytes",
		"calls: {max_bytes: 1099511627776}, events: {max_age_s: 60}":      "",
	} {
		_, err := Parse("f", []byte(oneServer("cwd: /")+"event_store: {retention: {"+text+"}}"), nil)
		if (err != nil) != (fault != "") || err != nil && !strings.Contains(err.Error(), ": "+fault+": calls (") {
			t.Errorf("%s: got %v, want a fault at %q", text, err, fault)
		}
	}
}
