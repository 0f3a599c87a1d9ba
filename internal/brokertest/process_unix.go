//go:build unix && !linux

package brokertest

import "syscall"

// The signals that suspend a process and let it go on.
const (
	suspend = syscall.SIGSTOP
	resume  = syscall.SIGCONT
)

// ownGroup keeps a child out of the terminal's signals. Unlike on Linux, a
// broker outlives a test binary that is killed.
func ownGroup() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true}
}

// descendants returns none: the brokers' helpers end with them, if later.
func descendants(int) []int { return nil }

// running reports whether a process is there.
func running(pid int) bool { return syscall.Kill(pid, 0) == nil }

// stopped is not known here: a process may run on for a moment.
func stopped(int) bool { return true }
