// Package reaper keeps the promise that no process outlives the runtime that
// started it. A small process beside the runtime, the reaper, starts all
// instances and outlives the runtime just long enough to end them.
//
// The reaper is the runtime's own program run again (ExecIfRequested). It has
// a process group of its own, so that no signal meant for the runtime's group ends
// it. What its children leave behind becomes its child by
// PR_SET_CHILD_SUBREAPER, also daemons with a session of their own. One socket
// joins it to the runtime: requests and the streams of new children go one way,
// starts and ends the other, and its end is the runtime's end, however that
// came: then the reaper kills every descendant and exits. If the reaper itself
// is killed, the kernel kills its children (the parent-death signal), and the
// runtime sweeps the rest and starts another.
//
// Every process of an instance carries a mark that it cannot lose by accident:
// a soft limit of RLIMIT_RSS, which the kernel hands down and does not heed
// (mark_linux.go). So what an instance left behind is known as its own after
// any number of forks, in any session and with any environment, and is killed
// when the instance has ended.
//
// Reading order: wire.go and codec.go (what the two say to each other), mark_linux.go, the
// reaper (serve_linux.go, bury_linux.go), the runtime's half (client_linux.go,
// conn_linux.go), sweep_linux.go.
package reaper
