//go:build !linux

package procs

import "time"

// Read knows no process here.
func Read(int) (Info, error) { return Info{}, ErrUnknown }

// Tree finds nothing here.
func Tree(...int) []Info { return nil }

// Memory measures nothing here.
func Memory(pids []int, _ bool) []int64 { return make([]int64, len(pids)) }

// Uptime is unknown here.
func Uptime() time.Duration { return 0 }

// BootID is unknown here.
func BootID() string { return "" }

// DropFilePages does nothing here.
func DropFilePages() {}
