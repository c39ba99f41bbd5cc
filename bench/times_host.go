package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/aabb9013/hangar/internal/testserver"
)

// zombies is C10: a child that leaves a thousand, and becomes the stub.
func (t *times) zombies(ctx context.Context) error {
	running, err := t.alone(ctx)
	if err != nil {
		return err
	}
	defer running.stop()
	reaper, err := running.reaper()
	if err != nil {
		return err
	}
	stub, _ := testserver.Command()
	script := `i=0; while [ $i -lt 1000 ]; do (true & true & true & true &); i=$((i+4)); done; exec "$0"`
	if err := t.begin(running, 1, map[string]any{"command": append([]string{"sh", "-c", script}, stub...)}); err != nil {
		return err
	}
	at, left := time.Now(), 0
	for {
		if left = zombiesBelow(reaper); left == 0 || time.Since(at) > readyAgain || ctx.Err() != nil {
			break
		}
		pause(ctx, lookAgain)
	}
	t.count("C10", "zombies left of 1,000", left, 0)
	t.atMost("C10", "from the last one's end until they were gone", time.Since(at), 2*time.Second)
	return ctx.Err()
}

// zombiesBelow counts the children of a process that have ended and were not waited for.
func zombiesBelow(parent int) (n int) {
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return 0
	}
	for _, path := range stats {
		stat, err := os.ReadFile(path)
		if err != nil {
			continue // it has gone
		}
		fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
		if len(fields) > 1 && string(fields[0]) == "Z" && string(fields[1]) == strconv.Itoa(parent) {
			n++
		}
	}
	return n
}

// noProcessSlot is E01: a fleet that was killed while the host gave no process, from the lift of that on.
func (t *times) noProcessSlot(ctx context.Context) error {
	const servers = 20
	running, err := t.alone(ctx)
	if err != nil {
		return err
	}
	defer running.stop()
	if err := t.begin(running, servers, map[string]any{"resources": map[string]any{"pids": 100}}); err != nil {
		return err
	}
	pids := make([]int, servers)
	for i := range servers {
		s, err := running.standing(i + 1)
		if err != nil {
			return err
		}
		pids[i] = s.PID
	}
	limit, err := pidsLimit(pids[0])
	if err != nil {
		t.skip("E01", err.Error())
		return nil
	}
	files, threads := countOf(running.pid, "fd"), countOf(running.pid, "task")
	if err := os.WriteFile(limit, []byte("1"), 0o644); err != nil {
		t.skip("E01", err.Error())
		return nil
	}
	for _, pid := range pids {
		if err := t.kill(pid); err != nil {
			return errors.Join(err, os.WriteFile(limit, []byte("max"), 0o644))
		}
	}
	pause(ctx, 10*time.Second) // they try, and fail, and wait longer
	lifted := time.Now()
	if err := os.WriteFile(limit, []byte("max"), 0o644); err != nil {
		return err
	}
	counted := 0
	for i := 1; i <= servers; i++ {
		s, err := running.next(ctx, i, 2) // the second attempt failed
		if err != nil {
			return err
		}
		counted = max(counted, s.Restarts)
	}
	t.atMost("E01", fmt.Sprintf("%d servers ready after the lift of 10 s without a process", servers), time.Since(lifted), 10*time.Second)
	t.count("E01", "restarts counted for one of them, of which its crash may be one", counted, 1)
	pause(ctx, time.Second)
	// Go ends no thread that it once needed, so their number is told and not checked.
	t.count("E01", fmt.Sprintf("descriptors, %d before (threads %d, %d before)", files, countOf(running.pid, "task"), threads), countOf(running.pid, "fd"), files)
	return nil
}

// pidsLimit is where the processes of all servers together are limited.
func pidsLimit(pid int) (string, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(text)) {
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(parts) != 3 || !strings.Contains(parts[2], "hangar-") {
			continue
		}
		switch parts[1] {
		case "pids":
			return filepath.Join("/sys/fs/cgroup/pids", filepath.Dir(parts[2]), "pids.max"), nil
		case "":
			return filepath.Join("/sys/fs/cgroup", filepath.Dir(parts[2]), "pids.max"), nil
		}
	}
	return "", errors.New("this host has no group that counts processes which the runtime may use")
}

// countOf counts the descriptors (fd) or threads (task) of a process.
func countOf(pid int, what string) int {
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/%s", pid, what))
	if err != nil {
		return 0
	}
	return len(entries)
}
