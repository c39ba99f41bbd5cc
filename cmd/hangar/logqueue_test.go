package main

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"
)

// A full pipe at stderr once blocked every start and stop, and SIGTERM.
func TestTheLogDoesNotWaitForItsReader(t *testing.T) {
	r, w := io.Pipe() // takes nothing until it is read
	q := newLogQueue(w)
	for i := range maxLogLines + 100 {
		fmt.Fprintf(q, "line %d\n", i)
	}
	began := time.Now()
	q.close()
	if d := time.Since(began); d > 10*logFlushTime {
		t.Errorf("close took %s", d)
	}
	r.Close()
	select {
	case <-q.done:
	case <-time.After(time.Minute):
		t.Error("its goroutine stays when nobody waits for it any more")
	}
}

func TestTheLogKeepsItsLines(t *testing.T) {
	var out bytes.Buffer
	q := newLogQueue(&out)
	want := ""
	for i := range 1000 {
		line := fmt.Sprintf("line %d\n", i)
		want += line
		io.Copy(q, strings.NewReader(line))
	}
	q.close()
	if got := out.String(); got != want {
		t.Errorf("got %d bytes, want %d", len(got), len(want))
	}
}
