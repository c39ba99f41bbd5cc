package actors

import (
	"sync"
	"sync/atomic"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/aabb9013/hangar/backends"
)

const (
	// mailboxBurst is how many messages one sender handles before a goroutine
	// of its own takes the rest: a caller must not work for the others for ever.
	mailboxBurst = 64
	// mailboxKept is the room an empty mailbox keeps for its next burst.
	mailboxKept = 64
)

// mailbox is the mailbox of a server's actor, in place of the library's. The
// actor has no goroutine: who finds it free handles his message, and then what
// came meanwhile, on his own; who finds it busy leaves the message and goes.
// So an actor with such a mailbox must never block, and whoever sends to it
// must hold no lock that the actor could want.
//
// A call takes a way of its own, past the library: through its layers a call
// met a dozen more cold functions, a tenth of what it costs. Messages keep
// their order. Their number is bounded by their senders: callers, each with
// one call, and timers and goroutines of the server itself.
type mailbox struct {
	cell    *cell
	invoker actor.MessageInvoker

	waiting atomic.Int32 // user messages left behind

	mu        sync.Mutex
	running   bool
	suspended bool // between a panic and the restart
	closed    bool // the actor has stopped for good
	system    []any
	user      []any
	first     int // of user
}

var _ actor.Mailbox = (*mailbox)(nil)

// onSender makes an actor live in the mailbox.
func onSender(m *mailbox) actor.PropsOption {
	return actor.WithMailbox(func() actor.Mailbox { return m })
}

// RegisterHandlers opens the mailbox for a newly spawned actor.
func (m *mailbox) RegisterHandlers(invoker actor.MessageInvoker, _ actor.Dispatcher) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.invoker, m.suspended, m.closed = invoker, false, false
}

// Start is the library's; there is nothing to start.
func (m *mailbox) Start() {}

// UserMessageCount is the number of messages left behind.
func (m *mailbox) UserMessageCount() int { return int(m.waiting.Load()) }

// PostUserMessage handles a message, or leaves it. A call is handed over by it
// directly, and finished in the end, whatever happens.
func (m *mailbox) PostUserMessage(msg any) {
	m.mu.Lock()
	if m.running || m.suspended || m.closed {
		m.leave(msg)
		return
	}
	m.running = true
	m.mu.Unlock()
	m.handle(msg)
	m.drain(1)
}

// leave unlocks: it queues the message, or fails it when nobody will come.
func (m *mailbox) leave(msg any) {
	if m.closed {
		m.mu.Unlock()
		m.fail(msg)
		return
	}
	m.user = append(m.user, msg)
	m.waiting.Add(1)
	m.mu.Unlock()
}

// PostSystemMessage does the same for the library's own messages, which go
// before others and are handled also while the actor is suspended.
func (m *mailbox) PostSystemMessage(msg any) {
	m.mu.Lock()
	m.system = append(m.system, msg)
	if m.running {
		m.mu.Unlock()
		return
	}
	m.running = true
	m.mu.Unlock()
	m.drain(0)
}

// drain handles what waits, until there is nothing or it is somebody else's
// turn to work.
func (m *mailbox) drain(handled int) {
	for {
		m.mu.Lock()
		if len(m.system) > 0 {
			msg := m.system[0]
			m.system = m.system[1:]
			m.mu.Unlock()
			m.handleSystem(msg)
			continue
		}
		if m.suspended || m.first == len(m.user) {
			m.running = false
			m.mu.Unlock()
			return
		}
		if handled >= mailboxBurst {
			m.mu.Unlock()
			go m.drain(0) // ends with the messages; the mailbox stays taken meanwhile
			return
		}
		msg := m.pop()
		m.mu.Unlock()
		handled++
		m.handle(msg)
	}
}

func (m *mailbox) pop() any {
	msg := m.user[m.first]
	m.user[m.first] = nil
	m.first++
	m.waiting.Add(-1)
	switch {
	case m.first < len(m.user):
		if m.first >= mailboxKept && 2*m.first >= len(m.user) {
			kept := copy(m.user, m.user[m.first:])
			clear(m.user[kept:])
			m.user, m.first = m.user[:kept], 0
		}
	case cap(m.user) > mailboxKept:
		m.user, m.first = nil, 0
	default:
		m.user, m.first = m.user[:0], 0
	}
	return msg
}

func (m *mailbox) handle(msg any) {
	if c, ok := msg.(*backends.Call); ok {
		m.handleCall(c)
		return
	}
	defer m.escalate(msg)
	m.invoker.InvokeUserMessage(msg)
}

func (m *mailbox) handleSystem(msg any) {
	defer m.escalate(msg)
	switch msg.(type) {
	case *actor.SuspendMailbox:
		m.setSuspended(true)
	case *actor.ResumeMailbox:
		m.setSuspended(false)
	default:
		m.invoker.InvokeSystemMessage(msg)
	}
}

func (m *mailbox) setSuspended(suspended bool) {
	m.mu.Lock()
	m.suspended = suspended
	m.mu.Unlock()
}

// escalate is deferred: it tells the supervisor of a panic, which the actor's
// own code has already dealt with.
func (m *mailbox) escalate(msg any) {
	if r := recover(); r != nil {
		m.invoker.EscalateFailure(r, msg)
	}
}

func (m *mailbox) handleCall(c *backends.Call) {
	defer m.containCall(c)
	m.cell.onCall(c)
	m.cell.uncork()
}

// containCall is deferred: a panic over a call is dealt with as one over any
// other message.
func (m *mailbox) containCall(c *backends.Call) {
	if r := recover(); r != nil {
		m.cell.sys.engine.panicked(m.cell.id, m.cell, c, r)
		m.invoker.EscalateFailure(r, c)
	}
}

// close ends the mailbox of an actor that has stopped: what waits is failed,
// and what comes later. Only the actor calls it.
func (m *mailbox) close() {
	m.mu.Lock()
	left := m.user[m.first:]
	m.user, m.first, m.closed = nil, 0, true
	m.waiting.Store(0)
	m.mu.Unlock()
	for _, msg := range left {
		m.fail(msg)
	}
}

func (m *mailbox) fail(msg any) {
	if c, ok := msg.(*backends.Call); ok {
		c.Finish(m.cell.goneError())
		return
	}
	failMessage(msg, m.cell.goneError())
}
