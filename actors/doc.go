// Package actors is the supervision tree: the shell around the pure decisions
// of package supervisor. It is the only package that knows the actor library.
//
//	root ─┬─ eventlog          the only writer of the store; first up, last down
//	      ├─ registry          creates, updates, deletes; owns id → actor
//	      ├─ starts            start admission: a few at once, waiting calls first
//	      ├─ memory            measures the servers; stops idle ones over the budget
//	      ├─ groups ── group×M   who is in rotation; owns no server
//	      ├─ dependencies      what servers that depend on each other do to each other
//	      └─ servers ─ server×N  the machine, the waiting calls; owns one instance
//
// # Rules
//
// An actor never blocks. Work that may block is one goroutine that ends in
// exactly one message; facts about an instance carry its epoch and are
// dropped when it is an old one. What an actor asks of another is a message
// with a callback that sends a message back; no actor waits for another.
//
// # One call
//
// Ref.Do sends the *backends.Call itself as the message; the server's actor
// admits it and hands it to the instance; the instance's reader finishes it;
// Do, which waited on the call's own channel, records it for the log. The
// answer does not pass through the actor.
//
// GroupRef.Do picks a member first, on the caller's goroutine, from what the
// group's actor published; the actor hears only of outcomes that change
// something.
//
// # One crash
//
// The instance's watcher reports Ended → instanceEnded{epoch} → Machine.Step
// (Exited) → effects [Emit, StartInstance or ArmTimer] → started goroutine →
// instanceStarted → Step(Started) → ReleaseWaiting.
//
// # One event
//
// emit → commit → the log's writer → feed.advance. Who subscribed reads the log
// behind it (feed.go, subscription.go); no actor waits for a subscriber.
//
// # Panics
//
// A panic in an actor is a bug of ours. The message at hand is failed, the
// stack is logged, and the strategy restarts the actor over the same cell:
// machine, waiting calls and the healthy instance live on in it, and calls in
// flight complete. What the lost message would have told is told again: the
// attempt and the instance remember how they ended. An actor that keeps
// failing is given up: its instance is killed and its callers are told; an
// operator's start or reset gives its cell a new one. The actors at the top are
// never given up; they go on with their next message.
// A panic in a goroutine that works for an actor becomes the error that its
// one message carries.
package actors
