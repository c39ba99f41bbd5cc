package fake_test

import (
	"strconv"
	"sync"
	"testing"

	"github.com/aabb9013/hangar/backends"
	"github.com/aabb9013/hangar/backends/backendtest"
	"github.com/aabb9013/hangar/backends/fake"
)

func TestContract(t *testing.T) { backendtest.Run(t, &harness{scripts: make(map[string]fake.Script)}) }

// harness turns behaviours into scripts.
type harness struct {
	mu      sync.Mutex
	scripts map[string]fake.Script
}

func (h *harness) Virtual() bool { return true }

func (h *harness) Backend(_ testing.TB, tune backendtest.Tuning) backends.Backend {
	b := fake.New(func(server string, _ uint64) fake.Script {
		h.mu.Lock()
		defer h.mu.Unlock()
		return h.scripts[server]
	})
	if tune.EOFGrace > 0 {
		b.EOFGrace = tune.EOFGrace
	}
	if tune.TermGrace > 0 {
		b.TermGrace = tune.TermGrace
	}
	if tune.StdinStall > 0 {
		b.StdinStall = tune.StdinStall
	}
	return b
}

func (h *harness) Spec(_ testing.TB, b backendtest.Behaviour) (spec backends.LaunchSpec, mustName, skip string) {
	if b.Broken != "" {
		return spec, "", "the fake has no programs: " + string(b.Broken)
	}
	script := fake.Script{
		InitDelay: b.InitDelay, InitHang: b.InitHang, InitCrash: b.InitCrash, CrashAfter: b.CrashAfter,
		Page: b.Page, NeverRead: b.StallAtCall, CloseStdin: b.CloseStdin, CloseStdout: b.CloseStdout,
		IgnoreEOF: b.IgnoreEOF, IgnoreTerm: b.IgnoreTerm, Banner: b.Banner, Noise: b.Noise, HugeLine: b.HugeLine,
		ByteAtATime: b.ByteAtATime, DupID: b.DupID, WrongID: b.WrongID, NotifyFlood: b.NotifyFlood,
		ListChanged: b.ListChanged, Ask: b.Ask,
	}
	switch {
	case b.InitCrash:
		script.ExitCode = 3
	case b.CrashAfter > 0:
		script.ExitCode = 4
	case b.ExitAfterInit != nil:
		script.ExitAfterInit, script.ExitCode = true, *b.ExitAfterInit
	}
	if b.InitBadVersion {
		script.BadVersion = "1999-01-01"
	}
	for i := range b.Tools {
		script.Tools = append(script.Tools, "dummy_"+strconv.Itoa(i))
	}
	for i := range b.StderrLines {
		script.Stderr = append(script.Stderr, "testserver: stderr line "+strconv.Itoa(i))
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	spec.Server = "fake-" + strconv.Itoa(len(h.scripts))
	h.scripts[spec.Server] = script
	return spec, "", ""
}
