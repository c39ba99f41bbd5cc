package hangar

import (
	"encoding/json"
	"fmt"
	"os"
	"time"

	"github.com/aabb9013/hangar/httpapi"
	"github.com/aabb9013/hangar/internal/procs"
	"github.com/aabb9013/hangar/internal/reaper"
	"github.com/aabb9013/hangar/persistence"
)

// BeReaper makes sure that no process of a server outlives the runtime. Call it
// first in main, before flags are read and anything is opened: the runtime runs
// the program again beside itself, as the reaper process that starts all
// servers, and there BeReaper does not return. In any other process it does
// nothing but to allow that.
//
// Without this call, and outside of Linux, servers are started by the program
// itself. Then a process that has left its server's process group, a daemon,
// outlives its server until Close, and a runtime killed by kill -9 until the
// next Start on the same DataDir.
func BeReaper() { reaper.ExecIfRequested() }

// Processes tells the edge of every process of ours: this one, the reaper and
// what the servers started. Of other children of an embedding program it says
// nothing.
func (e edge) Processes() []httpapi.Process {
	uptime := procs.Uptime()
	row := func(info procs.Info, role httpapi.ProcessRole) httpapi.Process {
		return httpapi.Process{
			PID: info.PID, PPID: info.PPID, Role: role, Command: info.Comm,
			Age: info.Age(uptime), RSS: info.RSS, State: info.State,
		}
	}
	var all []httpapi.Process
	if self, err := procs.Read(os.Getpid()); err == nil {
		all = append(all, row(self, httpapi.RoleRuntime))
	}
	for _, p := range e.rt.backend.Processes() {
		role := httpapi.RoleStray
		switch {
		case p.Reaper:
			role = httpapi.RoleReaper
		case p.Instance:
			role = httpapi.RoleInstance
		case p.Server != "":
			role = httpapi.RoleDescendant
		}
		r := row(p.Info, role)
		r.Server, r.Epoch = p.Server, p.Epoch
		all = append(all, r)
	}
	return all
}

// docRun is the document that says whose processes a data directory's are, and
// which run of a runtime has it.
const (
	docRun     = "run"
	docRunID   = "current"
	sweepLimit = 5 * time.Second // for what an earlier run left
)

// runDoc names a run by more than its pid, which is another process's later.
type runDoc struct {
	Owner  string `json:"owner"`
	PID    int    `json:"pid,omitempty"` // 0 once the run ended well
	Start  uint64 `json:"start,omitempty"`
	BootID string `json:"boot_id,omitempty"`
}

// claim is what a run knows of its processes and of the run before.
type claim struct {
	owner   reaper.Owner
	tag     string
	unclean bool // the run before did not end by Close
	swept   int  // processes that it left
}

// claim takes the data directory's processes over: those that a run left which
// did not end well are killed. No fault of it keeps the runtime from starting.
func (rt *Runtime) claim() claim {
	last, owner := rt.lastRun()
	c := claim{owner: owner, tag: owner.Tag(rt.runID)}
	if last.PID != 0 {
		if last.alive() {
			// The directory is a copy of one in use, whose processes are not ours.
			rt.logger.Warn("the data directory is a copy of that of a running process, it gets a name of its own", "pid", last.PID)
			c.owner = reaper.NewOwner()
			c.tag = c.owner.Tag(rt.runID)
		} else {
			var left int
			c.unclean = true
			c.swept, left = reaper.Sweep(owner, sweepLimit)
			rt.logger.Warn("unclean_shutdown", "pid", last.PID, "processes_swept", c.swept, "processes_left", left)
		}
	}
	if err := rt.writeRun(runDoc{Owner: c.owner.String(), PID: os.Getpid(), Start: startOf(os.Getpid()), BootID: procs.BootID()}); err != nil {
		rt.logger.Warn("cannot write which run has the data directory, what a kill leaves will not be found", "err", err)
	}
	rt.owner = c.owner
	return c
}

// lastRun reads what the run before wrote. A directory without it is new.
func (rt *Runtime) lastRun() (runDoc, reaper.Owner) {
	var last runDoc
	doc, found, err := rt.store.Doc(docRun, docRunID)
	if err == nil && found {
		err = json.Unmarshal(doc.Body, &last)
	}
	if err == nil && found {
		var owner reaper.Owner
		if owner, err = reaper.ParseOwner(last.Owner); err == nil {
			return last, owner
		}
	}
	if err != nil {
		rt.logger.Warn("cannot read which run had the data directory", "err", err)
	}
	return runDoc{}, reaper.NewOwner()
}

// alive tells whether the run's process still runs. Only a copied directory can
// say so: the lock on the one in use would have kept us out.
func (d runDoc) alive() bool {
	return d.BootID == procs.BootID() && d.Start != 0 && d.Start == startOf(d.PID)
}

func startOf(pid int) uint64 {
	info, err := procs.Read(pid)
	if err != nil || info.Dead() {
		return 0
	}
	return info.Start
}

// release writes that the run ended well, and its last events with that.
func (rt *Runtime) release(last ...persistence.Event) error {
	return rt.writeRun(runDoc{Owner: rt.owner.String()}, last...)
}

func (rt *Runtime) writeRun(doc runDoc, events ...persistence.Event) error {
	body, err := json.Marshal(doc)
	if err != nil {
		return fmt.Errorf("cannot encode the run: %w", err)
	}
	return rt.store.Commit(persistence.Batch{Docs: []persistence.Doc{{Kind: docRun, ID: docRunID, Body: body}}, Events: events})
}
