package main

import (
	"fmt"
	"net"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2/internal/rubytest"
)

// serveHTTP starts calc serve on a free port, and returns the URL that it names.
func serveHTTP(t *testing.T) (server *exec.Cmd, url string) {
	t.Helper()
	server, place := startServingAt(t, "-broker", "http://user:secret@127.0.0.1:0/calc?token=secret")
	url, ok := strings.CutPrefix(place, "at ")
	require.True(t, ok, place)
	require.Regexp(t, `^http://127\.0\.0\.1:[1-9][0-9]*/calc$`, url)
	return server, url
}

func TestServeAndCallHTTP(t *testing.T) {
	server, url := serveHTTP(t)
	require.Equal(t, result{stdout: "6.1\n"}, output(t, command("add", "-broker", url, "1", "5.1")))
	secret := strings.Replace(url, "http://", "http://user:secret@", 1) + "?token=secret"
	require.Equal(t, result{stdout: "-4\n"}, output(t, command("subtract", "-broker", secret, "1", "5")))
	status, response, _ := strings.Cut(rubytest.Run(t, "http_client.rb", url, "add", "[1,5.1]"), "\n")
	require.Equal(t, "200", status)
	require.JSONEq(t, `6.1`, resultOf(t, response))

	got := output(t, command("add", "-broker", url+"s?secret", "1", "5.1"))
	require.Equal(t, 1, got.code)
	require.Contains(t, got.stderr, "no server")
	require.Contains(t, got.stderr, "404 Not Found")
	require.NotContains(t, got.stderr, "secret")

	require.NoError(t, server.Process.Signal(syscall.SIGTERM))
	require.NoError(t, server.Wait(), "drained")
	got = output(t, command("add", "-broker", url, "1", "5.1"))
	require.Equal(t, 1, got.code)
	require.Contains(t, got.stderr, "not sent")
}

// curl, as in the README, needs no Content-Type.
func TestCurl(t *testing.T) {
	server, url := serveHTTP(t)
	for _, test := range []struct {
		name string
		args []string
		want string // the body, a newline and the status
	}{
		{"a call", []string{"-d", `{"jsonrpc":"2.0","id":1,"method":"add","params":[1,5.1]}`}, `{"jsonrpc":"2.0","id":1,"result":6.1}` + "\n200"},
		{"a notification", []string{"-d", `{"jsonrpc":"2.0","method":"add","params":[1,5.1]}`}, "\n204"},
		{"a GET", nil, "JSON-RPC is spoken by POST\n\n405"},
		{"garbage", []string{"-d", "garbage"}, `{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"not valid JSON: at byte 0"}}` + "\n200"},
	} {
		curl, err := exec.LookPath("curl")
		require.NoError(t, err, "apt-get install curl")
		got := output(t, exec.Command(curl, append([]string{"-sS", "-w", "\n%{http_code}", url}, test.args...)...))
		require.Zero(t, got.code, got.stderr)
		require.Equal(t, test.want, got.stdout, test.name)
	}
	require.NoError(t, server.Process.Signal(syscall.SIGTERM))
	require.NoError(t, server.Wait())
}

func TestServeHTTPRefuses(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer taken.Close()
	for _, test := range []struct {
		url  string
		code int
		want string
	}{
		{"https://127.0.0.1:0/calc", 2, "https:// is for calls"},
		{"http:///calc", 2, "bad HTTP URL: want http://host[:port]/path"},
		{"http:calc", 2, "bad HTTP URL"},
		{"http://" + taken.Addr().String() + "/calc?secret", 1, "address already in use"},
	} {
		got := output(t, command("serve", "-broker", test.url))
		require.Equal(t, test.code, got.code, got.stderr)
		require.Contains(t, got.stderr, test.want)
		require.NotContains(t, got.stderr, "secret")
	}
}

// A request under way is answered before the program ends.
func TestServeHTTPDrains(t *testing.T) {
	server, url := serveHTTP(t)
	addr, _, _ := strings.Cut(strings.TrimPrefix(url, "http://"), "/")
	conn, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	defer conn.Close()
	require.NoError(t, conn.SetDeadline(time.Now().Add(time.Minute)))
	const body = `{"jsonrpc":"2.0","id":1,"method":"add","params":[1,5.1]}`
	send := func(text string) {
		_, err := conn.Write([]byte(text))
		require.NoError(t, err)
	}
	send(fmt.Sprintf("POST /calc HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n", len(body)))
	answer := make([]byte, 4096)
	n, err := conn.Read(answer)
	require.NoError(t, err)
	require.Contains(t, string(answer[:n]), "100 Continue", "it is at the body")
	require.NoError(t, server.Process.Signal(syscall.SIGTERM))
	send(body)
	n, err = conn.Read(answer)
	require.NoError(t, err)
	require.Regexp(t, `^HTTP/1\.1 (200|503) `, string(answer[:n]), "answered, or told to come again")
	require.NoError(t, server.Wait())
}
