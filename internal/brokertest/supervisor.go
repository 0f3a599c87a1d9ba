package brokertest

import (
	"bytes"
	"context"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// A Supervisor keeps server processes running: it starts another when one has died.
type Supervisor struct {
	t       testing.TB
	env     []string           // of the processes
	death   string             // what a process writes when it dies as expected
	ctx     context.Context    // done when the processes are to end
	end     context.CancelFunc // of ctx
	keeping sync.WaitGroup     // a goroutine for each process
	deaths  atomic.Int64
}

// Supervise keeps n processes of the test binary running, with env added to their environment,
// as for StartProgram. They end in good order when their standard input ends, see Drained. A
// process that ends with an error must have written death to its standard error. The test's
// cleanup calls Drain.
func Supervise(t testing.TB, n int, death string, env ...string) *Supervisor {
	s := &Supervisor{t: t, death: death, env: append(os.Environ(), env...)}
	s.ctx, s.end = context.WithCancel(context.Background())
	t.Cleanup(s.Drain)
	for range n {
		s.keeping.Go(func() {
			for s.ctx.Err() == nil && s.run() {
			}
		})
	}
	return s
}

// run runs one process to its end. It reports whether the process could be started.
func (s *Supervisor) run() bool {
	cmd := exec.Command(os.Args[0])
	cmd.Env = s.env
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	stdin, err := cmd.StdinPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		s.t.Error(err)
		return false
	}
	stop := context.AfterFunc(s.ctx, func() { _ = stdin.Close() })
	defer stop()
	if err := cmd.Wait(); err != nil {
		s.deaths.Add(1)
		if !strings.Contains(stderr.String(), s.death) {
			s.t.Errorf("%v: %s", err, stderr.String())
		}
	}
	return true
}

// Deaths returns how many processes died.
func (s *Supervisor) Deaths() int { return int(s.deaths.Load()) }

// Drain ends the processes in good order, and waits for them.
func (s *Supervisor) Drain() {
	s.end()
	s.keeping.Wait()
}

// Drained returns a context that is done when standard input ends. It is for the process that
// StartProgram or Supervise started, whose Drain ends that input.
func Drained() context.Context {
	ctx, drain := context.WithCancel(context.Background())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		drain()
	}()
	return ctx
}
