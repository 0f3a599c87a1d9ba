package main

import "syscall"

// dieWithParent keeps a child out of the terminal's signals and has the kernel
// kill it when the thread that starts it ends.
func dieWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
