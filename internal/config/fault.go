package config

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Conditions a caller may branch on with errors.Is.
var (
	// ErrInvalid is in the chain of every fault of a file's content.
	ErrInvalid = errors.New("invalid configuration")
	// ErrUnreadable: the file is missing or cannot be read. The text names
	// the path and the reason, and the *fs.PathError is in the chain.
	ErrUnreadable = errors.New("configuration file cannot be read")
	// ErrNotBuilt is in the chain of every fault of Config.Unsupported.
	ErrNotBuilt = errors.New("not built in this version")
)

// maxFaults bounds the list of faults, and that of warnings, so that a file
// of nonsense cannot produce a megabyte of text. What is over is counted.
const maxFaults = 500

// Fault is one mistake, at the place in the file where it was made.
type Fault struct {
	File    string
	Line    int    // from 1; 0 = the file as a whole
	Column  int    // from 1; 0 = the line as a whole
	Path    string // of the key, as in mcp_servers.math.mode; empty = none
	Message string
	Warning bool // told, but does not refuse the file

	kind error
}

// Error says "file:line:col: path: message", leaving out what is not known.
func (f Fault) Error() string {
	var b strings.Builder
	b.WriteString(f.File)
	if f.Line > 0 {
		fmt.Fprintf(&b, ":%d", f.Line)
		if f.Column > 0 {
			fmt.Fprintf(&b, ":%d", f.Column)
		}
	}
	b.WriteString(": ")
	if f.Warning {
		b.WriteString("warning: ")
	}
	if f.Path != "" {
		b.WriteString(f.Path)
		b.WriteString(": ")
	}
	b.WriteString(f.Message)
	return b.String()
}

// Unwrap returns ErrInvalid or ErrNotBuilt, and nil for a warning.
func (f Fault) Unwrap() error { return f.kind }

// Faults is every fault of a file, sorted by line; the warnings stand among
// them, because an unknown key is often the cause of a fault elsewhere. An
// empty list is no error: check its length before returning it as one.
type Faults []Fault

// Error has one line for each fault.
func (fs Faults) Error() string {
	lines := make([]string, len(fs))
	for i, f := range fs {
		lines[i] = f.Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap lets errors.Is and errors.As see every fault.
func (fs Faults) Unwrap() []error {
	errs := make([]error, len(fs))
	for i, f := range fs {
		errs[i] = f
	}
	return errs
}

func (fs Faults) sort() {
	slices.SortStableFunc(fs, func(a, b Fault) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
}

// position is a place in the file, both counted from 1.
type position struct{ line, column int }

// collector gathers the faults of one file.
type collector struct {
	file             string
	faults, warnings Faults
	moreFaults       int
	moreWarnings     int
}

func (c *collector) fault(at position, p *path, format string, args ...any) {
	if len(c.faults) >= maxFaults {
		c.moreFaults++
		return
	}
	c.faults = append(c.faults, c.make(at, p, fmt.Sprintf(format, args...), ErrInvalid))
}

func (c *collector) warn(at position, p *path, format string, args ...any) {
	if len(c.warnings) >= maxFaults {
		c.moreWarnings++
		return
	}
	f := c.make(at, p, fmt.Sprintf(format, args...), nil)
	f.Warning = true
	c.warnings = append(c.warnings, f)
}

func (c *collector) make(at position, p *path, message string, kind error) Fault {
	return Fault{File: c.file, Line: at.line, Column: at.column, Path: p.String(), Message: message, kind: kind}
}

// err returns all faults and warnings together, or nil if nothing refuses
// the file.
func (c *collector) err() error {
	if len(c.faults) == 0 {
		return nil
	}
	all := append(slices.Clone(c.faults), c.warnings...)
	all.sort()
	if more := c.moreFaults + c.moreWarnings; more > 0 {
		all = append(all, Fault{File: c.file, Message: fmt.Sprintf("%d more faults are not shown", more), kind: ErrInvalid})
	}
	return all
}
