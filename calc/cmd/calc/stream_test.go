package main

import (
	"bufio"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/calc"
)

// serveStream starts calc serve at a URL, and returns the one that it names.
func serveStream(t *testing.T, broker string) (server *exec.Cmd, url string) {
	t.Helper()
	server, place := startServingAt(t, "-broker", broker)
	url, ok := strings.CutPrefix(place, "at ")
	require.True(t, ok, place)
	return server, url
}

// socketPath returns a path for a socket: those in t.TempDir may be too long.
func socketPath(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "calc")
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return filepath.Join(dir, "s.sock")
}

func TestServeAndCallStreams(t *testing.T) {
	path := socketPath(t)
	for name, test := range map[string]struct{ broker, want string }{
		"TCP":       {"tcp://127.0.0.1:0", `^tcp://127\.0\.0\.1:[1-9][0-9]*$`},
		"TCP, IPv6": {"tcp://[::1]:0/", `^tcp://\[::1\]:[1-9][0-9]*$`},
		"Unix":      {"unix://" + path, "^unix://" + path + "$"},
	} {
		t.Run(name, func(t *testing.T) {
			server, url := serveStream(t, test.broker)
			require.Regexp(t, test.want, url)
			require.Equal(t, result{stdout: "6.1\n"}, output(t, command("add", "-broker", url, "1", "5.1")))
			require.Equal(t, result{stdout: "-4\n"}, output(t, command("subtract", "1", "5", "-broker", url)))
			require.NoError(t, server.Process.Signal(syscall.SIGTERM))
			require.NoError(t, server.Wait(), "drained")

			got := output(t, command("add", "-broker", url, "1", "5.1"))
			require.Equal(t, 1, got.code)
			require.Empty(t, got.stdout)
			require.Contains(t, got.stderr, "calc: jsonrpc2: not sent: no connection: dial "+url[:strings.Index(url, ":")])
		})
	}
}

// Any program that can write a line can call.
func TestServeStreamText(t *testing.T) {
	_, url := serveStream(t, "tcp://127.0.0.1:0")
	conn, err := net.Dial("tcp", strings.TrimPrefix(url, "tcp://"))
	require.NoError(t, err)
	defer conn.Close()
	require.NoError(t, conn.SetDeadline(time.Now().Add(time.Minute)))
	_, err = io.WriteString(conn, `{"jsonrpc":"2.0","id":1,"method":"add","params":[1,5.1]}`+"\n")
	require.NoError(t, err)
	line, err := bufio.NewReader(conn).ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, `{"jsonrpc":"2.0","id":1,"result":6.1}`+"\n", line)
}

// A drain ends the connections of idle clients, too.
func TestServeStreamDrains(t *testing.T) {
	server, url := serveStream(t, "tcp://127.0.0.1:0")
	conn, err := net.Dial("tcp", strings.TrimPrefix(url, "tcp://"))
	require.NoError(t, err)
	defer conn.Close()
	require.Equal(t, result{stdout: "6.1\n"}, output(t, command("add", "-broker", url, "1", "5.1")))
	require.NoError(t, server.Process.Signal(syscall.SIGTERM))
	require.NoError(t, server.Wait())
	require.NoError(t, conn.SetDeadline(time.Now().Add(time.Minute)))
	_, err = conn.Read(make([]byte, 1))
	require.ErrorIs(t, err, io.EOF)
}

// A client outlives its server: when that was killed and is back, calls succeed again.
func TestClientOutlivesServer(t *testing.T) {
	server, url := serveStream(t, "tcp://127.0.0.1:0")
	var dialer net.Dialer
	conn := jsonrpc2.DialStream(func(ctx context.Context) (io.ReadWriteCloser, error) {
		return dialer.DialContext(ctx, "tcp", strings.TrimPrefix(url, "tcp://"))
	}, &jsonrpc2.DialStreamOptions{Logger: slog.New(slog.DiscardHandler)})
	client := calc.NewClient(conn)
	defer client.Close()
	ctx, stop := context.WithCancel(t.Context())
	var callers sync.WaitGroup
	var answered, failed atomic.Int64
	for range 8 {
		callers.Go(func() {
			for ctx.Err() == nil {
				sum, err := client.Add(context.Background(), 1, 5.1)
				if err == nil {
					assert.InDelta(t, 6.1, sum, 0)
					answered.Add(1)
					continue
				}
				assert.True(t, errors.Is(err, jsonrpc2.ErrReplyLost) || errors.Is(err, jsonrpc2.ErrUnavailable), err)
				failed.Add(1)
			}
		})
	}
	more := func(count *atomic.Int64) {
		t.Helper()
		before := count.Load()
		require.Eventually(t, func() bool { return count.Load() > before+100 }, time.Minute, 5*time.Millisecond)
	}
	for range 3 {
		more(&answered)
		require.NoError(t, server.Process.Kill())
		require.Error(t, server.Wait())
		require.Eventually(t, func() bool { return conn.Err() != nil }, time.Minute, 5*time.Millisecond)
		server, _ = serveStream(t, url)
	}
	more(&answered)
	require.NoError(t, conn.Err())
	stop()
	callers.Wait()
	require.NotZero(t, failed.Load())
	require.GreaterOrEqual(t, conn.Stats().Reconnects, int64(3))
}

// The file that a killed server leaves is replaced. One that is in use, or is no socket, is not.
func TestServeUnixSocketFile(t *testing.T) {
	path := socketPath(t)
	url := "unix://" + path
	killed, _ := serveStream(t, url)
	require.NoError(t, killed.Process.Kill())
	require.Error(t, killed.Wait())
	require.FileExists(t, path)
	server, _ := serveStream(t, url)
	require.Equal(t, result{stdout: "3\n"}, output(t, command("add", "-broker", url, "1", "2")))

	refused := func() {
		t.Helper()
		got := output(t, command("serve", "-broker", url))
		require.Equal(t, 1, got.code)
		require.Contains(t, got.stderr, "address already in use")
	}
	refused()
	require.Equal(t, result{stdout: "3\n"}, output(t, command("add", "-broker", url, "1", "2")), "it still serves")
	require.NoError(t, server.Process.Signal(syscall.SIGTERM))
	require.NoError(t, server.Wait())
	require.NoFileExists(t, path)

	require.NoError(t, os.WriteFile(path, []byte("precious"), 0o600))
	refused()
	require.FileExists(t, path)
}

// calc serve at an address that is taken says so.
func TestServeStreamRefuses(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer taken.Close()
	for url, want := range map[string]string{
		"tcp://" + taken.Addr().String():          "address already in use",
		"unix:///no-such-folder/calc.sock":        "no such file or directory",
		"unix:///tmp/" + strings.Repeat("x", 200): "invalid argument",
	} {
		got := output(t, command("serve", "-broker", url))
		require.Equal(t, 1, got.code, got.stderr)
		require.Contains(t, got.stderr, want)
		require.Equal(t, 1, strings.Count(got.stderr, "\n"), got.stderr)
	}
}
