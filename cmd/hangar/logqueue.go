package main

import (
	"bytes"
	"fmt"
	"io"
	"sync/atomic"
	"time"
)

const (
	// maxLogLines bounds the lines of the log that wait for their reader;
	// more are dropped and counted.
	maxLogLines = 4096
	// logFlushTime bounds the wait for that reader at the end.
	logFlushTime = 500 * time.Millisecond
)

// logQueue writes the log in a goroutine of its own: whoever logs must not
// wait for the reader of stderr, who may have stopped reading. An MCP client
// often never begins.
type logQueue struct {
	lines   chan []byte
	dropped atomic.Int64
	gaveUp  chan struct{} // closed by close when its time is up
	done    chan struct{}
}

func newLogQueue(out io.Writer) *logQueue {
	q := &logQueue{lines: make(chan []byte, maxLogLines), gaveUp: make(chan struct{}), done: make(chan struct{})}
	go q.run(out)
	return q
}

func (q *logQueue) run(out io.Writer) {
	defer close(q.done)
	for {
		var line []byte
		select {
		case line = <-q.lines:
		case <-q.gaveUp:
		}
		if line == nil {
			return
		}
		if n := q.dropped.Swap(0); n > 0 {
			fmt.Fprintf(out, "hangar: %d lines of the log were dropped, nobody read them\n", n)
		}
		out.Write(line)
	}
}

// Write never waits.
func (q *logQueue) Write(line []byte) (int, error) {
	select {
	case q.lines <- bytes.Clone(line):
	default:
		q.dropped.Add(1)
	}
	return len(line), nil
}

// close waits a bounded time until what was logged so far is written. The
// goroutine ends with it, or when a reader that it waits for longer lets it go.
// Only one call may be made.
func (q *logQueue) close() {
	timer := time.NewTimer(logFlushTime)
	defer timer.Stop()
	select {
	case q.lines <- nil:
	case <-timer.C:
		close(q.gaveUp)
		return
	}
	select {
	case <-q.done:
	case <-timer.C:
	}
}
