package backends

import (
	"sync"
	"time"
	"unicode/utf8"
)

// LogLine is one line of a server's stderr, or of what it wrote to stdout and
// is no message.
type LogLine struct {
	At     time.Time
	Epoch  uint64
	Text   string
	Stdout bool
}

// LogRing keeps the last lines of a server's log over restarts: at most
// LogLines lines and LogBytes bytes, the oldest go first. The zero value is
// ready; all methods are safe for concurrent use.
type LogRing struct {
	mu      sync.Mutex
	lines   []LogLine // ring once full
	next    int
	bytes   int
	dropped uint64
}

// LogCutMark ends a line that was longer than LogLineBytes.
const LogCutMark = "..."

// Add appends one line; a text over LogLineBytes is cut and marked.
func (r *LogRing) Add(line LogLine) {
	long := len(line.Text) > LogLineBytes
	if long {
		cut := LogLineBytes
		for cut > LogLineBytes-utf8.UTFMax && !utf8.RuneStart(line.Text[cut]) {
			cut--
		}
		line.Text = line.Text[:cut] + LogCutMark
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lines = append(r.lines, line)
	r.bytes += len(line.Text)
	for len(r.lines)-r.next > LogLines || r.bytes > LogBytes {
		r.drop()
	}
	if r.next > LogLines {
		n := copy(r.lines, r.lines[r.next:])
		clear(r.lines[n:])
		r.lines, r.next = r.lines[:n], 0
	}
}

// drop takes the oldest line out.
func (r *LogRing) drop() {
	r.bytes -= len(r.lines[r.next].Text)
	r.lines[r.next] = LogLine{}
	r.next++
	r.dropped++
}

// DropBefore takes the lines of earlier epochs out, counted as dropped.
func (r *LogRing) DropBefore(epoch uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for r.next < len(r.lines) && r.lines[r.next].Epoch < epoch {
		r.drop()
	}
}

// Tail returns the last n lines, oldest first.
func (r *LogRing) Tail(n int) []LogLine {
	r.mu.Lock()
	defer r.mu.Unlock()
	live := r.lines[r.next:]
	if n < len(live) {
		live = live[len(live)-n:]
	}
	return append([]LogLine(nil), live...)
}

// Dropped counts the lines that the bounds pushed out.
func (r *LogRing) Dropped() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.dropped
}
