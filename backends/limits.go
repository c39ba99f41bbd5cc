package backends

import "fmt"

// Limits bounds what all processes of one instance may use together. It is a
// value; a zero field is no limit.
type Limits struct {
	Memory int64   `json:"memory,omitempty"` // bytes
	CPU    float64 `json:"cpu,omitempty"`    // cores: 0.5 is half the time of one
	PIDs   int     `json:"pids,omitempty"`   // processes and threads at one time
}

// FormatBytes writes a number of bytes for people, in units of 1024.
func FormatBytes(n int64) string {
	units := [...]string{"KiB", "MiB", "GiB", "TiB"}
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	value, unit := float64(n)/1024, 0
	for value >= 1024 && unit < len(units)-1 {
		value, unit = value/1024, unit+1
	}
	return fmt.Sprintf("%.4g %s", value, units[unit])
}
