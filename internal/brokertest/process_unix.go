//go:build unix && !linux

package brokertest

import "syscall"

// The signals that suspend a process and let it go on.
const (
	suspend = syscall.SIGSTOP
	resume  = syscall.SIGCONT
)

// ownGroup keeps a terminal's signals from a child. Unlike on Linux, a broker outlives a test
// binary that is killed.
func ownGroup() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true}
}

// descendants returns none: the helpers of a broker end soon after the broker.
func descendants(int) []int { return nil }

// running reports whether a process exists.
func running(pid int) bool { return syscall.Kill(pid, 0) == nil }

// stopped returns true, since it can't tell: a process may run on for a moment.
func stopped(int) bool { return true }
