package limits

import (
	"maps"
	"strings"
	"testing"
)

func offering(names ...string) offer {
	o := offer{enabled: make(map[string]bool), why: "said why not"}
	for _, name := range names {
		o.enabled[name] = true
	}
	return o
}

func TestChoose(t *testing.T) {
	all := []string{"memory", "cpu", "pids"}
	for _, c := range []struct {
		name   string
		v2, v1 offer
		want   Report
	}{
		{"v2 alone", offering(all...), offering(), Report{CgroupV2, true, true, true, ""}},
		{"both alike", offering(all...), offering(all...), Report{CgroupV2, true, true, true, ""}},
		{"hybrid: v1 has the controllers", offering(), offering(all...), Report{CgroupV1, true, true, true, ""}},
		{"v1 has more", offering("pids"), offering("memory", "cpu"), Report{CgroupV1, true, true, false, ""}},
		{"v2 has more", offering("memory", "cpu"), offering("pids"), Report{CgroupV2, true, true, false, ""}},
		{"part of v1", offering(), offering("memory", "pids"), Report{CgroupV1, true, false, true, ""}},
		{"nothing", offering(), offering(), Report{Rlimit, true, false, false, ""}},
	} {
		got := choose(c.v2, c.v1)
		if got.Why == "" {
			t.Errorf("%s: no reason", c.name)
		}
		if got.CPU == strings.Contains(got.Why, "no limit of cpu") {
			t.Errorf("%s: cpu is %t and the reason says %q", c.name, got.CPU, got.Why)
		}
		if got.Why = ""; got != c.want {
			t.Errorf("%s: got %+v, want %+v", c.name, got, c.want)
		}
	}
}

func TestFindPlace(t *testing.T) {
	const hybrid = `31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 /docker/abc /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup rw,memory
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
garbage
`
	const groups = "9:name=systemd:/x\n4:memory:/docker/abc/inner\n1:cpu,cpuacct:/a:b\n0::/user.slice\nbad\n"
	got := findPlace(hybrid, groups)
	want := map[string]string{
		"memory": "/sys/fs/cgroup/memory/inner", "cpu": "/sys/fs/cgroup/cpu,cpuacct/a:b", "cpuacct": "/sys/fs/cgroup/cpu,cpuacct/a:b",
	}
	if got.v2 != "/sys/fs/cgroup/unified/user.slice" || !maps.Equal(got.v1, want) {
		t.Errorf("got %+v, want v2 user.slice and %v", got, want)
	}
	if none := findPlace("", ""); none.v2 != "" || len(none.v1) != 0 {
		t.Errorf("without cgroups: %+v", none)
	}
}
