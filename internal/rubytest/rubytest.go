// Package rubytest runs small Ruby programs that speak JSON-RPC 2.0 over
// Redis, RabbitMQ and HTTP, for tests against implementations that share no
// code with this module.
//
// The programs and their arguments:
//
//	redis_client.rb [--timeout S] [--count N] URL QUEUE id|reply_to METHOD PARAMS
//	redis_client.rb [--timeout S] URL QUEUE raw TEXT [REPLY_LIST]
//	redis_server.rb URL QUEUE id|reply_to
//	amqp_client.rb [--timeout S] [--count N] [--passive] URL QUEUE id|late|reply_to METHOD PARAMS
//	amqp_server.rb [--passive] URL QUEUE id|reply_to
//	http_client.rb URL METHOD PARAMS
//	http_server.rb PORT
//
// The clients are for [Run]: they print the responses, and nothing for a
// notification, which is what "!METHOD" sends. The servers are for [Start]:
// they serve add and subtract on two numbers by position. The comment at the
// head of each tells more.
//
// A program that can't run because something is not installed fails the test:
// it is never skipped.
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
	runTimeout  = 30 * time.Second // for Run, and for Start until ready
	stopTimeout = 5 * time.Second  // from SIGTERM to SIGKILL
)

// Run runs a script to its end and returns what it printed. It fails the test
// if the exit code isn't 0 or the script takes longer than 30 seconds. Like
// t.Fatal, it and the other functions are for the test's own goroutine.
func Run(t testing.TB, script string, args ...string) (stdout string) {
	t.Helper()
	stdout, stderr, code := RunErr(t, script, args...)
	if code != 0 {
		t.Fatalf("rubytest: %s: exit code %d\n%s", script, code, stderr)
	}
	return stdout
}

// RunErr is Run for scripts that may fail. The exit code is -1 where a signal
// ended the script.
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

// Start starts a script and returns when it serves. The test's cleanup stops
// it, and logs what it wrote to its standard error.
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

// Stop ends the script by SIGTERM, or by SIGKILL if it is still there after
// five seconds, and waits for its end. The error says how it ended if not
// with exit code 0. Stopping twice is the same as once.
func (p *Process) Stop() error {
	p.cancel()
	<-p.done
	if state := p.cmd.ProcessState; !state.Success() {
		return fmt.Errorf("rubytest: %v", state)
	}
	return nil
}

// A readyWriter takes a server's output and passes on that it is ready.
type readyWriter chan struct{}

func (w readyWriter) Write(b []byte) (int, error) {
	if strings.HasPrefix(string(b), "ready") {
		w <- struct{}{}
	}
	return len(b), nil
}
