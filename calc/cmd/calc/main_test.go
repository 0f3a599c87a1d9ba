package main

import (
	"bufio"
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2/amqpconn"
	"github.com/micromessaging/jsonrpc2/internal/brokertest"
	"github.com/micromessaging/jsonrpc2/internal/rubytest"
)

var program string

func TestMain(m *testing.M) {
	folder, err := os.MkdirTemp("", "calc")
	if err != nil {
		panic(err)
	}
	program = filepath.Join(folder, "calc")
	if out, err := exec.Command("go", "build", "-o", program, ".").CombinedOutput(); err != nil {
		panic(string(out))
	}
	code := brokertest.Main(m).Run()
	_ = os.RemoveAll(folder)
	os.Exit(code)
}

// command runs the program without a broker in its environment.
func command(args ...string) *exec.Cmd {
	cmd := exec.Command(program, args...)
	cmd.Env = []string{"HOME=" + os.Getenv("HOME")}
	return cmd
}

type result struct {
	stdout, stderr string
	code           int
}

func output(t *testing.T, cmd *exec.Cmd) result {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if _, exited := err.(*exec.ExitError); err != nil && !exited {
		require.NoError(t, err)
	}
	return result{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}

// startServing starts calc serve and waits until it is ready.
func startServing(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	cmd, _ := startServingAt(t, args...)
	return cmd
}

// startServingAt is like startServing. It also returns the place that the ready line names.
func startServingAt(t *testing.T, args ...string) (cmd *exec.Cmd, place string) {
	t.Helper()
	cmd = command(append([]string{"serve"}, args...)...)
	stderr, err := cmd.StderrPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		if cmd.ProcessState == nil {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
	})
	lines := bufio.NewScanner(stderr)
	for lines.Scan() {
		if place, ok := strings.CutPrefix(lines.Text(), "calc: ready: serving add and subtract "); ok {
			return cmd, place
		}
	}
	require.Fail(t, "calc serve ended before it was ready")
	return nil, ""
}

func TestDemo(t *testing.T) {
	got := output(t, command())
	require.Zero(t, got.code, got.stderr)
	require.Contains(t, got.stdout, `"method":"add"`)
	require.Contains(t, got.stdout, `"result":6.1`)
	require.Contains(t, got.stdout, "1 + 5.1 = 6.1\n")
}

func TestServeAndCall(t *testing.T) {
	redis := brokertest.StartRedis(t)
	server := startServing(t, "-broker", redis.URL())

	for _, test := range []struct {
		args []string
		want string
	}{
		{[]string{"add", "1", "5.1"}, "6.1\n"},
		{[]string{"subtract", "1", "5"}, "-4\n"},
		{[]string{"add", "-1", "-5.5"}, "-6.5\n"},
		{[]string{"add", "-reply", "id", "-timeout", "10s", "1", "-5"}, "-4\n"},
	} {
		cmd := command(test.args...)
		cmd.Env = append(cmd.Env, "REDIS_URL=redis://nobody:secret@127.0.0.1:1", "BROKER_URL="+redis.URL())
		require.Equal(t, result{stdout: test.want}, output(t, cmd), test.args)
	}
	require.JSONEq(t, `6.1`, resultOf(t, rubytest.Run(t, "redis_client.rb", redis.URL(), "calc", "id", "add", "[1,5.1]")))

	require.NoError(t, server.Process.Signal(syscall.SIGTERM))
	require.NoError(t, server.Wait(), "drained")
	require.Zero(t, redis.Client(t).DBSize(t.Context()).Val())
}

