package supervisor

import (
	"errors"
	"strings"
	"testing"
)

func TestParseBytes(t *testing.T) {
	for text, want := range map[string]int64{
		"0": 0, "1": 1, "512": 512, "512b": 512, "1k": 1024, "512m": 512 << 20, "512M": 512 << 20,
		"512MB": 512 << 20, "512Mi": 512 << 20, "512MiB": 512 << 20, " 4g ": 4 << 30, "1.5g": 3 << 29, "2t": 2 << 40,
	} {
		if got, err := ParseBytes(text); err != nil || got != want {
			t.Errorf("ParseBytes(%q) = %d, %v; want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"", "m", "b", "-1", "-1m", "1e9", "0x10", "inf", "nan", "1mm", "1 m", "1.2.3m", "9999999t", "512x", "i", "1ib1"} {
		if got, err := ParseBytes(text); err == nil {
			t.Errorf("ParseBytes(%q) = %d, want an error", text, got)
		}
	}
}

func TestParseCores(t *testing.T) {
	for text, want := range map[string]float64{"1.0": 1, "0.5": 0.5, "2": 2, "0": 0} {
		if got, err := ParseCores(text); err != nil || got != want {
			t.Errorf("ParseCores(%q) = %g, %v; want %g", text, got, err, want)
		}
	}
	for _, text := range []string{"", "one", "NaN", "inf", "-1"} {
		if got, err := ParseCores(text); err == nil {
			t.Errorf("ParseCores(%q) = %g, want an error", text, got)
		}
	}
}

func TestLimitsAreBounded(t *testing.T) {
	good := ServerSpec{ID: "a", Mode: ModeSubprocess, Command: []string{"x"}}.WithDefaults()
	for _, l := range []Limits{{}, {Memory: 4 << 20}, {CPU: 0.01}, {PIDs: 1}, {Memory: MaxMemoryLimit, CPU: MaxCPULimit, PIDs: MaxPIDLimit}} {
		if good.Limits = l; good.Validate() != nil {
			t.Errorf("%+v is refused: %v", l, good.Validate())
		}
	}
	for key, l := range map[string]Limits{"memory": {Memory: 4<<20 - 1}, "cpu": {CPU: 0.001}, "pids": {PIDs: -1}} {
		good.Limits = l
		if err := good.Validate(); !errors.Is(err, ErrInvalidSpec) || !strings.Contains(err.Error(), "resources."+key) {
			t.Errorf("%+v: %v, want a fault that names resources.%s", l, err, key)
		}
	}
}
