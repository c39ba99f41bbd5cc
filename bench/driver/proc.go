package driver

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"time"
)

// clockTick is what one tick of /proc/PID/stat means: USER_HZ, which Linux fixes at 100 for user space.
const clockTick = 10 * time.Millisecond

// CPU returns the user and system time that a process has used, without its children, to 10 ms.
func CPU(pid int) (time.Duration, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	// The command name may hold anything; the fields are counted from behind its closing bracket.
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(fields) < 13 {
		return 0, fmt.Errorf("/proc/%d/stat: %d fields", pid, len(fields))
	}
	user, err := strconv.ParseInt(string(fields[11]), 10, 64)
	if err != nil {
		return 0, err
	}
	system, err := strconv.ParseInt(string(fields[12]), 10, 64)
	return time.Duration(user+system) * clockTick, err
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
