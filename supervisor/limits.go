package supervisor

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/aabb9013/hangar/backends"
)

// Limits bounds what all processes of one instance may use together; a zero
// field is no limit.
type Limits = backends.Limits

// Bounds of Limits. Below the least, no program would come as far as to say
// what it lacks.
const (
	MinMemoryLimit = 4 << 20
	MaxMemoryLimit = 1 << 46
	MinCPULimit    = 0.01
	MaxCPULimit    = 4096
	MaxPIDLimit    = 4 << 20
)

func (s ServerSpec) validateLimits(fault func(string, ...any)) {
	l := s.Limits
	if l.Memory != 0 && (l.Memory < MinMemoryLimit || l.Memory > MaxMemoryLimit) {
		fault("resources.memory must be between 4m and 64t")
	}
	if l.CPU != 0 && !(l.CPU >= MinCPULimit && l.CPU <= MaxCPULimit) {
		fault("resources.cpu must be between %g and %d cores", MinCPULimit, MaxCPULimit)
	}
	if l.PIDs < 0 || l.PIDs > MaxPIDLimit {
		fault("resources.pids must be between 0 and %d", MaxPIDLimit)
	}
}

// sizeUnits are the letters of ParseBytes.
const sizeUnits = "kmgt"

// ParseBytes reads a size as docker writes it: a number and b, k, m, g or t, in
// units of 1024. KiB and kB mean k. The number may have a fraction.
func ParseBytes(text string) (int64, error) {
	bad := fmt.Errorf("%q is no size; write a number of bytes, or a number with k, m, g or t as in 512m", clip(text))
	number := strings.ToLower(strings.TrimSpace(text))
	number = strings.TrimSuffix(number, "b")
	unit := 1.0
	if short := strings.TrimSuffix(number, "i"); short != "" {
		if i := strings.IndexByte(sizeUnits, short[len(short)-1]); i >= 0 {
			number, unit = short[:len(short)-1], math.Pow(1024, float64(i+1))
		}
	}
	if strings.Trim(number, "0123456789.") != "" {
		return 0, bad // ParseFloat knows more spellings than people write
	}
	value, err := strconv.ParseFloat(number, 64)
	if value *= unit; err != nil || value >= math.MaxInt64 {
		return 0, bad
	}
	return int64(value), nil
}

// ParseCores reads a number of processor cores, such as 0.5.
func ParseCores(text string) (float64, error) {
	cores, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
	if err != nil || math.IsNaN(cores) || math.IsInf(cores, 0) || cores < 0 {
		return 0, fmt.Errorf("%q is no number of cores; write one such as 0.5 or 2", clip(text))
	}
	return cores, nil
}
