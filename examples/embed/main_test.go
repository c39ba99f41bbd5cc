package main

import (
	"context"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/aabb9013/hangar"
	"github.com/aabb9013/hangar/internal/leaktest"
)

// TestMain lets the test binary be the reaper and the server, as the program
// itself is.
func TestMain(m *testing.M) {
	hangar.BeReaper()
	if len(os.Args) > 1 && os.Args[1] == "greeter" {
		main()
		return
	}
	os.Exit(leaktest.Run(m)) // fails too if Close left a goroutine
}

func TestExampleRuns(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	var out strings.Builder
	if err := run(ctx, &out); err != nil {
		t.Fatal(err)
	}
	want := regexp.MustCompile(`^result: .*Hello, Ada!.*\nserver: greeter is ready, process \d+, 1 tool, 1 call\n$`)
	if !want.MatchString(out.String()) {
		t.Errorf("it printed\n%s\nwant %s", out.String(), want)
	}
}
