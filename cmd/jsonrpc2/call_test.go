package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2/internal/brokertest"
	"github.com/micromessaging/jsonrpc2/internal/servicetest"
)

// What each transport has in common: results, errors, notifications, batches.
func TestCall(t *testing.T) {
	t.Parallel()
	eachSite(t, func(t *testing.T, s site) {
		require.Equal(t, "6.1\n", must(t, s.at("call", "add", "[1,5.1]")...))
		require.Equal(t, "6.1\n", must(t, s.at("call", "--service", "Calc", "Calc.Add", `{"a":1,"b":5.1}`)...))
		require.Equal(t, "{\"token\":\"it\"}\n", must(t, s.at("call", "Test.Meta", "-meta", "token=it")...))

		failed := run(t, s.at("call", "Test.Fail")...)
		require.Equal(t, result{"", "error 404: no such··[31maccount\ndata: {\"account\":7}\n", exitFailed}, failed)
		require.Equal(t, result{"", "error -32000: divide by zero\n", exitFailed}, run(t, s.at("call", "Test.Plain")...))
		unknown := run(t, s.at("call", "multiply", "[1,2]")...)
		require.Equal(t, exitFailed, unknown.status)
		require.True(t, strings.HasPrefix(unknown.stderr, "error -32601: "), unknown.stderr)
		require.Empty(t, unknown.stdout)

		require.Equal(t, result{}, run(t, s.at("notify", "Counter.Count")...))
		counted := parsed[int](t, must(t, s.at("call", "Counter.Count")...))
		servicetest.EventuallyEqual(t, true, func() bool {
			calls := len(counted)
			counted = append(counted, parsed[int](t, must(t, s.at("call", "Counter.Count")...))...)
			return counted[calls] == calls+2
		}, "the notification ran once")

		lines := `{"method":"add","params":[1,5.1]}
			{"method":"Test.Fail"}

			{"method":"subtract","params":{"a":1,"b":5}}`
		batch := runWith(t, t.Context(), lines, nil, s.at("call", "--batch", "-")...)
		require.Equal(t, result{`{"result":6.1}
{"error":{"code":404,"message":"no such\n\u001b[31maccount","data":{"account":7}}}
{"result":-4}
`, "jsonrpc2: 1 of 3 calls failed\n", exitFailed}, batch)
	})
}

// With -c 1 calls reach a server that knows no batches, one at a time.
func TestOneAtATime(t *testing.T) {
	t.Parallel()
	var running atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer running.Add(-1) // before the answer leaves
		var request struct{ ID json.RawMessage }
		if running.Add(1) > 1 || json.NewDecoder(r.Body).Decode(&request) != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = fmt.Fprintf(w, `{"jsonrpc":"2.0","id":%s,"result":6.1}`, request.ID)
	}))
	t.Cleanup(server.Close)
	lines := strings.Repeat(`{"method":"add","params":[1,5.1]}`+"\n", 50)
	r := runWith(t, t.Context(), lines, nil, "-b", server.URL, "call", "--batch", "-", "-c", "1")
	require.Equal(t, result{strings.Repeat(`{"result":6.1}`+"\n", 50), "", exitDone}, r)
}

