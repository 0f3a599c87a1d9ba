package brokertest

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// A Program is another process of the test binary.
type Program struct {
	t     testing.TB
	proc  *process
	stdin io.Closer
}

// StartProgram starts the test binary with env added to its environment: the TestMain of the
// package sees it there, and does something else than test. The test's cleanup kills the
// process.
func StartProgram(t testing.TB, env ...string) *Program {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), env...)
	stdin, err := cmd.StdinPipe()
	require.NoError(t, err)
	proc, err := startProcess(cmd, filepath.Join(t.TempDir(), "log"))
	require.NoError(t, err)
	p := &Program{t: t, proc: proc, stdin: stdin}
	t.Cleanup(p.Kill)
	return p
}

// Stop suspends the process, and waits until it has stopped.
func (p *Program) Stop() {
	p.t.Helper()
	require.NoError(p.t, p.proc.suspend())
}

// Cont lets a suspended process go on.
func (p *Program) Cont() {
	p.t.Helper()
	require.NoError(p.t, p.proc.signal(resume))
}

// Kill kills the process without warning and waits until it is gone.
func (p *Program) Kill() {
	p.t.Helper()
	require.NoError(p.t, p.proc.kill())
}

// Drain closes the standard input of the process, which ends the context of its Drained. It
// waits until the process has ended, and requires the exit code 0.
func (p *Program) Drain() {
	p.t.Helper()
	require.NoError(p.t, p.stdin.Close())
	<-p.proc.done
	require.True(p.t, p.proc.cmd.ProcessState.Success(), "%v", p.proc.exitError())
}
