package foreigntest

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2/internal/child"
	"github.com/micromessaging/jsonrpc2/internal/servicetest"
)

// stopTimeout is from SIGTERM to SIGKILL.
const stopTimeout = 30 * time.Second

// environment puts Debian's interpreters before others, for they have Debian's libraries.
var environment = append(os.Environ(), "PATH=/usr/bin"+string(os.PathListSeparator)+os.Getenv("PATH"))

// A workspace is a copy of the examples, with what they need.
type workspace struct{ dir string }

// install is what each language needs, and how to see that it is there.
var install = []struct{ probe, packages string }{
	{"ruby -e 'require \"redis\"; require \"bunny\"; require \"webrick\"'", "ruby ruby-redis ruby-bunny ruby-webrick"},
	{"python3 -c 'import redis, pika'", "python3 python3-redis python3-pika"},
	{"cd node && npm ci --prefer-offline --ignore-scripts --no-audit --no-fund", "nodejs npm"},
}

func newWorkspace(t *testing.T) workspace {
	t.Helper()
	w := workspace{t.TempDir()}
	for _, language := range []string{"ruby", "python", "node"} {
		require.NoError(t, os.CopyFS(filepath.Join(w.dir, language), os.DirFS(filepath.Join(examples, language))))
	}
	for _, needed := range install {
		if out, err := w.command(t.Context(), needed.probe).CombinedOutput(); err != nil {
			t.Fatalf("apt-get install %s: %v\n%s", needed.packages, err, out)
		}
	}
	return w
}

// command returns a command that the end of ctx ends by SIGTERM.
func (w workspace) command(ctx context.Context, line string, env ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "bash", "-c", line)
	cmd.Dir, cmd.Env = w.dir, append(environment[:len(environment):len(environment)], env...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = stopTimeout
	return cmd
}

// A process is a program that runs. On Linux it is killed when the test binary ends.
type process struct {
	cmd            *exec.Cmd
	done           <-chan struct{} // closed when the program has ended
	stdout, stderr servicetest.LogBook
}

// launch starts a program that the end of ctx ends. If it can't be started, stderr says why.
func (w workspace) launch(ctx context.Context, line string, env []string) *process {
	p := &process{cmd: w.command(ctx, "exec "+line, env...)}
	p.cmd.Stdout, p.cmd.Stderr = &p.stdout, &p.stderr
	var err error
	if p.done, err = child.Start(p.cmd); err != nil {
		never := make(chan struct{})
		close(never)
		p.done = never
		fmt.Fprintln(&p.stderr, err)
	}
	return p
}

// succeeded reports whether the program has ended with exit status 0.
func (p *process) succeeded() bool {
	<-p.done
	return p.cmd.ProcessState != nil && p.cmd.ProcessState.Success()
}

// An outcome is what came of a client.
type outcome struct {
	stdout, stderr string
	succeeded      bool // with exit status 0
}

// run runs a client to its end.
func (w workspace) run(ctx context.Context, line string, env []string) outcome {
	p := w.launch(ctx, line, env)
	succeeded := p.succeeded()
	return outcome{p.stdout.String(), p.stderr.String(), succeeded}
}

// A server is a program that serves.
type server struct {
	*process
	cancel context.CancelFunc
}

// start starts a server and returns when it serves. The test's cleanup stops it.
func (w workspace) start(t *testing.T, line string, env []string) *server {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	s := &server{w.launch(ctx, line, env), cancel}
	t.Cleanup(func() {
		cancel()
		<-s.done
		if t.Failed() {
			t.Logf("%s: %v\n%s", line, s.cmd.ProcessState, s.stderr.String())
		}
	})
	servicetest.Eventually(t, func() bool {
		select {
		case <-s.done:
			return true
		default:
			return strings.Contains(s.stderr.String(), "\n")
		}
	})
	require.Equal(t, "ready\n", s.stderr.String(), line)
	return s
}

// stop ends the server by SIGTERM, and requires that it ends in good order.
func (s *server) stop(t *testing.T) {
	t.Helper()
	s.cancel()
	require.True(t, s.succeeded(), s.stderr.String())
	require.Empty(t, strings.TrimSpace(s.stdout.String()))
}