// Params are an operand, a file, or standard input, and flags stand anywhere, with one dash or
// two.
func TestOperands(t *testing.T) {
	t.Parallel()
	s := serveHTTP(t, []any{Test{}})
	file := filepath.Join(t.TempDir(), "params.json")
	require.NoError(t, os.WriteFile(file, []byte("[1,\n 5.1]\n"), 0o600))
	for name, test := range map[string]struct {
		stdin string
		env   []string
		args  []string
		want  string
	}{
		"flags in front":       {args: []string{"-b", s.url, "--timeout", "9s", "call", "add", "[1,5.1]"}, want: "6.1"},
		"flags of the command": {args: []string{"-t", "9s", "-b", s.url, "call", "add", "[1,5.1]"}, want: "6.1"},
		"flags between":        {args: []string{"call", "-b", s.url, "add", "-t", "9s", "[1,5.1]"}, want: "6.1"},
		"flags behind":         {args: []string{"call", "add", "[1,5.1]", "-broker=" + s.url, "-timeout", "9s"}, want: "6.1"},
		"two dashes":           {args: []string{"call", "--broker", s.url, "--", "add", "[1,5.1]"}, want: "6.1"},
		"a variable":           {env: []string{"BROKER_URL=" + s.url, "REDIS_URL=redis://127.0.0.1:1"}, args: []string{"call", "add", "[1,5.1]"}, want: "6.1"},
		"another variable":     {env: []string{"CLOUDAMQP_URL=" + s.url}, args: []string{"call", "add", "[1,5.1]"}, want: "6.1"},
		"no limit":             {args: []string{"-b", s.url, "-t", "0", "call", "add", "[1,5.1]"}, want: "6.1"},
		"a file":               {args: []string{"-b", s.url, "call", "add", "@" + file}, want: "6.1"},
		"standard input":       {stdin: " [1, 5.1]\n", args: []string{"-b", s.url, "call", "add", "-"}, want: "6.1"},
		"negative":             {args: []string{"-b", s.url, "call", "add", "[-1,-5.1]"}, want: "-6.1"},
		"positional":           {args: []string{"-b", s.url, "call", "-positional", "Test.Echo", `{"b":[1, 2],"a":{"b":"x"}}`}, want: `[[1,2],{"b":"x"}]`},
		"large numbers":        {args: []string{"-b", s.url, "call", "Test.Echo", `[9007199254740993,1e400]`}, want: `[9007199254740993,1e400]`},
		"control characters":   {args: []string{"-b", s.url, "call", "Test.Echo", "[\"a\u009b31m\x7f<&>\"]"}, want: `["a\u009b31m\u007f<&>"]`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := runWith(t, t.Context(), test.stdin, test.env, test.args...)
			require.Equal(t, result{test.want + "\n", "", exitDone}, r)
		})
	}
}

// Wrong usage says what is wrong, and that nothing was done.
func TestUsage(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		args string
		want string
	}{
		{"call add", "no broker: set -b or $BROKER_URL"},
		{"call -b redis://localhost", "no method"},
		{"call -b redis://localhost add 1 2", "too many operands"},
		{"call -b redis://localhost add 1", "neither an object nor an array: write '[1]'"},
		{"call -b redis://localhost add {a:1}", "the params are no JSON"},
		{"call -b redis://localhost add @/no/such/file", "no such file"},
		{"call -b localhost:6379 add", "-b is no URL"},
		{"call -b redis://:s3cret%zz@localhost add", "-b is no URL"},
		{"call -b redis://:s3cret@localhost/x add", "bad URL: want redis://[user:password@]host:port[/db]"},
		{"call -b amqp://u:s3cret@localhost:x add", "is no URL"},
		{"call -b amqp://u:s3cret@localhost?heartbeat=x add", "bad URL: want amqp://"},
		{"call -b http://u:s3cret@ add", "no host"},
		{"call -b tcp://u:s3cret@localhost add", "no port"},
		{"call -b unix:// add", "no path"},
		{"call -b nats://u:s3cret@localhost add", "there is nothing for \"nats://\""},
		{"call -b amqp://u:12/s3cret@localhost add", "%2F for a / in a password"},
		{"queue -b amqp://u:12?s3cret@localhost", "%2F for a / in a password"},
		{"queue -b amqp://u:12#s3cret@localhost", "%2F for a / in a password"},
		{"servers -b amqp://u:p@s3cret/s3cret@localhost", "%2F for a / in a password"},
		{"dead list -b amqp://u:/s3cret@localhost", "%2F for a / in a password"},
		{"redis://u:s3cret@localhost call", "there is no command"},
		{"redis://u:s3cret[@localhost call", "there is no command"},
		{`redis://u:s3cret"@localhost call`, "there is no command"},
		{`redis://u:s3cret\@localhost call`, "there is no command"},
		{`call --redis://u:s3cret"x@localhost`, "unknown flag"},
		{`call -b redis://localhost --batch redis://u:s3cret"x@localhost`, "no such file"},
		{"call redis://u:s3cret@localhost -b redis://localhost --batch x", "leave out"},
		{"call -b redis://localhost -t redis://u:s3cret@localhost add", "invalid argument"},
		{"call -b redis://localhost -t -1s add", "--timeout can't be -1s"},
		{"call -b redis://localhost --reply x add", "want list or id"},
		{"call -b redis://localhost -o yaml add", "want text or json"},
		{"call -b redis://localhost --header a:b add", "--header is for http"},
		{"call -b http://localhost/ --header a add", "no colon"},
		{"call -b redis://localhost --meta a add", "has no ="},
		{"call -b redis://localhost --tls-insecure add", "the --tls- flags are for rediss"},
		{"call -b rediss://localhost --tls-key x add", "belong together"},
		{"call -b rediss://localhost --tls-ca /no/such/file add", "no such file"},
		{"call -b redis://localhost --batch /no/such/file", "no such file"},
		{"call -b redis://localhost -c 0 --batch -", "-c can't be 0"},
		{"call -b redis://localhost --nosuch add", "unknown flag: --nosuch"},
		{"bench -b redis://localhost -c 0 add", "-c can't be 0"},
		{"bench -b redis://localhost -n -1 add", "can't be negative"},
		{"queue -b http://localhost/", "http:// has no queues"},
		{"queue -b redis://localhost calc", "takes no operands"},
		{"discover -b redis://localhost calc", "takes no operands"},
		{"discover -b redis://localhost --meta a", "has no ="},
		{"queue -b redis://localhost --watch --every 1ms", "--every can't be 1ms"},
		{"servers -b tcp://localhost:1", "tcp:// has no queues"},
		{"dead lst", "there is no command \"lst\""},
		{"dead list -b redis://localhost -n -1", "-n can't be -1"},
		{"dead show -b redis://localhost", "no ID"},
		{"dead requeue -b redis://localhost", "which:"},
		{"dead requeue -b redis://localhost --all", "requeue asks first, and standard input is no terminal: write --yes"},
		{"dead requeue -b redis://localhost --all --method add", "either"},
		{"dead delete -b redis://localhost id --all", "either"},
		{"dead delete -b redis://localhost id", "delete asks first"},
		{"dead delete -b redis://localhost --older-than -1s -y", "--older-than can't be -1s"},
		{"completion powershell", "there are bash, zsh and fish"},
		{"completion", "which shell"},
		{"cal", "did you mean call?"},
		{"help nosuch", "there is no command \"nosuch\""},
	} {
		r := run(t, strings.Fields(test.args)...)
		require.Equal(t, exitUsage, r.status, "%s: %s", test.args, r.stderr)
		require.Contains(t, r.stderr, test.want, test.args)
		require.Contains(t, r.stderr, " -h shows the usage.\n")
		require.NotContains(t, r.stderr, "jsonrpc2: jsonrpc2:")
		require.Empty(t, r.stdout, test.args)
	}
}

