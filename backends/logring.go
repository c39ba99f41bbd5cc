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
// ready and keeps lines as they are; all methods are safe for concurrent use.
type LogRing struct {
	mu      sync.Mutex
	redact  func(text string, cut bool) string
	lines   []LogLine // ring once full
	next    int
	bytes   int
	dropped uint64
}

// Redact sets what the text of every line passes through from now on, before
// anybody sees it. The function is called by whoever adds a line, so it must be
// safe for concurrent use and must not use the ring; cut tells it that the line
// was cut off at LogLineBytes, perhaps within a secret.
func (r *LogRing) Redact(redact func(text string, cut bool) string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.redact = redact
}

// Add appends one line; a text over LogLineBytes is cut and marked "...".
func (r *LogRing) Add(line LogLine) {
	long := len(line.Text) > LogLineBytes
	if long {
		cut := LogLineBytes
		for cut > LogLineBytes-utf8.UTFMax && !utf8.RuneStart(line.Text[cut]) {
			cut--
		}
		line.Text = line.Text[:cut]
	}
	r.mu.Lock()
	redact := r.redact
	r.mu.Unlock()
	if redact != nil {
		line.Text = redact(line.Text, long)
	}
	if long {
		line.Text += "..."
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lines = append(r.lines, line)
	r.bytes += len(line.Text)
	for len(r.lines)-r.next > LogLines || r.bytes > LogBytes {
		r.bytes -= len(r.lines[r.next].Text)
		r.lines[r.next] = LogLine{}
		r.next++
		r.dropped++
	}
	if r.next > LogLines {
		n := copy(r.lines, r.lines[r.next:])
		clear(r.lines[n:])
		r.lines, r.next = r.lines[:n], 0
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
