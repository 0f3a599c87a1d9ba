package brokertest

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"syscall"

	"go.uber.org/goleak"
)

// portTaken matches what the brokers print when they can't bind a port.
var portTaken = regexp.MustCompile(`(?i)address already in use|eaddrinuse|already a epmd running`)

// A process is a running program whose output goes to a file. It is killed
// when the test binary ends, in whatever way.
type process struct {
	cmd  *exec.Cmd
	log  string
	done chan struct{} // closed when the program has exited
}

// startProcess starts cmd with its output in the file log, made anew.
func startProcess(cmd *exec.Cmd, log string) (*process, error) {
	out, err := os.Create(log)
	if err != nil {
		return nil, fmt.Errorf("brokertest: %w", err)
	}
	defer out.Close()
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = ownGroup()
	p := &process{cmd: cmd, log: log, done: make(chan struct{})}
	started := make(chan error)
	go p.mind(started)
	if err := <-started; err != nil {
		return nil, fmt.Errorf("brokertest: starting %s: %w", p.name(), err)
	}
	return p, nil
}

// mind starts the program and waits for its end. It keeps its thread all the
// while, because Linux sends the parent-death signal when the thread that
// forked ends, not only when the whole parent does.
func (p *process) mind(started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer close(p.done)
	err := p.cmd.Start()
	started <- err
	if err == nil {
		_ = p.cmd.Wait() // ProcessState tells
	}
}

// IgnoreProcesses makes goleak overlook the goroutines that wait for running
// brokers, for checks made while [SharedRabbitMQ]'s broker runs.
func IgnoreProcesses() goleak.Option {
	return goleak.IgnoreAnyFunction("github.com/micromessaging/jsonrpc2/internal/brokertest.(*process).mind")
}

func (p *process) name() string { return filepath.Base(p.cmd.Path) }

// await polls ready until it returns nil. It fails when the program exits or
// startTimeout has passed.
func (p *process) await(ready func() error) error {
	err := poll(p.done, ready)
	switch {
	case errors.Is(err, errStopped):
		return p.exitError()
	case err != nil:
		return fmt.Errorf("brokertest: %s not ready: %w\n%s", p.name(), err, p.tail())
	}
	return nil
}

// exitError tells why the program exited.
func (p *process) exitError() error {
	tail := p.tail()
	err := fmt.Errorf("brokertest: %s ended: %v\n%s", p.name(), p.cmd.ProcessState, tail)
	if portTaken.Match(tail) {
		return errors.Join(errPortTaken, err)
	}
	return err
}

// tail returns the end of the program's output.
func (p *process) tail() []byte {
	const most = 4096
	out, err := os.ReadFile(p.log)
	if err != nil {
		return []byte(err.Error())
	}
	return bytes.TrimSpace(out[max(0, len(out)-most):])
}

// signal sends sig to the program.
func (p *process) signal(sig syscall.Signal) error {
	if err := p.cmd.Process.Signal(sig); err != nil {
		return fmt.Errorf("brokertest: %v to %s: %w", sig, p.name(), err)
	}
	return nil
}

// suspend stops the program, and waits until it has stopped.
func (p *process) suspend() error {
	if err := p.signal(suspend); err != nil {
		return err
	}
	return poll(nil, func() error {
		if !stopped(p.cmd.Process.Pid) {
			return fmt.Errorf("brokertest: %s runs on", p.name())
		}
		return nil
	})
}

// kill ends the program and its descendants at once and waits until all are
// gone. Killing a program that has exited is no error.
func (p *process) kill() error {
	if p.exited() {
		return nil // its process id may be another's by now
	}
	children := descendants(p.cmd.Process.Pid)
	if err := p.signal(syscall.SIGKILL); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	<-p.done
	return killAll(children)
}

func (p *process) exited() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// killAll kills processes that are no children of this one and waits until
// they are gone.
func killAll(pids []int) error {
	for _, pid := range pids {
		if child, err := os.FindProcess(pid); err == nil {
			_ = child.Kill() // unless it is gone already
			_ = child.Release()
		}
	}
	return poll(nil, func() error {
		for _, pid := range pids {
			if running(pid) {
				return fmt.Errorf("brokertest: process %d survives its killing", pid)
			}
		}
		return nil
	})
}

// findTool returns the path of an installed program, looked for in dirs and
// then in the path.
func findTool(name, debianPackage string, dirs ...string) (string, error) {
	for _, dir := range dirs {
		if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return path, nil
		}
	}
	path, err := exec.LookPath(name)
	if err != nil {
		return "", fmt.Errorf("brokertest: %s not found: apt-get install %s", name, debianPackage)
	}
	return path, nil
}
