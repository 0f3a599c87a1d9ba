package main

import (
	"io"
	"math/rand/v2"
	"net"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2/internal/servicetest"
)

// A stepper passes on to a broker what a client sends, up to a step. A step is what arrives at
// once.
type stepper struct {
	addr    string
	reached chan struct{} // closed at the first step that is not passed on

	mu   sync.Mutex // protects following
	left int        // steps
	end  func()     // ends what goes on
}

// startStepper starts a stepper before the broker at target. The test's cleanup ends it.
func startStepper(t *testing.T, target string, steps int) *stepper {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	s := &stepper{addr: l.Addr().String(), reached: make(chan struct{}), left: steps}
	var running sync.WaitGroup
	var mu sync.Mutex
	var conns []net.Conn
	running.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", target)
			if err != nil {
				_ = client.Close()
				continue
			}
			mu.Lock()
			conns = append(conns, client, server)
			mu.Unlock()
			running.Go(func() { s.pass(server, client); _ = server.Close() })
			running.Go(func() { _, _ = io.Copy(client, server); _ = client.Close() })
		}
	})
	s.end = sync.OnceFunc(func() {
		_ = l.Close()
		mu.Lock()
		for _, conn := range conns {
			_ = conn.Close()
		}
		mu.Unlock()
		running.Wait()
	})
	t.Cleanup(s.end)
	return s
}

// pass passes on what a client sends, until the client is gone.
func (s *stepper) pass(server, client net.Conn) {
	buf := make([]byte, 64<<10)
	for {
		n, err := client.Read(buf)
		if err != nil {
			return
		}
		if s.step() {
			_, _ = server.Write(buf[:n])
		}
	}
}

// step reports whether a step is to be passed on.
func (s *stepper) step() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.left--
	if s.left == -1 {
		close(s.reached)
	}
	return s.left >= 0
}

// runUntil runs a command of dead that is killed at a step, and reports whether it was: else it
// has ended before.
func (g graveyard) runUntil(t *testing.T, step int, args ...string) (killed bool) {
	t.Helper()
	u, err := url.Parse(g.url)
	require.NoError(t, err)
	stepper := startStepper(t, u.Host, step)
	defer stepper.end()
	u.Host = stepper.addr
	cmd := program(append([]string{"dead", "-b", u.String(), "-q", g.queue}, args...)...)
	require.NoError(t, cmd.Start())
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	select {
	case err := <-done:
		require.NoError(t, err)
		return false
	case <-stepper.reached:
		require.NoError(t, cmd.Process.Kill())
		<-done
		return true
	}
}

// requireKept requires that soon each of the requests is in the list, or, if it may be there, in
// the queue. It puts all back into the list.
func (g graveyard) requireKept(t *testing.T, mayWait bool, all ...string) {
	t.Helper()
	var waiting, listed []string
	servicetest.Eventually(t, func() bool {
		waiting = append(waiting, g.drain(t)...)
		listed = requests(g.listed(t))
		return !slices.ContainsFunc(all, func(request string) bool {
			return !slices.Contains(listed, request) && !slices.Contains(waiting, request)
		})
	}, "a dead request is lost")
	if !mayWait {
		require.Empty(t, waiting)
	}
	if len(waiting) > 0 || len(listed) != 3 {
		must(t, g.at("dead", "delete", "--all", "-y")...)
		g.bury(t, deadAdd, deadNotice, deadBatch)
	}
}

// A tool that is killed at any step of a command loses no dead request.
func TestKilled(t *testing.T) {
	t.Parallel()
	eachGraveyard(t, func(t *testing.T, g graveyard) {
		g.bury(t, deadAdd, deadNotice, deadBatch)
		first := 0 // step
		for _, command := range []struct {
			args    string
			mayWait bool
			kept    []string
		}{
			{"list", false, []string{deadAdd, deadNotice, deadBatch}},
			{"requeue --all --yes", true, []string{deadAdd, deadNotice, deadBatch}},
			{"delete 7 --yes", false, []string{deadAdd, deadNotice}},
		} {
			step := first
			for g.runUntil(t, step, strings.Fields(command.args)...) {
				g.requireKept(t, command.mayWait, command.kept...)
				step++
			}
			g.requireKept(t, command.mayWait, command.kept...)
			require.Greater(t, step, 2)
			t.Logf("%s: killed at each of the steps %d to %d", command.args, first, step-1)
			if first == 0 {
				first = step / 2 // the others begin with a list
			}
		}
	})
}

// A tool that is killed at any moment loses none either.
func TestKilledAtRandom(t *testing.T) {
	t.Parallel()
	eachGraveyard(t, func(t *testing.T, g graveyard) {
		g.bury(t, deadAdd, deadNotice, deadBatch)
		begin := time.Now()
		require.NoError(t, program(g.at("dead", "list")...).Run())
		took := time.Since(begin)
		for range 10 {
			cmd := program(g.at("dead", "requeue", "--all", "--yes")...)
			require.NoError(t, cmd.Start())
			<-time.After(rand.N(took))
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
			g.requireKept(t, true, deadAdd, deadNotice, deadBatch)
		}
	})
}
