// Package supervisor decides: when an instance of a server is started,
// stopped, probed, restarted or given up. It has no goroutine, no clock, no
// I/O and no logger. Time and randomness come in with [Env], facts and wishes
// with an [Input], and [Machine.Step] answers with the next [Machine] and the
// [Effect] list the shell carries out in order:
//
//	machine, effects := machine.Step(input, supervisor.Env{Now: now, Jitter: random})
//
// A Machine is a value. Step never changes the one it is called on, so a shell
// may keep an old Machine for a dump or a test without copying it.
//
// # States
//
// Every legal edge; [Legal] is the same table as a function:
//
//	cold ---------> initializing  a call or an operator wants the server
//	initializing -> ready         it shook hands and listed its tools
//	             -> dead          the start failed
//	             -> degraded      the start failed, the limit of failures in a row is reached
//	             -> cold          stopped before it was ready
//	ready --------> degraded      it answers no probe any more
//	             -> dead          it crashed
//	             -> cold          stopped, idle, or exited by itself without a failure
//	degraded -----> initializing  a restart is due, or a call after the hold-off
//	             -> cold          stopped
//	             -> dead          unresponsive and not to be restarted, or given up
//	dead ---------> initializing  a restart is due, or a call or an operator wants the server
//	             -> cold          stopped: nothing is to be restarted
//	             -> degraded      part of the contract's table, not taken by Step
//
// A phase refines a state. Stopping: the instance is being ended. Backoff: a
// restart has a date, [Machine.NextRetryAt], and the Retry timer is armed for
// it. Gave up: the restarts of the policy's period are used up.
//
// # One epoch, one instance
//
// Every start attempt has an epoch. A fact that carries another epoch than the
// machine's, or comes when that epoch has ended, changes nothing; the same
// holds for a timer whose number is not the armed one. An instance that was
// ready ends in exactly one event: McpServerStopped if the end was wanted
// (stop, idle, exit without failure), McpServerCrashed otherwise.
//
// # Two instances side by side
//
// A server that serves can be replaced without a gap: [ReplaceWanted] starts a
// second instance, the [Candidate], under an epoch of its own. The old instance
// serves until the candidate is ready; then, in one step, [SwitchInstance] sends
// calls to the new one and the old one, now the [Leaver], drains. A candidate that
// fails changes nothing. If the old instance ends first, the candidate's attempt
// becomes the server's start ([PromoteCandidate]). A stop ends both. There is
// never more than one instance besides the current one.
//
// # Who starts again
//
// A start that a call or an operator asked for and that fails is not repeated
// by itself, unless the server is permanent: the callers have their answer and
// the next call tries again. A recovery, the start after a crash or after a
// run of failed probes, does repeat: the first restart of a streak at once, but
// for so little jitter that nobody waits for it and a fleet that fails at one
// moment is spread, those after it with exponential, capped, jittered delays, and no more than
// [Policy.MaxRestarts] in [Policy.Period]. One more and the machine gives up
// until the window has slid, for a call, or until an operator starts it.
// Permanent failures are never repeated. Resource failures are, and count
// neither as failures of the server nor against its budget.
//
// A call in backoff waits while the server is dead and is refused while it is
// degraded. A degraded server without a restart planned holds calls off until
// NextRetryAt: without that, every call would pay for one more failing start.
//
// Dependency failures are not repeated either and count nowhere: the server
// starts when what it depends on serves again.
//
// # Restart types and strategies
//
// As in OTP, a permanent server restarts after every end, a transient one after
// an abnormal end, a temporary one never. OTP's strategies belong to a
// supervisor; here the crashed server is asked, [ServerSpec.Strategy], and
// [Graph.Reach] says whom its restart concerns besides itself: nobody
// (one_for_one), whoever depends on it (rest_for_one), its whole group
// (all_for_one). [GroupRestart] decides the order: all are stopped in reverse
// start order, then started in start order. It is one restart, in the budget of
// the server that crashed. A server that is given up takes those it reaches
// down with it.
//
// # What the shell owes
//
// It carries the effects out in order and reports the end of every epoch once,
// by StartFailed or Exited, after the instance is gone; a start that takes too
// long is such an end too, and the time limit is the shell's. It answers every
// ProbeInstance, with a failure if nothing comes. After a step that leaves the
// machine at rest ([Machine.AtRest]) while calls still wait, as when a server
// exited by itself with calls not yet sent, it asks for a start again; no other
// input would come. That cannot loop: a start that fails answers all of them.
//
// # Groups
//
// A [Group] decides in the same way about servers that serve the same tools:
// [Group.Step] who is in rotation, when the [Breaker] opens and closes, who is
// to be started again. [Group.Balance] makes a [Balancer] of it, which picks
// the member for one call. A group watches its members' conditions and owns no
// server.
//
// # What is forgotten
//
// Failures and the streak are forgotten when the instance was ready for
// [Policy.StableAfter], when it ended in the wanted way, and when an operator
// starts or resets it. The restart window slides by itself; only an operator's
// start or reset empties it.
package supervisor
