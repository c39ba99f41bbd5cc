package reaper

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/aabb9013/hangar/backends"
	"github.com/aabb9013/hangar/internal/limits"
)

func TestStartErrorsKeepTheirErrno(t *testing.T) {
	c := openClient(t, Options{})
	dir := t.TempDir()
	write := func(name, text string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	for want, cmd := range map[syscall.Errno]Command{
		syscall.ENOENT:  {Path: filepath.Join(dir, "missing")},
		syscall.EACCES:  {Path: write("plain", "#!/bin/sh\n", 0o644)},
		syscall.ENOEXEC: {Path: write("odd", "\x00\x01", 0o755)},
		syscall.ENOTDIR: {Path: "/bin/true", Dir: write("file", "", 0o644)},
		syscall.EINVAL:  {Path: "/bin/true", Env: []string{"A=\x00"}},
		syscall.E2BIG:   {Path: "/bin/true", Argv: []string{"true", strings.Repeat("x", 17<<20)}},
	} {
		if cmd.Argv == nil {
			cmd.Argv = []string{"x"}
		}
		cmd.Files = [3]*os.File{null, null, null}
		if child, err := c.Start(t.Context(), cmd); !errors.Is(err, want) || child != nil {
			t.Errorf("got %v, %v, want %v", child, err, want)
		}
	}
	if len(c.conn.waiting)+len(c.conn.children) > 0 {
		t.Errorf("%d starts and %d children are still known", len(c.conn.waiting), len(c.conn.children))
	}
}

func TestChildrenGetWhatWasAskedAndNoMore(t *testing.T) {
	c := openClient(t, Options{})
	t.Setenv("REAPER_TEST", "of the runtime")
	odd := "\xff'\"\n "
	r := startShell(t, c, `printf '%s|' "$1" "$2" "$PWD" "$REAPER_TEST" "$HANGAR_REAPER" "$GOGC"; echo; ls -l /proc/self/fd; grep -i '^SigIgn' /proc/self/status; read x`, odd, "")
	got := r.line() // the odd one has a newline
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	got += "\n" + r.line()
	if want := strings.TrimSpace(odd) + "\n||" + here + "||||"; strings.ReplaceAll(got, " ", "") != want {
		t.Errorf("got %q, want %q", got, want)
	}
	for {
		line := r.line()
		if strings.Contains(line, "socket:") {
			t.Errorf("a child has the life-line: %s", line)
		}
		if ignored, ok := strings.CutPrefix(line, "SigIgn:"); ok {
			// Signals from 32 on are the C library's, whoever started the test.
			mask, err := strconv.ParseUint(strings.TrimSpace(ignored), 16, 64)
			if err != nil || mask&(1<<31-1) != 0 {
				t.Errorf("ignored signals: %s, %v", ignored, err)
			}
			break
		}
	}
	r.in.Close()
	r.await()
}

func TestStartErrorsSayWhat(t *testing.T) {
	c := openClient(t, Options{})
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	_, err = c.Start(t.Context(), Command{
		Path: "/bin/true", Argv: []string{"true"}, Files: [3]*os.File{null, null, null}, Into: limits.Entry{Dir: "/no/such/group"},
	})
	if !errors.Is(err, syscall.ENOENT) || !strings.Contains(err.Error(), "/no/such/group") || errors.Is(err, backends.ErrResource) {
		t.Errorf("got %v, want ENOENT that names the group", err)
	}
	if short := (&startError{"x", syscall.EACCES, true}); !errors.Is(short, backends.ErrResource) || !errors.Is(short, syscall.EACCES) {
		t.Errorf("%v is not what it was told to be", short)
	}
}

func TestManyStartsAndEndsAtOnce(t *testing.T) {
	c := openClient(t, Options{})
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
			if err != nil {
				t.Error(err)
				return
			}
			defer null.Close()
			for i := range 50 {
				child, err := c.Start(t.Context(), Command{
					Path: "/bin/sh", Argv: []string{"sh", "-c", "exit " + string(rune('0'+i%10))}, Files: [3]*os.File{null, null, null},
				})
				if err != nil {
					t.Error(err)
					return
				}
				if exit := child.Wait(); exit.Lost || exit.Status.ExitStatus() != i%10 {
					t.Errorf("exit %+v, want code %d", exit, i%10)
				}
				child.Signal(syscall.SIGKILL) // to nobody
			}
		})
	}
	wg.Wait()
}

func TestNoReaperWithoutTheOffer(t *testing.T) {
	offered.Store(false)
	defer offered.Store(true)
	if c, err := New(Options{}); !errors.Is(err, ErrUnavailable) || c != nil {
		t.Errorf("got %v, %v", c, err)
	}
}
