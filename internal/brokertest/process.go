package brokertest

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"syscall"

	"go.uber.org/goleak"

	"github.com/micromessaging/jsonrpc2/internal/child"
)

// portTaken matches what the brokers print when they can't bind a port.
var portTaken = regexp.MustCompile(`(?i)address already in use|eaddrinuse|already a epmd running`)

// A process is a running program whose output goes to a file. On Linux the kernel kills it
// when the test binary ends.
type process struct {
	cmd  *exec.Cmd
	log  string          // the file
	done <-chan struct{} // closed when the program has exited
}

// startProcess starts cmd with its output in a new file log.
func startProcess(cmd *exec.Cmd, log string) (*process, error) {
	out, err := os.Create(log)
	if err != nil {
		return nil, fmt.Errorf("brokertest: %w", err)
	}
	defer out.Close()
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = ownGroup()
	p := &process{cmd: cmd, log: log}
	if p.done, err = child.Start(cmd); err != nil {
		return nil, fmt.Errorf("brokertest: starting %s: %w", p.name(), err)
	}
	return p, nil
}

// IgnoreProcesses makes goleak ignore the goroutines that wait for running brokers. It is for
// checks that are made while the node of [SharedRabbitMQ] runs.
func IgnoreProcesses() goleak.Option {
	return goleak.IgnoreAnyFunction("github.com/micromessaging/jsonrpc2/internal/child.mind")
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

// exitError returns an error that says how the program exited, with the end of its output. It
// wraps errPortTaken if another program had its port.
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

// kill kills the program and its descendants, and waits until all are gone. It does nothing
// if the program has exited.
func (p *process) kill() error {
	if p.exited() {
		return nil // another process may have its id by now
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

// killAll kills processes and waits until they are gone. They are no children of this one, so
// it can't wait for them as for a child, and polls.
func killAll(pids []int) error {
	for _, pid := range pids {
		if child, err := os.FindProcess(pid); err == nil {
			_ = child.Kill() // fails if it is gone already
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

// findTool returns the path of an installed program. It looks in dirs first, and then in the
// PATH.
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
