package main

import (
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/creack/pty"
	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2/internal/servicetest"
)

// A session is the program at a terminal.
type session struct {
	cmd      *exec.Cmd
	terminal *os.File
	shown    buffer
	closed   chan struct{} // when all is shown
}

// atTerminal starts the program at a terminal of its own.
func atTerminal(t *testing.T, env []string, args ...string) *session {
	t.Helper()
	s := &session{cmd: program(args...), closed: make(chan struct{})}
	s.cmd.Env = append(s.cmd.Env, "TERM=xterm", "NO_COLOR=")
	s.cmd.Env = append(s.cmd.Env, env...)
	var err error
	s.terminal, err = pty.StartWithSize(s.cmd, &pty.Winsize{Rows: 24, Cols: 80})
	require.NoError(t, err)
	go func() {
		defer close(s.closed)
		_, _ = io.Copy(&s.shown, s.terminal) // ends with EIO
	}()
	t.Cleanup(func() {
		if s.cmd.ProcessState == nil {
			_ = s.cmd.Process.Kill()
			_ = s.cmd.Wait()
		}
		_ = s.terminal.Close()
		<-s.closed
	})
	return s
}

// types types a text.
func (s *session) types(t *testing.T, text string) {
	t.Helper()
	_, err := s.terminal.WriteString(text)
	require.NoError(t, err)
}

// ended waits for the program, and returns its exit status and what it has shown.
func (s *session) ended(t *testing.T) (status int, shown string) {
	t.Helper()
	_ = s.cmd.Wait()
	awaited(t, s.closed)
	return s.cmd.ProcessState.ExitCode(), strings.ReplaceAll(s.shown.String(), "\r\n", "\n")
}

func TestTableAtATerminal(t *testing.T) {
	t.Parallel()
	s, _ := newRedis(t)
	const head, row = "QUEUE  WAITING  NEXT  RUNNING  SERVERS  DEAD", "calc         0     -        0        0     0\n"
	for _, test := range []struct{ env, want string }{
		{"", "\x1b[1m" + head + "\x1b[0m\n" + row},
		{"NO_COLOR=1", head + "\n" + row},
		{"TERM=dumb", head + "\n" + row},
	} {
		status, shown := atTerminal(t, []string{test.env}, s.at("queue")...).ended(t)
		require.Zero(t, status)
		require.Equal(t, test.want, shown)
	}
}

// A watch replaces what it has shown, until Ctrl-C.
func TestWatchAtATerminal(t *testing.T) {
	t.Parallel()
	s, _ := newRedis(t)
	w := atTerminal(t, nil, s.at("queue", "--watch", "--every", "20ms")...)
	servicetest.Eventually(t, func() bool { return strings.Count(w.shown.String(), clearScreen) > 2 })
	w.types(t, "\x03")
	status, shown := w.ended(t)
	require.Zero(t, status, shown)
	require.Contains(t, shown, "WAITING/S")
	require.Contains(t, shown, "+0.0")
}

// A bench shows its progress, and leaves nothing of it.
func TestProgressAtATerminal(t *testing.T) {
	t.Parallel()
	slow := servicetest.NewSlow()
	s := serveHTTP(t, []any{slow})
	t.Cleanup(slow.Open)
	b := atTerminal(t, nil, s.at("bench", "-n", "4", "-c", "2", "Slow.Wait", "[1]")...)
	b.shown.requireSoon(t, "  0 %  0 calls, 0/s ")
	slow.Gate <- struct{}{}
	b.shown.requireSoon(t, " 25 %  1 calls, ")
	slow.Open()
	status, shown := b.ended(t)
	require.Zero(t, status, shown)
	last := shown[strings.LastIndex(shown, "\r"):]
	require.True(t, strings.HasPrefix(last, clearLine), "%q", last)
	require.Contains(t, last, "CALLS/S")
}

// What can't be undone is asked for first.
func TestQuestions(t *testing.T) {
	t.Parallel()
	eachGraveyard(t, func(t *testing.T, g graveyard) {
		g.bury(t, deadAdd, deadNotice, deadBatch)
		all := g.listed(t)
		for _, answer := range []string{"n\n", "\n", "\x03", "\x04"} {
			s := atTerminal(t, nil, g.at("dead", "delete", all[2].ID)...)
			s.shown.requireSoon(t, "delete "+all[2].ID+" (add) of queue "+g.queue+"? [y/N] ")
			s.types(t, answer)
			status, shown := s.ended(t)
			require.Equal(t, exitNotRun, status, shown)
		}
		require.Len(t, g.listed(t), 3)
		for _, command := range []string{"delete " + all[2].ID, "requeue --all"} {
			s := atTerminal(t, nil, g.at(append([]string{"dead"}, strings.Fields(command)...)...)...)
			s.shown.requireSoon(t, "? [y/N] ")
			s.types(t, "y\n")
			status, shown := s.ended(t)
			require.Zero(t, status, shown)
			require.Regexp(t, `\n(1 deleted|2 requeued)\n$`, shown)
		}
		require.Empty(t, g.listed(t))
		require.ElementsMatch(t, []string{deadBatch, deadNotice}, g.drain(t))
	})
}

// At a terminal a request is indented, and can't write to it as it likes.
func TestShowAtATerminal(t *testing.T) {
	t.Parallel()
	g := redisGraveyard(t)
	g.bury(t, "{\"id\":\"a\",\"params\":[1,\"\u009b31m\"]}", "no JSON \u009b")
	all := g.listed(t)
	for _, test := range []struct {
		args []string
		want string
	}{
		{[]string{all[1].ID}, "{\n  \"id\": \"a\",\n  \"params\": [\n    1,\n    \"\\u009b31m\"\n  ]\n}\n"},
		{[]string{all[1].ID, "-o", "json"}, "{\"id\":\"a\",\"params\":[1,\"\\u009b31m\"]}\n"},
		{[]string{all[0].ID}, "no JSON ·\n"},
	} {
		status, shown := atTerminal(t, nil, append(g.at("dead", "show"), test.args...)...).ended(t)
		require.Zero(t, status)
		require.Equal(t, test.want, shown)
	}
}