// Where nobody answers nothing has run, and no error shows a password.
func TestUnreachable(t *testing.T) {
	t.Parallel()
	const web = "http://u:s3cret@127.0.0.1:1/calc?token=s3cret"
	brokers := []string{"redis://u:s3cret@127.0.0.1:1", "amqp://u:s3cret@127.0.0.1:1/v"}
	var lines [][]string
	for _, url := range append(brokers, web, "tcp://u:s3cret@127.0.0.1:1", "unix:///no/such/socket") {
		for _, args := range []string{"call add", "notify add", "call --batch -", "bench -n 2 -c 1 add", "discover"} {
			lines = append(lines, append(strings.Fields(args), "-b", url))
		}
	}
	for _, url := range brokers {
		for _, args := range []string{"queue", "queue --watch", "servers", "dead list", "dead show x", "dead requeue x", "dead delete x --yes"} {
			lines = append(lines, append(strings.Fields(args), "-b", url))
		}
	}
	results := make([]result, len(lines))
	var running sync.WaitGroup
	for i, args := range lines { // they wait most of the time
		running.Go(func() { results[i] = runWith(t, t.Context(), `{"method":"add"}`, nil, args...) })
	}
	running.Wait()
	for i, args := range lines {
		r := results[i]
		require.Equal(t, exitNotRun, r.status, "%v: %s", args, r.stderr)
		require.True(t, strings.HasPrefix(r.stderr, "jsonrpc2: "), r.stderr)
		require.NotContains(t, r.stderr, "jsonrpc2: jsonrpc2:")
		require.True(t, args[0] == "bench" || args[1] == "--batch" || r.stdout == "", r.stdout)
	}
}

