package driver

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// CPU returns the user and system time that a process has used, without its children: its clock of clock_getcpuclockid(3),
// which any process may read.
func CPU(pid int) (time.Duration, error) {
	const sched = 2 // CPUCLOCK_SCHED: what the scheduler counted, in nanoseconds
	var used unix.Timespec
	if err := unix.ClockGettime(int32(^pid)<<3|sched, &used); err != nil {
		return 0, fmt.Errorf("processor time of process %d: %w", pid, err)
	}
	return time.Duration(used.Nano()), nil
}

// Memory is what one process holds, without its children, in KiB.
type Memory struct {
	RSS int64 `json:"rss_kib"`
	PSS int64 `json:"pss_kib"`
}

// MemoryOf reads VmRSS and the proportional set size of a process.
func MemoryOf(pid int) (Memory, error) {
	rss, err := procField(fmt.Sprintf("/proc/%d/status", pid), "VmRSS:")
	if err != nil {
		return Memory{}, err
	}
	pss, err := procField(fmt.Sprintf("/proc/%d/smaps_rollup", pid), "Pss:")
	return Memory{RSS: rss, PSS: pss}, err
}

// OwnMemory returns the resident bytes of a process that are no mapped file's.
func OwnMemory(pid int) (int64, error) {
	kib, err := procField(fmt.Sprintf("/proc/%d/status", pid), "RssAnon:")
	return kib << 10, err
}

func procField(path, name string) (int64, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	for line := range bytes.Lines(text) {
		if fields := bytes.Fields(line); len(fields) > 1 && string(fields[0]) == name {
			return strconv.ParseInt(string(fields[1]), 10, 64)
		}
	}
	return 0, fmt.Errorf("%s: no %s", path, name)
}
