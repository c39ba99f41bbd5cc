package config

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// BenchmarkParse has the reference file, 500 servers (a large fleet), and the
// most expensive texts the bounds let through to the YAML parser.
func BenchmarkParse(b *testing.B) {
	reference, err := os.ReadFile(filepath.Join("testdata", "reference.yaml"))
	if err != nil {
		b.Fatal(err)
	}
	for name, text := range map[string]string{
		"reference": string(reference),
		"fleet":     "mcp_servers:\n" + lines(" s%d:\n  command: [python, -m, server, --port, '8000', --verbose]\n  idle_ttl_s: 60\n  env: {A: b}\n", 500),
		"items":     "a: [" + strings.Repeat("a,", maxSeparators-10) + "]",
		"keys":      lines("k%d: v\n", maxNodes/2-10),
	} {
		b.Run(fmt.Sprintf("%s/%dKiB", name, len(text)>>10), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_, _ = Parse("f", []byte(text), referenceEnv)
			}
		})
	}
}

// BenchmarkRefusal is what each hostile text costs until it is refused: at most
// 100 ms and 32 MiB are promised.
func BenchmarkRefusal(b *testing.B) {
	texts := hostile()
	for _, name := range slices.Sorted(maps.Keys(texts)) {
		text := []byte(texts[name].text)
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			began := spent(b)
			for b.Loop() {
				if _, err := Parse("f", text, environment(nil)); err == nil {
					b.Fatal("it was accepted")
				}
			}
			b.ReportMetric(float64((spent(b)-began).Microseconds())/1000/float64(b.N), "cpu-ms/op")
		})
	}
}
