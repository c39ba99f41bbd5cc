package httpapi

import (
	"encoding/json"
	"slices"

	"github.com/aabb9013/hangar/supervisor"
)

// limits reads resources as the configuration file spells them: memory is a
// size such as "512m" or a number of bytes, cpu a number of cores or its text.
func (f *fields) limits() (l supervisor.Limits) {
	o, ok := f.inner("resources", " with memory, cpu and pids")
	if !ok {
		return l
	}
	var err error
	for _, key := range o.keys {
		if !slices.Contains([]string{"memory", "cpu", "pids"}, key) {
			f.fault("resources", "has the unknown name %s, known are memory, cpu, pids", quoteClient(key))
		}
	}
	in := fields{object: o}
	if text, ok := in.scalar("memory"); ok {
		if l.Memory, err = supervisor.ParseBytes(text); err != nil {
			f.fault("resources", "memory: %s", err)
		}
	}
	if text, ok := in.scalar("cpu"); ok {
		if l.CPU, err = supervisor.ParseCores(text); err != nil {
			f.fault("resources", "cpu: %s", err)
		}
	}
	setIf(&l.PIDs, in.integer("pids", 0, supervisor.MaxPIDLimit))
	for _, fault := range in.faults {
		f.fault("resources", "%s", fault)
	}
	return l
}

// scalar takes a text, or a number as it is written.
func (f *fields) scalar(name string) (string, bool) {
	raw, ok := f.raw(name)
	if !ok {
		return "", false
	}
	var number json.Number
	if json.Unmarshal(raw, &number) == nil && raw[0] != '"' {
		return number.String(), true
	}
	text := f.text(name)
	if text == nil {
		return "", false
	}
	return *text, true
}

// limitsShape is the limits of a server; a missing field is no limit.
type limitsShape struct {
	Memory int64   `json:"memory,omitempty"` // bytes
	CPU    float64 `json:"cpu,omitempty"`
	PIDs   int     `json:"pids,omitempty"`
}
