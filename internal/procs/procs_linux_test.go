package procs

import (
	"errors"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestStatWithAnyName(t *testing.T) {
	const rest = " S 7 4700 4711 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 12345 999424 250 18446744073709551615 1\n"
	for _, name := range []string{"sh", "a b", ") R 1 (", "((", "", "\xff\n"} {
		got, err := parseStat(4711, []byte("4711 ("+name+")"+rest))
		want := Info{PID: 4711, PPID: 7, Group: 4700, Start: 12345, Comm: name, State: 'S', RSS: 250 * uint64(os.Getpagesize())}
		if err != nil || got != want {
			t.Errorf("name %q: got %+v, %v, want %+v", name, got, err, want)
		}
	}
	for _, broken := range []string{"", "1", "1 (", ")1(", "1 (x)", "1 (x) S 7", "1 (x)" + strings.Replace(rest, "12345", "-", 1)} {
		if got, err := parseStat(1, []byte(broken)); !errors.Is(err, ErrUnknown) {
			t.Errorf("stat %q: got %+v, %v", broken, got, err)
		}
	}
}

func FuzzParseStat(f *testing.F) {
	f.Add([]byte("1 (x) S 7 1 1 0 -1 1 1 2 3 4 5 6 7 8 20 0 1 0 5 9 2 1"))
	f.Add([]byte("()\x00 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0"))
	f.Fuzz(func(t *testing.T, stat []byte) {
		if info, err := parseStat(1, stat); err == nil && (info.State == 0 || len(info.Comm) > len(stat)) {
			t.Errorf("%q became %+v", stat, info)
		}
	})
}

func TestTreeHoldsChildrenAndTheirChildren(t *testing.T) {
	cmd := exec.Command("/bin/sh", "-c", "sleep 600 & echo up; wait")
	cmd.Env = []string{"PROCS_TEST=a=b", "PROCS_TEST_2=x", "PATH=" + os.Getenv("PATH")}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	shell := cmd.Process.Pid
	t.Cleanup(func() {
		for _, p := range Tree(shell) {
			if process, err := os.FindProcess(p.PID); err == nil {
				process.Kill()
			}
		}
		cmd.Wait()
	})
	if _, err := out.Read(make([]byte, 3)); err != nil {
		t.Fatal(err)
	}
	for name, tree := range map[string][]Info{"self": Tree(os.Getpid()), "shell": Tree(shell, shell)} {
		at := slices.IndexFunc(tree, func(i Info) bool { return i.PID == shell })
		child := slices.IndexFunc(tree, func(i Info) bool { return i.PPID == shell })
		if at < 0 || child < at {
			t.Fatalf("%s: the shell is at %d, its child at %d of %+v", name, at, child, tree)
		}
		if age := tree[at].Age(Uptime()); age > time.Minute || tree[at].RSS == 0 || tree[at].Comm != "sh" || tree[at].Dead() {
			t.Errorf("%s: age %s of %+v", name, age, tree[at])
		}
	}
	if of := childrenOf(All())(shell); !slices.Equal(of, Children(shell)) {
		t.Errorf("children by a walk over all are %v, by their list %v", of, Children(shell))
	}
	if value, ok := Env(shell, "PROCS_TEST"); !ok || value != "a=b" {
		t.Errorf("the variable is %q, %v", value, ok)
	}
	if value, ok := Env(shell, "PROCS_TES"); ok {
		t.Errorf("half a name found %q", value)
	}
	if BootID() == "" {
		t.Error("no boot id")
	}
}

func TestUnknownProcess(t *testing.T) {
	cmd := exec.Command("/bin/true")
	if err := cmd.Run(); err != nil {
		t.Skip(err)
	}
	gone := cmd.Process.Pid
	if info, err := Read(gone); !errors.Is(err, ErrUnknown) || info != (Info{}) {
		t.Errorf("got %+v, %v", info, err)
	}
	if tree := Tree(gone); len(tree) != 0 {
		t.Errorf("its tree is %+v", tree)
	}
}
