package limits

// Mechanism names the means that holds processes inside of their limits.
type Mechanism string

// The mechanisms, best first.
const (
	CgroupV2 Mechanism = "cgroup2"
	CgroupV1 Mechanism = "cgroup1"
	Rlimit   Mechanism = "rlimit"
)

// Report says what this host can enforce.
type Report struct {
	Mechanism Mechanism `json:"mechanism"`
	Memory    bool      `json:"memory"`
	CPU       bool      `json:"cpu"`
	PIDs      bool      `json:"pids"`
	Why       string    `json:"why"` // this mechanism and not a better one
}

// offer is what one hierarchy can do, or why it cannot.
type offer struct {
	enabled map[string]bool // by controller
	why     string
}

func (o offer) count() (n int) {
	for _, controller := range controllers {
		if o.enabled[controller] {
			n++
		}
	}
	return n
}

// choose takes the hierarchy that enforces more, v2 if they are equal: it alone
// kills a whole group at once.
func choose(v2, v1 offer) Report {
	report := func(m Mechanism, o offer, why string) Report {
		r := Report{Mechanism: m, Memory: o.enabled["memory"], CPU: o.enabled["cpu"], PIDs: o.enabled["pids"], Why: why}
		for _, controller := range controllers {
			if !o.enabled[controller] {
				r.Why += "; no limit of " + controller
			}
		}
		return r
	}
	switch {
	case v2.count() > 0 && v2.count() >= v1.count():
		return report(CgroupV2, v2, "cgroup v2 can be written")
	case v1.count() > 0:
		return report(CgroupV1, v1, "cgroup v1 can be written, and it enforces more than v2 here ("+v2.why+")")
	}
	only := offer{enabled: map[string]bool{"memory": true}}
	return report(Rlimit, only, "no cgroup can be written (v2: "+v2.why+"; v1: "+v1.why+"), so memory is bounded for each process")
}