func TestServeAndCallRabbitMQ(t *testing.T) {
	url := brokertest.SharedRabbitMQ(t).URL()
	server := startServing(t, "-broker", url, "-queue", "served")
	for _, args := range [][]string{
		{"add", "-queue", "served", "1", "5.1"},
		{"add", "-queue", "served", "-reply", "id", "1", "5.1"},
	} {
		cmd := command(args...)
		cmd.Env = append(cmd.Env, "CLOUDAMQP_URL="+url)
		require.Equal(t, result{stdout: "6.1\n"}, output(t, cmd), args)
	}
	response := rubytest.Run(t, "amqp_client.rb", url, "served", "reply_to", "add", "[1,5.1]")
	require.JSONEq(t, `6.1`, resultOf(t, response), "it declares the queue plain")

	require.NoError(t, server.Process.Signal(syscall.SIGTERM))
	require.NoError(t, server.Wait(), "drained")
}

// serve creates a missing queue. By default it is plain: scripts in other languages declare it
// so, and fail if it is another. A queue that is there stays as it is.
func TestServeCreatesThePlainQueue(t *testing.T) {
	url := brokertest.SharedRabbitMQ(t).URL()
	declare := func(queue string, durable bool) error {
		conn, err := amqp.Dial(url)
		require.NoError(t, err)
		defer conn.Close()
		ch, err := conn.Channel()
		require.NoError(t, err)
		_, err = ch.QueueDeclare(queue, durable, false, false, false, nil)
		return err
	}
	for _, test := range []struct {
		flag    string
		durable bool
	}{{"", false}, {"-durable", true}, {"-quorum", true}} {
		queue := "created" + test.flag
		args := []string{"-broker", url, "-queue", queue}
		if test.flag != "" {
			args = append(args, test.flag)
		}
		server := startServing(t, args...)
		require.Equal(t, result{stdout: "3\n"}, output(t, command("add", "-broker", url, "-queue", queue, "1", "2")))
		if test.flag != "-quorum" {
			require.NoError(t, declare(queue, test.durable), test.flag)
		}
		require.Error(t, declare(queue, !test.durable), test.flag)
		require.NoError(t, server.Process.Signal(syscall.SIGTERM))
		require.NoError(t, server.Wait())
	}

	require.NoError(t, declare("theirs", false))
	server := startServing(t, "-broker", url, "-queue", "theirs", "-durable")
	require.Equal(t, result{stdout: "3\n"}, output(t, command("add", "-broker", url, "-queue", "theirs", "1", "2")))
	require.NoError(t, declare("theirs", false))
	require.NoError(t, server.Process.Signal(syscall.SIGTERM))
	require.NoError(t, server.Wait())
}

// With -at-least-once, serve keeps each call until it is answered.
func TestServeAtLeastOnce(t *testing.T) {
	redisServer := brokertest.StartRedis(t)
	for _, test := range []struct {
		url   string
		flags []string
	}{
		{redisServer.URL(), []string{"-at-least-once", "-lease", "1s", "-prefetch", "2"}},
		{brokertest.SharedRabbitMQ(t).URL(), []string{"-at-least-once", "-prefetch=2"}},
	} {
		server := startServing(t, append([]string{"-broker", test.url, "-queue", "kept"}, test.flags...)...)
		require.Equal(t, result{stdout: "3\n"}, output(t, command("add", "-broker", test.url, "-queue", "kept", "1", "2")))
		if test.url == redisServer.URL() {
			require.EqualValues(t, 1, redisServer.Client(t).Exists(t.Context(), "{kept}:workers").Val())
		}
		require.NoError(t, server.Process.Signal(syscall.SIGTERM))
		require.NoError(t, server.Wait())
	}
}

