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

// A Supervisor keeps server processes running: it starts one again when it died.
type Supervisor struct {
	t       testing.TB
	env     []string
	death   string
	ctx     context.Context
	end     context.CancelFunc
	keeping sync.WaitGroup
	deaths  atomic.Int64
}

// Supervise keeps n processes of the test binary running, with env in their
// environment for its TestMain to see. They are to end with the end of their
// standard input, which Drained makes a context of. One that ends otherwise
// must have written death to its standard error.
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

// run runs one process to its end, if it can be started.
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

// Drained returns a context that is done with the end of the standard input, for
// the process that is supervised.
func Drained() context.Context {
	ctx, drain := context.WithCancel(context.Background())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		drain()
	}()
	return ctx
}
