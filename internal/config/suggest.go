package config

import "strings"

// renamed has keys of older files, by what became of them.
var renamed = map[string]string{
	"providers":                    "mcp_servers",
	"default_provider_concurrency": "default_mcp_server_concurrency",
	"max_providers_per_source":     "max_mcp_servers_per_source",
	"per_provider":                 "per_mcp_server",
	"start_timeout":                "start_timeout_s",
	"idle_ttl":                     "idle_ttl_s",
	"cmd":                          "command",
	"working_dir":                  "cwd",
	"mcpServers":                   "mcp_servers",
}

// groupKeys belong to a server with mode: group only.
var groupKeys = map[string]bool{
	"members": true, "strategy": true, "min_healthy": true, "auto_start": true,
	"circuit_breaker": true, "health": true, "affinity": true, "slow_start_s": true, "pins": true, "outlier": true,
}

// maxSuggestKey bounds the keys for which a nearest one is looked up.
const maxSuggestKey = 40

// suggestion is the second half of "unknown key; did you mean …?".
func suggestion(key string, p *plan) string {
	if name := renamed[key]; p.byName[name] != nil {
		return ", did you mean " + name + "?"
	}
	if groupKeys[key] && p.byName["mode"] != nil {
		return " of a server (it belongs to one with mode: group)"
	}
	if name := nearest(key, p); name != "" {
		return ", did you mean " + name + "?"
	}
	return ""
}

// nearest is the known key that is fewest edits away, at most a third of its
// letters; the first of the schema among equals.
func nearest(key string, p *plan) string {
	if len(key) > maxSuggestKey {
		return ""
	}
	key = strings.ReplaceAll(strings.ToLower(key), "-", "_")
	best, bestDistance := "", maxSuggestKey
	for _, f := range p.fields {
		limit := min(max(1, len(f.name)/3), bestDistance-1)
		if d := distance(key, f.name, limit); d <= limit {
			best, bestDistance = f.name, d
		}
	}
	return best
}

// distance counts insertions, deletions, replacements and swaps of two
// neighbours; beyond limit the exact number does not matter.
func distance(a, b string, limit int) int {
	if len(a)-len(b) > limit || len(b)-len(a) > limit {
		return limit + 1
	}
	var rows [3][maxSuggestKey*2 + 1]int
	before, last, row := &rows[0], &rows[1], &rows[2]
	for j := range len(b) + 1 {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}
