package e2e_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// tagEnv marks the program and, through their configuration, its children.
// The mark survives reparenting, which a walk down the process tree does not.
const tagEnv = "HANGAR_E2E_TAG"

// process is one process; the time of its start tells it from a later one
// with the same pid.
type process struct {
	pid     int
	started time.Duration // since boot, in clock ticks of 10 ms
	command string
}

func (p process) String() string { return fmt.Sprintf("%d (%s)", p.pid, p.command) }

// alive tells whether the process runs; a zombie does not.
func (p process) alive() bool {
	now, state, ok := readProcess(p.pid)
	return ok && state != 'Z' && now.started == p.started
}

func readProcess(pid int) (p process, state byte, ok bool) {
	dir := filepath.Join("/proc", strconv.Itoa(pid))
	stat, err := os.ReadFile(filepath.Join(dir, "stat"))
	if err != nil {
		return process{}, 0, false
	}
	// The second field is the name in parentheses and may hold anything.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	ticks, err := strconv.ParseInt(fields[19], 10, 64)
	if err != nil {
		return process{}, 0, false
	}
	command, _ := os.ReadFile(filepath.Join(dir, "cmdline"))
	text := strings.TrimSpace(strings.ReplaceAll(string(command), "\x00", " "))
	return process{pid, time.Duration(ticks) * 10 * time.Millisecond, text}, fields[0][0], true
}

// tagged finds every running process with the mark.
func tagged(t *testing.T, tag string) []process {
	t.Helper()
	environs, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil || len(environs) == 0 {
		t.Fatalf("cannot list processes: %v", err)
	}
	var found []process
	for _, name := range environs {
		environ, _ := os.ReadFile(name) // gone, or another user's: none of ours
		if !slices.Contains(strings.Split(string(environ), "\x00"), tagEnv+"="+tag) {
			continue
		}
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(name)))
		if p, state, ok := readProcess(pid); ok && state != 'Z' {
			found = append(found, p)
		}
	}
	return found
}

// noneLeft waits for the last of the processes to end.
func noneLeft(t *testing.T, processes []process, within time.Duration) {
	t.Helper()
	var left []process
	if !eventually(within, func() bool {
		left = slices.DeleteFunc(slices.Clone(processes), func(p process) bool { return !p.alive() })
		return len(left) == 0
	}) {
		t.Errorf("%d of %d processes are left %s after the end, such as %s", len(left), len(processes), within, left[0])
	}
}

// eventually asks until the answer is yes or time is up.
func eventually(within time.Duration, yes func() bool) bool {
	for deadline := time.Now().Add(within); ; time.Sleep(10 * time.Millisecond) {
		if yes() {
			return true
		}
		if time.Now().After(deadline) {
			return false
		}
	}
}
