package main

import (
	"runtime"
	"runtime/debug"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2/internal/brokertest"
)

// Keeps help from being an error, as it once was behind a command.
func TestHelp(t *testing.T) {
	for _, test := range []struct {
		args       []string
		begins     string
		has, lacks string
	}{
		{[]string{"-h"}, "usage: calc  ", "calc subtract [flags] A B", "such as: "},
		{[]string{"-help"}, "usage: calc  ", "-reply id", "such as: "},
		{[]string{"--help"}, "usage: calc  ", "-broker URL", "such as: "},
		{[]string{"help"}, "usage: calc  ", "calc version", "such as: "},
		{[]string{"help", "add"}, "usage: calc add [flags] A B ", "such as: calc add 1 5.1", "subtract"},
		{[]string{"add", "-h"}, "usage: calc add [flags] A B ", "-reply id", "subtract"},
		{[]string{"add", "1", "--help", "x"}, "usage: calc add [flags] A B ", "-timeout D", "subtract"},
		{[]string{"-h", "serve"}, "usage: calc serve [flags] ", "such as: calc serve -broker redis://", "-reply"},
		{[]string{"serve", "-h"}, "usage: calc serve [flags] ", "-queue NAME", "-timeout"},
		{[]string{"version", "-h"}, "usage: calc version ", "print the version", "flags"},
	} {
		got := output(t, command(test.args...))
		require.Zero(t, got.code, test.args)
		require.Empty(t, got.stderr, test.args)
		require.True(t, strings.HasPrefix(got.stdout, test.begins), "%v: %s", test.args, got.stdout)
		require.Contains(t, got.stdout, test.has, test.args)
		require.NotContains(t, got.stdout, test.lacks, test.args)
	}
}

func TestVersion(t *testing.T) {
	for _, arg := range []string{"version", "-version", "--version"} {
		got := output(t, command(arg))
		require.Zero(t, got.code)
		require.Empty(t, got.stderr)
		require.Regexp(t, `^calc \S+ `+runtime.Version()+"\n$", got.stdout)
	}
}

func TestVersionOf(t *testing.T) {
	const revision = "0123456789abcdef0123456789abcdef01234567"
	for _, test := range []struct{ version, revision, modified, want string }{
		{"", "", "", "(devel)"},
		{"(devel)", "", "", "(devel)"},
		{"v1.2.3", "", "", "v1.2.3"},
		{"v0.0.0-20260102030405-0123456789ab", revision, "false", "0123456789ab"},
		{"(devel)", revision, "true", "0123456789ab-dirty"},
		{"(devel)", "17", "", "17"},
	} {
		info := &debug.BuildInfo{
			Main: debug.Module{Version: test.version},
			Settings: []debug.BuildSetting{
				{Key: "vcs.modified", Value: test.modified},
				{Key: "vcs.revision", Value: test.revision},
			},
		}
		require.Equal(t, test.want, versionOf(info))
	}
}

// Keeps flags behind operands from being refused.
func TestFlagsStandAnywhere(t *testing.T) {
	redis := brokertest.StartRedis(t)
	server := startServing(t, "-broker", redis.URL(), "-queue", "q")
	for _, test := range []struct {
		args []string // $ stands for the URL
		want string
	}{
		{[]string{"-queue", "q", "-broker", "$", "1", "5.1"}, "6.1"},
		{[]string{"1", "5.1", "-broker", "$", "-queue", "q"}, "6.1"},
		{[]string{"1", "-broker", "$", "5.1", "-queue=q"}, "6.1"},
		{[]string{"--queue=q", "1", "--broker", "$", "5.1"}, "6.1"},
		{[]string{"-1", "-5.1", "-broker", "$", "-queue", "q"}, "-6.1"},
		{[]string{"-broker", "$", "-queue", "q", "--", "-1", "2"}, "1"},
		{[]string{"-queue", "q", "-1e3", "-broker", "$", "-.5"}, "-1000.5"},
		{[]string{"-0x1p4", "-broker", "$", "+2", "-queue", "q"}, "-14"},
		{[]string{"-queue", "-5", "-broker", "$", "1", "2", "-queue", "q"}, "3"},
	} {
		args := append([]string{"add"}, test.args...)
		for i, arg := range args {
			args[i] = strings.Replace(arg, "$", redis.URL(), 1)
		}
		require.Equal(t, result{stdout: test.want + "\n"}, output(t, command(args...)), test.args)
	}
	got := output(t, command("add", "-Inf", "-broker", redis.URL(), "1"))
	require.Equal(t, 2, got.code, "a number, yet none of JSON's")
	require.Contains(t, got.stderr, `"-Inf" is not a number`)
	require.NoError(t, server.Process.Signal(syscall.SIGTERM))
	require.NoError(t, server.Wait())
}

