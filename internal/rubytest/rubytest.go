// Package rubytest runs small Ruby programs that speak JSON-RPC 2.0 over Redis, RabbitMQ and
// HTTP. They share no code with this module, so tests against them show that it speaks to
// others.
//
// The programs and their arguments:
//
//	redis_client.rb [--timeout S] [--count N] URL QUEUE id|reply_to METHOD PARAMS [META]
//	redis_client.rb [--timeout S] URL QUEUE raw TEXT [REPLY_LIST]
//	redis_server.rb URL QUEUE id|reply_to
//	amqp_client.rb [--timeout S] [--count N] [--passive] URL QUEUE id|late|reply_to METHOD PARAMS [META]
//	amqp_server.rb [--passive] URL QUEUE id|reply_to
//	http_client.rb URL METHOD PARAMS [META]
//	http_server.rb PORT
//
// The clients are for [Run]. They print each response on a line, and nothing for a
// notification, which "!METHOD" sends. http_client.rb prints the status and the body. META is
// the metadata of the call, as a JSON object.
//
// The servers are for [Start]. They serve add and subtract, with two numbers by position, and
// tenant, which returns the tenant in the metadata. The comment at the head of each program
// says more.
//
// A test fails, and is never skipped, if Ruby or a library is not installed.
package rubytest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

const (
	runTimeout  = time.Minute      // for Run, and for Start until ready
	stopTimeout = 30 * time.Second // from SIGTERM to SIGKILL
)

// Run runs a script to its end and returns its output. It fails the test if the exit code
// isn't 0, or if the script takes longer than a minute. Call Run and the other functions on
// the test's own goroutine, as t.Fatal.
func Run(t testing.TB, script string, args ...string) (stdout string) {
	t.Helper()
	stdout, stderr, code := RunErr(t, script, args...)
	if code != 0 {
		t.Fatalf("rubytest: %s: exit code %d\n%s", script, code, stderr)
	}
	return stdout
}

// RunErr is like Run, for scripts that may fail. The exit code is -1 if a signal ended the
// script.
func RunErr(t testing.TB, script string, args ...string) (stdout, stderr string, exitCode int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), runTimeout)
	defer cancel()
	var out strings.Builder
	p := launch(ctx, t, &out, script, args)
	<-p.done
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		t.Fatalf("rubytest: %s: not done after %v\n%s", script, runTimeout, &p.stderr)
	}
	p.checkInstalled(t)
	return out.String(), p.stderr.String(), p.cmd.ProcessState.ExitCode()
}

// Start starts a server script, and returns when it serves. The test's cleanup stops it, and
// logs what it wrote to standard error.
func Start(t testing.TB, script string, args ...string) *Process {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ready := make(readyWriter, 1)
	p := launch(ctx, t, ready, script, args)
	p.cancel = cancel
	t.Cleanup(func() {
		if p.Stop() != nil || p.stderr.Len() > 0 {
			t.Logf("rubytest: %s: %v\n%s", script, p.cmd.ProcessState, &p.stderr)
		}
	})
	select {
	case <-ready:
	case <-p.done:
		p.checkInstalled(t)
		t.Fatalf("rubytest: %s: ended before it was ready", script)
	case <-time.After(runTimeout):
		t.Fatalf("rubytest: %s: not ready after %v", script, runTimeout)
	}
	return p
}

// Stop ends the script by SIGTERM, or by SIGKILL if it still runs 30 s later, and waits for its
// end. It returns an error unless the exit code is 0. It is idempotent.
func (p *Process) Stop() error {
	p.cancel()
	<-p.done
	if state := p.cmd.ProcessState; !state.Success() {
		return fmt.Errorf("rubytest: %v", state)
	}
	return nil
}

// A readyWriter is the standard output of a server script. It receives a value when the script
// prints that it is ready.
type readyWriter chan struct{}

func (w readyWriter) Write(b []byte) (int, error) {
	if strings.HasPrefix(string(b), "ready") {
		w <- struct{}{}
	}
	return len(b), nil
}