// Later versions of RabbitMQ refuse to create plain queues: serve then creates a durable one.
func TestPlainQueueIsRefused(t *testing.T) {
	plain, durable, quorum := amqpconn.Queue{Plain: true}, amqpconn.Queue{}, amqpconn.Queue{Quorum: true}
	deprecated := &amqp.Error{Code: amqp.InternalError, Reason: "INTERNAL_ERROR - Feature is deprecated", Server: true}
	denied := &amqp.Error{Code: amqp.AccessRefused, Reason: "ACCESS_REFUSED", Server: true}
	for name, test := range map[string]struct {
		kind, want amqpconn.Queue
		errs       []error // of each declaration in turn
		says       string
	}{
		"taken":           {plain, plain, []error{nil}, ""},
		"refused":         {plain, durable, []error{deprecated, nil}, "created \"calc\" durable"},
		"both refused":    {plain, plain, []error{deprecated, deprecated}, ""},
		"no right to":     {plain, plain, []error{denied}, ""},
		"no connection":   {plain, plain, []error{io.EOF}, ""},
		"durable wanted":  {durable, durable, nil, ""},
		"a quorum wanted": {quorum, quorum, nil, ""},
	} {
		var stderr strings.Builder
		errs := test.errs
		got := chooseKind(test.kind, "calc", func(amqpconn.Queue) error {
			err := errs[0]
			errs = errs[1:]
			return err
		}, &stderr)
		require.Equal(t, test.want, got, name)
		require.Empty(t, errs, name)
		require.Contains(t, stderr.String(), test.says, name)
		require.Equal(t, test.says == "", stderr.Len() == 0, name)
	}
}

func TestNoServer(t *testing.T) {
	got := output(t, command("add", "-broker", brokertest.SharedRabbitMQ(t).URL(), "-queue", "missing", "1", "2"))
	require.Equal(t, 1, got.code)
	require.Empty(t, got.stdout)
	require.Contains(t, got.stderr, "no server")
}

// The lines about a broker that can't be reached, or that refuses, show no password.
func TestPasswordsAreNotShown(t *testing.T) {
	refusing := strings.Replace(brokertest.SharedRabbitMQ(t).URL(), "guest:guest", "guest:secret", 1)
	for _, url := range []string{refusing, "amqp://user:secret@127.0.0.1:1", "redis://user:secret@127.0.0.1:1"} {
		got := output(t, command("add", "-broker", url, "1", "2"))
		require.Equal(t, 1, got.code)
		require.Contains(t, got.stderr, "not sent")
		require.NotContains(t, got.stderr, "secret")

		stderr := interruptWaiting(t, url)
		require.Contains(t, stderr, ":xxxxx@")
		require.NotContains(t, stderr, "secret")
	}
}

func TestCallTimesOut(t *testing.T) {
	redis := brokertest.StartRedis(t)
	got := output(t, command("add", "-broker", redis.URL(), "-timeout", "100ms", "1", "2"))
	require.Equal(t, 1, got.code)
	require.Empty(t, got.stdout)
	require.Contains(t, got.stderr, "timed out")
}

func TestUnreachableBroker(t *testing.T) {
	redis := brokertest.StartRedis(t)
	redis.Kill()
	got := output(t, command("add", "-broker", redis.URL(), "1", "2"))
	require.Equal(t, 1, got.code)
	require.Empty(t, got.stdout)
	require.Contains(t, got.stderr, "not sent")
}

// An interrupt also ends a server that still waits for its broker.
func TestServeIsStoppedBeforeItBegan(t *testing.T) {
	redis := brokertest.StartRedis(t)
	redis.Kill()
	require.Contains(t, interruptWaiting(t, redis.URL()), redis.URL())
}

// interruptWaiting starts calc serve without a broker, interrupts it while it waits, and
// returns its output.
func interruptWaiting(t *testing.T, url string) (stderr string) {
	t.Helper()
	cmd := command("serve", "-broker", url)
	pipe, err := cmd.StderrPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	ended := time.AfterFunc(time.Minute, func() { _ = cmd.Process.Kill() })
	defer ended.Stop()
	lines := bufio.NewScanner(pipe)
	for lines.Scan() {
		stderr += lines.Text() + "\n"
		if strings.Contains(lines.Text(), "calc: waiting for") {
			break
		}
	}
	require.NoError(t, cmd.Process.Signal(os.Interrupt))
	require.NoError(t, cmd.Wait())
	return stderr
}

// resultOf returns the result in a response.
func resultOf(t *testing.T, response string) string {
	t.Helper()
	_, after, ok := strings.Cut(response, `"result":`)
	require.True(t, ok, response)
	return strings.TrimRight(after[:strings.IndexAny(after, ",}")], " ")
}