func TestUsage(t *testing.T) {
	for _, test := range []struct {
		name string
		args []string
		env  []string
		want string
	}{
		{"no such command", []string{"multiply", "1", "2"}, nil, `no command "multiply"`},
		{"one operand", []string{"add", "1"}, nil, "two numbers"},
		{"no number", []string{"add", "1", "x"}, nil, `"x" is not a number`},
		{"no broker", []string{"add", "1", "2"}, nil, "no broker"},
		{"too many operands", []string{"add", "-broker", "redis://h", "1", "2", "3"}, nil, "calc add wants two numbers, such as: calc add 1 5.1"},
		{"no operand", []string{"subtract"}, nil, "calc subtract wants two numbers, such as: calc subtract 1 5.1"},
		{"negative and no number", []string{"add", "1", "-2x"}, nil, `"-2x" is not a number`},
		{"too large", []string{"add", "1", "1e999"}, nil, `"1e999" is too large`},
		{"operand of serve", []string{"serve", "redis://user:secret@h"}, nil, "calc serve takes no operands: write calc serve -broker redis://"},
		{"URL for a number", []string{"add", "1", "redis://user:secret@h"}, nil, `"…" is not a number`},
		{"URL for a command", []string{"redis://user:secret@h"}, nil, `no command "…": there are serve, add`},
		{"flag for a command", []string{"-broker", "redis://user:secret@h"}, nil, "a command comes first, such as: calc serve -broker redis://"},
		{"help of no command", []string{"help", "multiply"}, nil, `no command "multiply"`},
		{"operand of version", []string{"version", "1"}, nil, "calc version takes no operands"},
		{"no such flag", []string{"serve", "-x"}, nil, `calc serve has no flag "-x": it has -at-least-once, -broker, -durable, -lease, -prefetch, -queue, -quorum`},
		{"flag of another command", []string{"serve", "-timeout", "1s"}, nil, `no flag "-timeout"`},
		{"three dashes", []string{"serve", "---broker=redis://user:secret@h"}, nil, `no flag "--broker"`},
		{"no value", []string{"add", "1", "2", "-broker"}, nil, "-broker has no value: write -broker redis://localhost:6379"},
		{"no duration", []string{"add", "-timeout", "x", "1", "2"}, nil, `-timeout can't be "x": write -timeout 30s`},
		{"duration without a unit", []string{"add", "1", "2", "-timeout=30"}, nil, `-timeout can't be "30": write -timeout 30s`},
		{"no time", []string{"add", "1", "2", "-timeout", "-1s"}, nil, `-timeout can't be "-1s"`},
		{"reply", []string{"add", "-broker", "redis://h", "-reply", "x", "1", "2"}, nil, "-reply is list or id"},
		{"queue", []string{"add", "-broker", "redis://h", "-queue", "", "1", "2"}, nil, "queue has no name"},
		{"no prefetch", []string{"serve", "-prefetch", "0"}, nil, `-prefetch can't be "0": write -prefetch 64`},
		{"short lease", []string{"serve", "-lease", "99ms"}, nil, `-lease can't be "99ms": write -lease 30s`},
		{"lease alone", []string{"serve", "-broker", "redis://h", "-lease", "1s"}, nil, "-lease is for Redis and -at-least-once"},
		{"lease of RabbitMQ", []string{"serve", "-broker", "amqp://h", "-at-least-once", "-lease", "1s"}, nil, "-lease is for Redis and -at-least-once"},
		{"at least once over HTTP", []string{"serve", "-broker", "http://h", "-at-least-once"}, nil, "HTTP has none"},
		{"at least once over TCP", []string{"serve", "-broker", "tcp://h:1", "-at-least-once"}, nil, "TCP has none"},
		{"prefetch of TCP", []string{"serve", "-broker", "tcp://h:1", "-prefetch", "1"}, nil, "-prefetch is for brokers, with TCP no calls wait"},
		{"lease of TCP", []string{"serve", "-broker", "tcp://h:1", "-lease", "1s"}, nil, "-lease is for Redis and -at-least-once"},
		{"durable Unix socket", []string{"serve", "-broker", "unix:///s", "-durable"}, nil, "-durable and -quorum are for RabbitMQ"},
		{"queue of TCP", []string{"add", "-broker", "tcp://h:1", "-queue", "q", "1", "2"}, nil, "-queue is for brokers, with TCP the address stands for it"},
		{"queue of a Unix socket", []string{"serve", "-broker", "unix:///s", "-queue", "q"}, nil, "-queue is for brokers, with Unix the address"},
		{"reply of TCP", []string{"add", "-broker", "tcp://h:1", "-reply", "id", "1", "2"}, nil, "-reply id is for brokers, with TCP answers come back"},
		{"TCP without a port", []string{"serve", "-broker", "tcp://h"}, nil, "bad TCP URL: want tcp://host:port"},
		{"TCP with a path", []string{"add", "-broker", "tcp://h:1/secret", "1", "2"}, nil, "bad TCP URL: want tcp://host:port"},
		{"TCP with a password", []string{"add", "-broker", "tcp://user:secret@h:1", "1", "2"}, nil, "bad TCP URL: want tcp://host:port"},
		{"TCP with a query", []string{"serve", "-broker", "tcp://h:1?secret"}, nil, "bad TCP URL: want tcp://host:port"},
		{"Unix with a host", []string{"serve", "-broker", "unix://run/secret"}, nil, "bad Unix URL: want unix:///path/to.sock"},
		{"Unix without a path", []string{"add", "-broker", "unix:///", "1", "2"}, nil, "bad Unix URL: want unix:///path/to.sock"},
		{"prefetch of HTTP", []string{"serve", "-broker", "http://h", "-prefetch", "1"}, nil, "-prefetch is for brokers"},
		{"unknown scheme", []string{"serve", "-broker", "kafka://user:secret@h"}, nil, "redis://, rediss://, amqp://, amqps://, http://, https://, tcp:// and unix://"},
		{"broken URL", []string{"serve", "-broker", "redis://user:secret@h:port"}, nil, "can't be parsed"},
		{"bad database", []string{"serve"}, []string{"REDIS_URL=redis://user:secret@h/secret"}, "bad Redis URL"},
		{"blank in the host", []string{"serve"}, []string{"CLOUDAMQP_URL=amqp://user:secret@h%20h"}, "can't be parsed"},
		{"bad heartbeat", []string{"add", "1", "2"}, []string{"CLOUDAMQP_URL=amqps://user:secret@h?heartbeat=x"}, "bad RabbitMQ URL: want amqps://"},
		{"later variable", []string{"serve"}, []string{"CLOUDAMQP_URL=amqp://h", "REDIS_URL=redis://user:secret@h/secret"}, "bad Redis URL"},
	} {
		t.Run(test.name, func(t *testing.T) {
			cmd := command(test.args...)
			cmd.Env = append(cmd.Env, test.env...)
			got := output(t, cmd)
			require.Equal(t, 2, got.code)
			require.Empty(t, got.stdout)
			require.Contains(t, got.stderr, test.want)
			require.Contains(t, got.stderr, "\ncalc -h ")
			require.Equal(t, 2, strings.Count(got.stderr, "\n"), got.stderr)
			require.NotContains(t, got.stderr, "secret")
		})
	}
}

