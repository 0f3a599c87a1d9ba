package main

import "syscall"

// dieWithParent keeps a terminal's signals from a child, and makes the kernel kill it when the
// thread that started it ends.
func dieWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
