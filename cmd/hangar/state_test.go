package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// runs runs the program to its end.
func runs(t *testing.T, want int, args ...string) *program {
	t.Helper()
	p := launch(t, nil, args...)
	if code := p.exit(); code != want {
		t.Errorf("hangar %s: exit code %d, want %d\n%s%s", strings.Join(args, " "), code, want, &p.stdout, &p.stderr)
	}
	return p
}

func TestBackupIsCreatedCheckedAndRestored(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	file := fleetFile(t, "")
	p := launch(t, nil, "--config", file, "serve", "--http", "--port", "0", "--data-dir", dir)
	address := p.address()
	p.call(address, "stub", "echo", `{"arguments":{"text":"x"}}`)

	online := runs(t, 0, "backup", "create", "--url", "http://"+address)
	tells(t, online.stdout.String(), filepath.Join(dir, "backups"), "sha256 ")
	backup, _, _ := strings.Cut(online.stdout.String(), "\n")
	for _, busy := range [][]string{{"verify"}, {"backup", "create"}, {"backup", "restore", backup, "--force"}} {
		refused := runs(t, 6, append(busy, "--data-dir", dir)...)
		tells(t, refused.stderr.String(), dir, fmt.Sprint("process ", p.command.Process.Pid), "next:")
	}
	if err := p.command.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	p.exit()

	sound := runs(t, 0, "verify", "--data-dir", dir)
	tells(t, sound.stdout.String(), dir, "format 3", "sound")
	offline := filepath.Join(t.TempDir(), "mine.backup")
	tells(t, runs(t, 0, "backup", "create", "--data-dir", dir, "--output", offline).stdout.String(), offline)
	runs(t, 1, "backup", "create", "--data-dir", dir, "--output", offline)
	tells(t, runs(t, 1, "backup", "restore", offline, "--data-dir", dir).stderr.String(), "not empty", "--force")
	tells(t, runs(t, 0, "backup", "restore", offline, "--data-dir", dir, "--force").stdout.String(), dir+" restored", dir+".replaced-")
	fresh := filepath.Join(t.TempDir(), "fresh")
	tells(t, runs(t, 0, "backup", "restore", backup, "--data-dir", fresh).stdout.String(), fresh+" restored")
	for _, restored := range []string{dir, fresh} {
		runs(t, 0, "verify", "--data-dir", restored)
	}

	b, err := os.ReadFile(offline)
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)/2] ^= 1
	if err := os.WriteFile(offline, b, 0o600); err != nil {
		t.Fatal(err)
	}
	again := filepath.Join(t.TempDir(), "again")
	tells(t, runs(t, 6, "backup", "restore", offline, "--data-dir", again).stderr.String(), offline, "damaged")
	if _, err := os.Stat(again); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a damaged backup left %s: %v", again, err)
	}
}

func TestVerifyTellsWhereTheDamageIs(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	p := launch(t, nil, "--config", fleetFile(t, ""), "serve", "--http", "--port", "0", "--data-dir", dir)
	address := p.address()
	for range 20 {
		p.call(address, "stub", "echo", `{"arguments":{"text":"x"}}`)
	}
	p.signal(syscall.SIGTERM)
	p.exit()
	tables, err := filepath.Glob(filepath.Join(dir, "*.sst"))
	if err != nil || len(tables) == 0 {
		t.Fatalf("no tables: %v", err)
	}
	b, err := os.ReadFile(tables[0])
	if err != nil {
		t.Fatal(err)
	}
	at := bytes.Index(b, []byte("McpServerStarted"))
	if at < 0 {
		t.Fatal("the event is not in the table")
	}
	copy(b[at:], "McpServerStopped")
	if err := os.WriteFile(tables[0], b, 0o600); err != nil {
		t.Fatal(err)
	}
	damaged := runs(t, 1, "verify", "--data-dir", dir)
	tells(t, damaged.stdout.String(), "damaged: ")
	tells(t, damaged.stderr.String(), dir, "next:", "restore")
}

// E04: what a directory is refused for stands in the message, with the path and what
// to do, and the exit code is that of things that are not to be had.
func TestUnusableDirectoryIsRefused(t *testing.T) {
	refused := func(dir string, wants ...string) {
		t.Helper()
		before := listing(t, dir)
		p := runs(t, exitUnavailable, "serve", "--http", "--port", "0", "--data-dir", dir)
		tells(t, p.stderr.String(), append(wants, dir, "next:")...)
		if after := listing(t, dir); after != before {
			t.Errorf("%s was changed:\n%s\nwas\n%s", dir, after, before)
		}
	}
	foreign := t.TempDir()
	if err := os.WriteFile(filepath.Join(foreign, "MANIFEST"), []byte("another program's file"), 0o600); err != nil {
		t.Fatal(err)
	}
	refused(foreign, "store of another program")
	for name, files := range map[string][]string{
		"one file": {"passwd"}, "many": {"a.txt", "b.txt", "c.txt", "d.txt"}, "beside what looks like ours": {"LOCK", "lost+found", "home"},
	} {
		dir := t.TempDir()
		for _, file := range files {
			if err := os.WriteFile(filepath.Join(dir, file), []byte("theirs"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		t.Log(name)
		refused(dir, "no data directory of Hangar", strconv.Quote(files[min(2, len(files)-1)]), "name another directory")
	}

	note := filepath.Join(t.TempDir(), "note.txt")
	if err := os.WriteFile(note, []byte("nothing that was ever backed up"), 0o600); err != nil {
		t.Fatal(err)
	}
	fresh := filepath.Join(t.TempDir(), "data")
	tells(t, runs(t, exitFailure, "backup", "restore", note, "--data-dir", fresh).stderr.String(), note, "no backup of Hangar", "next: name a file")
	if _, err := os.Stat(fresh); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a refused backup made the directory: %v", err)
	}

	below := filepath.Join(foreign, "MANIFEST", "data")
	tells(t, runs(t, exitUnavailable, "--http", "--port", "0", "--data-dir", below).stderr.String(), below)

	for _, command := range [][]string{{"verify"}, {"backup", "create"}} {
		missing := filepath.Join(t.TempDir(), "missing")
		tells(t, runs(t, exitUnavailable, append(command, "--data-dir", missing)...).stderr.String(), missing)
		if _, err := os.Stat(missing); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%v made the directory", command)
		}
		tells(t, runs(t, exitFailure, command...).stderr.String(), "--data-dir", "HANGAR_DATA_DIR")
	}

	if os.Getuid() != 0 {
		closed := t.TempDir()
		if err := os.Chmod(closed, 0); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = os.Chmod(closed, 0o700) })
		for _, command := range [][]string{{"--http", "--port", "0"}, {"verify"}, {"backup", "create"}} {
			tells(t, runs(t, exitUnavailable, append(command, "--data-dir", closed)...).stderr.String(), closed, "permission denied")
		}
		t.Log("not root: no read-only volume could be mounted, that case is not tested")
		return
	}
	readOnly := t.TempDir()
	if err := unix.Mount("tmpfs", readOnly, "tmpfs", unix.MS_RDONLY, "size=1m"); err != nil {
		t.Logf("cannot mount a read-only volume, that case is not tested: %v", err)
		return
	}
	t.Cleanup(func() { _ = unix.Unmount(readOnly, unix.MNT_DETACH) })
	refused(readOnly, "read-only file system")
}

func listing(t *testing.T, dir string) (names string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		names += fmt.Sprintln(e.Name(), info.Size())
	}
	return names
}