// An address without a scheme is answered with the URL to write. One that may
// hold a password is not repeated.
func TestWhatToWriteForABroker(t *testing.T) {
	const example = "the URL can't be parsed: write it like redis://user:password@host:6379"
	for _, test := range []struct{ broker, want string }{
		{"127.0.0.1:6379", `"127.0.0.1:6379" is no URL: write redis://127.0.0.1:6379` + "\n"},
		{"localhost:6379", "write redis://localhost:6379\n"},
		{":6379", "write redis://localhost:6379\n"},
		{"//h:6379/1", "write redis://h:6379/1\n"},
		{"[::1]:6379", "write redis://[::1]:6379\n"},
		{"127.0.0.1:5672", "write amqp://127.0.0.1:5672\n"},
		{"h:5671/vhost", "write amqps://h:5671/vhost\n"},
		{"localhost", "write redis://localhost for Redis, amqp://localhost for RabbitMQ or http://localhost for HTTP\n"},
		{"127.0.0.1:7000", "write redis://127.0.0.1:7000 for Redis, amqp://127.0.0.1:7000 for RabbitMQ, http://127.0.0.1:7000 for HTTP or tcp://127.0.0.1:7000 for TCP\n"},
		{"h:7000/x", "write redis://h:7000/x for Redis, amqp://h:7000/x for RabbitMQ or http://h:7000/x for HTTP\n"},
		{"tcp:localhost:7000", "bad TCP URL: write tcp://localhost:7000\n"},
		{"tcp::7000", "bad TCP URL: write tcp://localhost:7000\n"},
		{"/run/calc.sock", "write unix:///run/calc.sock\n"},
		{"unix:/run/calc.sock", "bad Unix URL: write unix:///run/calc.sock\n"},
		{"unix:run/calc.sock", "bad Unix URL: write unix:///run/calc.sock\n"},

		{"redis:localhost", "bad Redis URL: write redis://localhost\n"},
		{"rediss:/h:1", "bad Redis URL: write rediss://h:1\n"},
		{"redis:6379", "write redis://redis:6379\n"},
		{"amqp:localhost:5672/v", "bad RabbitMQ URL: write amqp://localhost:5672/v\n"},
		{"http:localhost/calc", "bad HTTP URL: write http://localhost/calc\n"},
		{"user:secret@h:6379", example},
		{"secret@h", example},
		{"h:6379?secret", example},
		{"user:secret", example},
		{"redis://user:sec/ret@h", example},
		{"redis:user:secret@h", "bad Redis URL: want redis://[user:password@]host:port[/db]\n"},
		{"::1", example},
		{"a b", example},
	} {
		for _, args := range [][]string{{"serve"}, {"add", "1", "2"}} {
			cmd := command(args...)
			cmd.Env = append(cmd.Env, "REDIS_URL="+test.broker)
			got := output(t, cmd)
			require.Equal(t, 2, got.code, test.broker)
			require.True(t, strings.HasPrefix(got.stderr, "calc: $REDIS_URL: "), got.stderr)
			require.Contains(t, got.stderr, test.want, test.broker)
			require.NotContains(t, got.stderr, "sec", test.broker)
			cmd = command(append(args, "-broker", test.broker)...)
			require.Equal(t, strings.Replace(got.stderr, "$REDIS_URL", "-broker", 1), output(t, cmd).stderr)
		}
	}
}
