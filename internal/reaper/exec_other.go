//go:build !linux

package reaper

// ExecIfRequested does nothing: there is no reaper outside of Linux.
func ExecIfRequested() {}
