package httpapi

import (
	"strconv"
	"time"
)

// duration reads a number of seconds, fractions allowed.
func (f *fields) duration(name string, least, most time.Duration) *time.Duration {
	raw, ok := f.raw(name)
	if !ok {
		return nil
	}
	v, err := strconv.ParseFloat(string(raw), 64)
	if err != nil || !(v >= least.Seconds() && v <= most.Seconds()) {
		f.fault(name, "must be a number of seconds between %g and %g", least.Seconds(), most.Seconds())
		return nil
	}
	d := time.Duration(v * float64(time.Second))
	return &d
}