// A wrong password is told apart from a broker that does not answer, and not shown.
func TestWrongPassword(t *testing.T) {
	t.Parallel()
	onRedis := "redis://u:s3cret@" + brokertest.StartRedis(t).Addr
	onRabbit := "amqp://u:s3cret@" + brokertest.SharedRabbitMQ(t).Addr // which takes 3 s to refuse it
	for _, test := range []struct{ args, url, says string }{
		{"queue", onRedis, "WRONGPASS"}, {"servers", onRedis, "WRONGPASS"}, {"dead list", onRedis, "WRONGPASS"},
		{"queue", onRabbit, "403"}, {"dead list", onRabbit, "403"},
	} {
		t.Run(test.says+" "+test.args, func(t *testing.T) {
			t.Parallel()
			r := run(t, append(strings.Fields(test.args), "-b", test.url)...)
			require.Equal(t, exitNotRun, r.status, r.stderr)
			require.Contains(t, r.stderr, test.says)
		})
	}
}

// The exit status tells whether a call may have run.
func TestCallsThatEndEarly(t *testing.T) {
	t.Parallel()
	eachSite(t, func(t *testing.T, s site) {
		r := run(t, s.at("call", "-t", "5s", "Slow.Wait", "[1]")...) // in which it begins
		require.Equal(t, exitMayHaveRun, r.status, r.stderr)
		require.True(t, strings.HasPrefix(r.stderr, "jsonrpc2: call timed out after 5s"), r.stderr)

		lines := `{"method":"Slow.Wait","params":[1]}` + "\n[]\n"
		batch := runWith(t, t.Context(), lines, nil, s.at("call", "--batch", "-", "-t", "5s")...)
		require.Equal(t, exitMayHaveRun, batch.status, "the worst of its lines")
		answers := parsed[batchAnswer](t, batch.stdout)
		require.Len(t, answers, 2)
		require.True(t, answers[0].MayHaveRun)
		require.True(t, strings.HasPrefix(answers[0].Failed, "call timed out after 5s"), answers[0].Failed)
		require.Equal(t, batchAnswer{Failed: `line 2: no call: write it like {"method":"add","params":[1,5.1]}`}, answers[1])

		ctx, cancel := context.WithCancel(t.Context())
		interrupted := make(chan result, 1)
		go func() { interrupted <- runWith(t, ctx, "", nil, s.at("call", "Slow.Wait", "[3]")...) }()
		s.slow.RequireRunning(t, 3)
		cancel()
		r = awaited(t, interrupted)
		require.Equal(t, exitMayHaveRun, r.status, r.stderr)
		require.Contains(t, r.stderr, "canceled")
	})
}

// A request that waited in vain is withdrawn, and has certainly not run.
func TestWithdrawn(t *testing.T) {
	t.Parallel()
	s, rdb := newRedis(t)
	r := run(t, s.at("call", "-t", "5s", "add", "[1,5.1]")...)
	require.Equal(t, exitNotRun, r.status, r.stderr)
	require.Contains(t, r.stderr, "not run")
	require.Zero(t, rdb.LLen(t.Context(), queue).Val())

	r = run(t, site{url: brokertest.SharedRabbitMQ(t).URL(), queue: "there is no such queue"}.at("call", "add")...)
	require.Equal(t, exitNotRun, r.status, r.stderr)
	require.Contains(t, r.stderr, "no server")
}

// Ctrl-C ends what waits for standard input: nothing has run.
func TestInterruptedInput(t *testing.T) {
	t.Parallel()
	s := serveHTTP(t, nil)
	for _, args := range [][]string{s.at("call", "add", "-"), s.at("call", "--batch", "-")} {
		stdin, typed := io.Pipe()
		ctx, cancel := context.WithCancel(t.Context())
		var stdout, stderr buffer
		status := make(chan int, 1)
		go func() { status <- newApp(stdin, &stdout, &stderr, environment()).run(ctx, args) }()
		if args[len(args)-2] == "--batch" {
			_, err := typed.Write([]byte(`{"method":"add","params":[1,5.1]}` + "\n"))
			require.NoError(t, err)
			stdout.requireSoon(t, `{"result":6.1}`)
		}
		cancel()
		require.Equal(t, exitNotRun, awaited(t, status))
		require.NoError(t, typed.Close())
		require.Contains(t, stderr.String(), "canceled")
	}
}
