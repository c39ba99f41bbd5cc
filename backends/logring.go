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
	Text   string // in a LogRing as it came: it may be invalid UTF-8, and hold secrets
	Cut    bool   // Text is the beginning of a line that was longer than LogLineBytes
	Stdout bool
}

// LogRing keeps the last lines of a server's log over restarts: at most
// LogLines lines and LogBytes bytes, the oldest go first. The zero value is
// ready; all methods are safe for concurrent use.
//
// It does no more than to copy: a child may write millions of lines that nobody
// reads.
type LogRing struct {
	mu      sync.Mutex
	lines   circle[logEntry]
	text    circle[byte] // of the lines, one behind the other
	dropped uint64
}

type logEntry struct {
	at     time.Time
	epoch  uint64
	length int
	cut    bool
	stdout bool
}

// Add appends one line, a copy of text; what is over LogLineBytes is cut.
func (r *LogRing) Add(at time.Time, epoch uint64, stdout bool, text []byte) {
	cut := len(text) > LogLineBytes
	if cut {
		n := LogLineBytes
		for n > LogLineBytes-utf8.UTFMax && !utf8.RuneStart(text[n]) {
			n--
		}
		text = text[:n]
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for r.lines.length == LogLines || r.text.length+len(text) > LogBytes {
		r.dropLocked()
	}
	r.lines.write([]logEntry{{at, epoch, len(text), cut, stdout}})
	r.text.write(text)
}

func (r *LogRing) dropLocked() {
	r.text.drop(r.lines.at(0).length)
	r.lines.drop(1)
	r.dropped++
}

// DropBefore takes the lines of earlier epochs out, counted as dropped.
func (r *LogRing) DropBefore(epoch uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for r.lines.length > 0 && r.lines.at(0).epoch < epoch {
		r.dropLocked()
	}
}

// Tail returns the last n lines, oldest first.
func (r *LogRing) Tail(n int) []LogLine {
	entries, bytes := r.copyTail(n)
	text := string(bytes)
	lines := make([]LogLine, len(entries))
	for i, e := range entries {
		lines[i] = LogLine{At: e.at, Epoch: e.epoch, Text: text[:e.length], Cut: e.cut, Stdout: e.stdout}
		text = text[e.length:]
	}
	return lines
}

func (r *LogRing) copyTail(n int) (lines []logEntry, text []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	lines = make([]logEntry, max(0, min(n, r.lines.length)))
	r.lines.read(lines, r.lines.length-len(lines))
	size := 0
	for _, e := range lines {
		size += e.length
	}
	text = make([]byte, size)
	r.text.read(text, r.text.length-size)
	return lines, text
}

// Dropped counts the lines that the bounds pushed out.
func (r *LogRing) Dropped() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.dropped
}
