package procs

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// maxFile bounds what is read of one file of /proc. A list of 32,768 children
// fits, and the longest environment that the kernel lets a process begin with.
const maxFile = 4 << 20

// maxStat is more than a stat can be: 52 numbers and a name.
const maxStat = 2 << 10

// Read returns one process; ErrUnknown if there is none.
func Read(pid int) (Info, error) { return read(pid, make([]byte, maxStat)) }

// read takes the buffer, for all processes of a host are read again and again.
func read(pid int, buf []byte) (Info, error) {
	stat, err := readStart(path(pid, "stat"), buf)
	if err != nil {
		return Info{}, fmt.Errorf("%w: %d", ErrUnknown, pid)
	}
	return parseStat(pid, stat)
}

// parseStat reads /proc/<pid>/stat. The name stands in parentheses and may
// hold any byte, parentheses too, so the fields are counted from the last one.
func parseStat(pid int, stat []byte) (Info, error) {
	open, end := bytes.IndexByte(stat, '('), bytes.LastIndexByte(stat, ')')
	if open < 0 || end < open {
		return Info{}, fmt.Errorf("%w: %d, its stat is unreadable", ErrUnknown, pid)
	}
	info := Info{PID: pid, Comm: string(stat[open+1 : end])}
	fields := 0
	for field := range bytes.FieldsSeq(stat[end+1:]) {
		var err error
		switch fields++; fields + 2 { // fields 3, 4, 5, 22 and 24 of proc(5)
		case 3:
			info.State = field[0]
			if info.State < 'A' || info.State > 'z' {
				return Info{}, fmt.Errorf("%w: %d, its state is no letter", ErrUnknown, pid)
			}
		case 4:
			info.PPID, err = strconv.Atoi(string(field))
		case 5:
			info.Group, err = strconv.Atoi(string(field))
		case 22:
			info.Start, err = strconv.ParseUint(string(field), 10, 64)
		case 24:
			info.RSS, err = strconv.ParseUint(string(field), 10, 64)
			info.RSS *= uint64(os.Getpagesize())
		}
		if err != nil {
			return Info{}, fmt.Errorf("%w: %d: %w", ErrUnknown, pid, err)
		}
	}
	if fields < 22 {
		return Info{}, fmt.Errorf("%w: %d, its stat is short", ErrUnknown, pid)
	}
	return info, nil
}

// Children returns the pids of a process's children, zombies included.
func Children(pid int) []int {
	if !listsChildren() {
		return childrenOf(All())(pid)
	}
	return listed(pid)
}

func listed(pid int) []int {
	threads, err := os.ReadDir(path(pid, "task"))
	if err != nil {
		return nil
	}
	var children []int
	for _, thread := range threads { // each thread has those that it made
		list, err := readFile(path(pid, "task/"+thread.Name()+"/children"))
		if err != nil {
			continue
		}
		children = appendPIDs(children, list)
	}
	return children
}

func appendPIDs(pids []int, list []byte) []int {
	for field := range bytes.FieldsSeq(list) {
		if pid, err := strconv.Atoi(string(field)); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}

// ChildList is the list of children of one thread, kept open for those who read
// it often. It is for one goroutine.
type ChildList struct {
	file *os.File
	buf  []byte
}

// OpenChildren opens the list of the first thread of this process. The kernel
// gives it the orphans that the process adopts.
func OpenChildren() (*ChildList, error) {
	self := os.Getpid()
	file, err := os.Open(path(self, "task/"+strconv.Itoa(self)+"/children"))
	if err != nil {
		return nil, err
	}
	return &ChildList{file, make([]byte, 4<<10)}, nil
}

// PIDs returns the children of now, zombies included.
func (l *ChildList) PIDs() ([]int, error) {
	for {
		n, err := l.file.ReadAt(l.buf, 0)
		if err != nil && err != io.EOF {
			return nil, err
		}
		if n < len(l.buf) || n >= maxFile {
			return appendPIDs(nil, l.buf[:n]), nil
		}
		l.buf = make([]byte, 2*len(l.buf))
	}
}

// Tree returns the processes with these pids and all that descend from them,
// each once and parents before their children. What starts or moves to another
// parent meanwhile may be missed.
func Tree(roots ...int) []Info {
	if len(roots) == 0 {
		return nil
	}
	children := listed
	if !listsChildren() {
		children = childrenOf(All())
	}
	queue := append([]int(nil), roots...)
	seen := make(map[int]bool, len(queue))
	var found []Info
	for ; len(queue) > 0 && len(found) < MaxProcesses; queue = queue[1:] {
		pid := queue[0]
		if seen[pid] {
			continue
		}
		seen[pid] = true
		info, err := Read(pid)
		if err != nil {
			continue
		}
		found = append(found, info)
		if !info.Dead() {
			queue = append(queue, children(pid)...)
		}
	}
	return found
}

// listsChildren tells whether the kernel was built with lists of children.
func listsChildren() bool {
	_, err := os.Stat(path(os.Getpid(), "task/"+strconv.Itoa(os.Getpid())+"/children"))
	return err == nil
}

func childrenOf(all []Info) func(pid int) []int {
	byParent := make(map[int][]int)
	for _, info := range all {
		byParent[info.PPID] = append(byParent[info.PPID], info.PID)
	}
	return func(pid int) []int { return byParent[pid] }
}

// PIDs returns every process of the host that can be seen.
func PIDs() []int {
	proc, err := os.Open("/proc")
	if err != nil {
		return nil
	}
	defer proc.Close()
	names, _ := proc.Readdirnames(-1)
	var pids []int
	for _, name := range names {
		if pid, err := strconv.Atoi(name); err == nil && len(pids) < MaxProcesses {
			pids = append(pids, pid)
		}
	}
	return pids
}

// All returns every process of the host that can be seen.
func All() []Info {
	pids := PIDs()
	all, buf := make([]Info, 0, len(pids)), make([]byte, maxStat)
	for _, pid := range pids {
		if info, err := read(pid, buf); err == nil {
			all = append(all, info)
		}
	}
	return all
}

// Env returns one variable of the environment that a process was started with.
// Only processes of the same user can be read.
func Env(pid int, name string) (string, bool) {
	environ, err := readFile(path(pid, "environ"))
	if err != nil {
		return "", false
	}
	want := append([]byte(name), '=')
	for _, kv := range bytes.Split(environ, []byte{0}) {
		if value, ok := bytes.CutPrefix(kv, want); ok {
			return string(value), true
		}
	}
	return "", false
}

// Uptime is the time since boot, the clock of Info.Start.
func Uptime() time.Duration {
	var now unix.Timespec
	if unix.ClockGettime(unix.CLOCK_BOOTTIME, &now) != nil {
		return 0
	}
	return time.Duration(now.Nano())
}

// BootID tells one boot of the host from another; empty if it is unknown.
func BootID() string {
	id, _ := readFile("/proc/sys/kernel/random/boot_id")
	return string(bytes.TrimSpace(id))
}

func path(pid int, name string) string { return "/proc/" + strconv.Itoa(pid) + "/" + name }

// readStart reads the beginning of a file of /proc, which the kernel gives in one read.
func readStart(name string, buf []byte) ([]byte, error) {
	fd, err := unix.Open(name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	n, err := unix.Read(fd, buf)
	return buf[:max(n, 0)], err
}

func readFile(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxFile))
}
