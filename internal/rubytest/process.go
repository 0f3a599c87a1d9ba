package rubytest

import (
	"bytes"
	"context"
	"embed"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
)

const install = "apt-get install ruby ruby-redis ruby-bunny ruby-sinatra ruby-webrick"

//go:embed testdata/*.rb
var scripts embed.FS

// A Process is a running script. It is killed when the test binary ends, in
// whatever way.
type Process struct {
	cmd    *exec.Cmd
	cancel context.CancelFunc
	done   chan struct{} // closed when the script has ended
	stderr bytes.Buffer  // complete when done is closed
}

// launch starts a script that the end of ctx ends.
func launch(ctx context.Context, t testing.TB, stdout io.Writer, script string, args []string) *Process {
	t.Helper()
	args = append([]string{filepath.Join(unpack(t), script)}, args...)
	p := &Process{cmd: exec.CommandContext(ctx, "ruby", args...), done: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = stdout, &p.stderr
	p.cmd.Cancel = func() error { return p.cmd.Process.Signal(syscall.SIGTERM) }
	p.cmd.WaitDelay = stopTimeout
	p.cmd.SysProcAttr = dieWithParent()
	started := make(chan error)
	go p.mind(started)
	if err := <-started; err != nil {
		t.Fatalf("rubytest: %v: %s", err, install)
	}
	return p
}

// unpack writes the scripts, which share files, to a folder of the test's.
func unpack(t testing.TB) (dir string) {
	t.Helper()
	dir = t.TempDir()
	files, err := fs.Sub(scripts, "testdata")
	if err == nil {
		err = os.CopyFS(dir, files)
	}
	if err != nil {
		t.Fatalf("rubytest: %v", err)
	}
	return dir
}

// mind starts the script and waits for its end. It keeps its thread all the
// while, because Linux sends the parent-death signal when the thread that
// forked ends, not only when the whole parent does.
func (p *Process) mind(started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer close(p.done)
	err := p.cmd.Start()
	started <- err
	if err == nil {
		_ = p.cmd.Wait() // ProcessState tells
	}
}

// checkInstalled fails the test if the script has ended for want of a library.
func (p *Process) checkInstalled(t testing.TB) {
	t.Helper()
	if stderr := p.stderr.String(); strings.Contains(stderr, "(LoadError)") {
		t.Fatalf("rubytest: a Ruby library is missing: %s\n%s", install, stderr)
	}
}
