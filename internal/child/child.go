// Package child starts programs that end with the process that has started them, as far as the
// system can do that: Linux kills them.
package child

import (
	"os/exec"
	"runtime"
	"syscall"
)

// Start starts a program, and closes done when the program has ended and cmd.ProcessState has
// the outcome.
func Start(cmd *exec.Cmd) (done <-chan struct{}, err error) {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = new(syscall.SysProcAttr)
	}
	dieWithParent(cmd.SysProcAttr)
	started, ended := make(chan error), make(chan struct{})
	go mind(cmd, started, ended)
	if err := <-started; err != nil {
		return nil, err
	}
	return ended, nil
}

// mind starts the program and waits for its end. It keeps its thread until then: Linux sends
// the parent-death signal when the thread that forked ends, not when the whole process does.
func mind(cmd *exec.Cmd, started chan<- error, ended chan<- struct{}) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer close(ended)
	err := cmd.Start()
	started <- err
	if err == nil {
		_ = cmd.Wait()
	}
}
