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
	"strings"
	"syscall"
	"testing"

	"github.com/micromessaging/jsonrpc2/internal/child"
)

const install = "apt-get install ruby ruby-redis ruby-bunny ruby-sinatra ruby-webrick"

//go:embed testdata/*.rb
var scripts embed.FS

// A Process is a running script. On Linux the kernel kills it when the test binary ends.
type Process struct {
	cmd    *exec.Cmd
	cancel context.CancelFunc
	done   <-chan struct{} // closed when the script has ended
	stderr bytes.Buffer    // complete when done is closed
}

// launch starts a script. The end of ctx ends it by SIGTERM, or by SIGKILL after stopTimeout.
func launch(ctx context.Context, t testing.TB, stdout io.Writer, script string, args []string) *Process {
	t.Helper()
	args = append([]string{filepath.Join(unpack(t), script)}, args...)
	p := &Process{cmd: exec.CommandContext(ctx, "ruby", args...)}
	p.cmd.Stdout, p.cmd.Stderr = stdout, &p.stderr
	p.cmd.Cancel = func() error { return p.cmd.Process.Signal(syscall.SIGTERM) }
	p.cmd.WaitDelay = stopTimeout
	var err error
	if p.done, err = child.Start(p.cmd); err != nil {
		t.Fatalf("rubytest: %v: %s", err, install)
	}
	return p
}

// unpack writes all scripts to a folder of the test: they load each other's files.
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

// checkInstalled fails the test if the script ended because a library is missing.
func (p *Process) checkInstalled(t testing.TB) {
	t.Helper()
	if stderr := p.stderr.String(); strings.Contains(stderr, "(LoadError)") {
		t.Fatalf("rubytest: a Ruby library is missing: %s\n%s", install, stderr)
	}
}
