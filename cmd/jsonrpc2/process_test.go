package main

import (
	"bytes"
	"errors"
	"io"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2/internal/servicetest"
)

// ended returns what came of a process, which it waits for.
func ended(t *testing.T, cmd *exec.Cmd, stdout, stderr *bytes.Buffer) result {
	t.Helper()
	err := cmd.Wait()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		require.True(t, exit.Exited(), "%v", err)
	} else {
		require.NoError(t, err)
	}
	return result{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}

// begun starts the program.
func begun(t *testing.T, stdin io.Reader, args ...string) (cmd *exec.Cmd, stdout, stderr *bytes.Buffer) {
	t.Helper()
	cmd = program(args...)
	stdout, stderr = new(bytes.Buffer), new(bytes.Buffer)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, stdout, stderr
	require.NoError(t, cmd.Start())
	return cmd, stdout, stderr
}

// The process has the exit status of its command.
func TestExitStatus(t *testing.T) {
	t.Parallel()
	s := serveHTTP(t, []any{Test{}})
	nowhere := site{url: "redis://127.0.0.1:1", queue: queue}
	for _, test := range []struct {
		stdin string
		args  []string
		want  result
	}{
		{"[1,5.1]", s.at("call", "add", "-"), result{"6.1\n", "", exitDone}},
		{"", s.at("call", "Test.Fail"), result{"", "error 404: no such··[31maccount\ndata: {\"account\":7}\n", exitFailed}},
		{"", s.at("call"), result{"", "jsonrpc2: no method: write one, such as add '[1,5.1]'\njsonrpc2 call -h shows the usage.\n", exitUsage}},
		{"", nowhere.at("call", "add"), result{"", "jsonrpc2: not sent: queue \"calc\" at 127.0.0.1:1: dial tcp 127.0.0.1:1: connect: connection refused\n", exitNotRun}},
	} {
		cmd, stdout, stderr := begun(t, strings.NewReader(test.stdin), test.args...)
		require.Equal(t, test.want, ended(t, cmd, stdout, stderr))
	}
}

// Ctrl-C ends a call that may have run.
func TestSignals(t *testing.T) {
	t.Parallel()
	slow := servicetest.NewSlow()
	s := serveHTTP(t, []any{slow})
	t.Cleanup(slow.Open)
	for i, signal := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		cmd, stdout, stderr := begun(t, nil, s.at("call", "Slow.Wait", "[1]")...)
		slow.RequireRunning(t, int64(i+1))
		require.NoError(t, cmd.Process.Signal(signal))
		r := ended(t, cmd, stdout, stderr)
		require.Equal(t, exitMayHaveRun, r.status, r.stderr)
		require.Empty(t, r.stdout)
	}
}
