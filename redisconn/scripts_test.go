package redisconn_test

import (
	"context"
	"crypto/sha1"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2/internal/brokertest"
	"github.com/micromessaging/jsonrpc2/internal/servicetest"
)

// A scriptLog tells which scripts a Redis has run, by its own slow log.
type scriptLog struct {
	rdb   *redis.Client
	names map[string]string // by what Redis knows them by
}

// logScripts makes a Redis log the commands of all clients, except one of the test's own.
func logScripts(t *testing.T, broker *brokertest.Redis) scriptLog {
	t.Helper()
	l := scriptLog{rdb: broker.Client(t), names: make(map[string]string)}
	files, err := filepath.Glob("internal/hold/lua/*.lua")
	require.NoError(t, err)
	for _, file := range files {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		sum := sha1.Sum(text)
		sha, name := hex.EncodeToString(sum[:]), strings.TrimSuffix(filepath.Base(file), ".lua")
		l.names[sha], l.names[string(text[:min(128, len(text))])] = name, name
	}
	require.NoError(t, l.rdb.ConfigSet(t.Context(), "slowlog-max-len", "100000").Err())
	require.NoError(t, l.rdb.ConfigSet(t.Context(), "slowlog-log-slower-than", "0").Err())
	return l
}

// nameOf returns the name of the script that a command runs, "" if it runs none.
func (l scriptLog) nameOf(args []string) string {
	if len(args) < 2 {
		return ""
	}
	switch strings.ToLower(args[0]) {
	case "evalsha":
		return l.names[args[1]]
	case "eval":
		for start, name := range l.names {
			if strings.HasPrefix(args[1], start[:min(len(start), 100)]) {
				return name
			}
		}
	}
	return ""
}

// A logged is a command that was logged.
type logged struct {
	took time.Duration
	args []string
}

// read returns the commands that were logged, and forgets them.
func (l scriptLog) read(t *testing.T) (commands []logged) {
	t.Helper()
	entries, err := l.rdb.Do(t.Context(), "slowlog", "get", -1).Slice()
	require.NoError(t, err)
	require.NoError(t, l.rdb.Do(t.Context(), "slowlog", "reset").Err())
	for _, entry := range entries { // not by SlowLogGet, to which a command without arguments is an error
		values := entry.([]any)
		var args []string
		for _, arg := range values[3].([]any) {
			args = append(args, arg.(string))
		}
		commands = append(commands, logged{time.Duration(values[2].(int64)) * time.Microsecond, args})
	}
	return commands
}

// hostile are bodies of 4 MiB that are hard to parse, to match or to encode.
func hostile() map[string]string {
	const size = 4 << 20
	fill := func(text string) string { return strings.Repeat(text, size/len(text)) }
	return map[string]string{
		"blanks":    fill(" "),
		"attempts":  fill(`{"attempt":`),
		"controls":  fill("\x00\x01\x1f"),
		"backslash": fill(`\"`),
		"a request": `{"jsonrpc":"2.0","id":"1","method":"m","params":["` + fill("x") + `"]}`,
	}
}

// How long a script takes does not depend on what is in a request, and only a little on its
// length. Formerly blanks in front of a request froze Redis: 20,000 of them for seconds, and here
// are millions. The times are those that Redis tells. An idle machine takes less than 50 ms; others
// use this one, so that it has a second, and the best of some rounds counts.
func TestScriptsAreShort(t *testing.T) {
	if testing.Short() {
		t.Skip("it moves some hundred megabytes")
	}
	const rounds, limit = 5, time.Second
	broker := brokertest.StartRedis(t)
	longest := make(map[string]time.Duration) // of all bodies
	for kind, body := range hostile() {
		best := runAllScripts(t, broker, body)
		isLong := func(script string) bool { return best[script] > limit }
		for round := 1; round < rounds && slices.ContainsFunc(holdScripts, isLong); round++ {
			for script, took := range runAllScripts(t, broker, body) {
				best[script] = min(best[script], took)
			}
		}
		for _, script := range holdScripts {
			require.NotZero(t, best[script], "%s: %s", kind, script)
			require.LessOrEqual(t, best[script], limit, "%s: %s", kind, script)
			longest[script] = max(longest[script], best[script])
		}
	}
	for _, script := range holdScripts {
		t.Logf("longest run of %-8s with 4 MiB: %v", script, longest[script])
	}
}

// holdScripts are those that are run where there is one node.
var holdScripts = []string{"join", "take", "begin", "settle", "release", "beat", "reap", "leave"}

// runAllScripts pushes requests of one body, which are taken, taken over, begun, given back, and
// answered with that body. It returns the longest time that each script took.
func runAllScripts(t *testing.T, broker *brokertest.Redis, body string) map[string]time.Duration {
	rdb := broker.Client(t)
	scripts := logScripts(t, broker)
	opts := leased()
	opts.MaxAttempts = 2
	push(t, rdb, body, body)

	first := listenDying(t, broker, opts) // all are held, and begun once
	for range 2 {
		first.read(t)
	}
	first.die(t)
	second := listenDying(t, broker, opts) // a suspect is begun a second time
	second.read(t)
	second.die(t)

	third := opened(t, mustListen(t, rdb, queue, opts)) // one is dead, the others are given back
	for third.Stats().Dead == 0 || third.Stats().Requests == 0 {
		_, err := third.ReadRequest(t.Context())
		require.NoError(t, err)
	}
	require.NoError(t, third.Close())

	push(t, rdb, body, body)
	fourth := opened(t, mustListen(t, rdb, queue, opts))
	_, err := fourth.ReadRequest(t.Context())
	require.NoError(t, err)
	servicetest.Eventually(t, func() bool { return fourth.Stats().Requests > 1 }) // one is not read
	require.NoError(t, fourth.Close())
	require.NotZero(t, fourth.Stats().GivenBack)

	require.NoError(t, rdb.FlushAll(t.Context()).Err())
	fifth := opened(t, mustListen(t, rdb, queue, opts))
	push(t, rdb, add("there"))
	d, err := fifth.ReadRequest(t.Context())
	require.NoError(t, err)
	require.NoError(t, d.Reply([]byte(body)))
	require.NoError(t, fifth.Close())
	require.EqualValues(t, 1, fifth.Stats().Replies)
	require.NoError(t, rdb.FlushAll(t.Context()).Err())
	longest := make(map[string]time.Duration)
	for _, entry := range scripts.read(t) {
		if name := scripts.nameOf(entry.args); name != "" {
			longest[name] = max(longest[name], entry.took)
		}
	}
	return longest
}

// A script that arrives late, by a connection that was given up, does nothing any more. Formerly
// a late take gave other requests the names of those that ran: when these were answered, the
// others were settled and never ran.
func TestLateCommands(t *testing.T) {
	t.Parallel()
	broker := brokertest.StartRedis(t)
	rdb := broker.Client(t)
	scripts := logScripts(t, broker)
	slow := servicetest.NewSlow()
	opts := leased()
	opts.Lease = 2 * time.Second
	w := serve(t, broker.Client(t), opts, slow)
	var late [][]any
	ran := int64(0)
	for round := range 10 {
		n := 1 + rand.N(9) // Redis' log has 31 arguments, as a settle for all of them has
		push(t, rdb, waits(n, "there")...)
		slow.RequireRunning(t, int64(n))
		for _, entry := range scripts.read(t) {
			if name := scripts.nameOf(entry.args); name != "" && entry.args[0] == "evalsha" {
				late = append(late, commandOf(entry.args))
			}
		}
		push(t, rdb, waits(3, "there")...) // what a late take may find
		require.NoError(t, sendLate(t.Context(), rdb, late))
		for range n + 3 {
			slow.Gate <- struct{}{}
		}
		for range n + 3 {
			require.Contains(t, pop(t, rdb, "there"), `"result"`, "round %d", round)
		}
		ran += int64(n) + 3
	}
	require.Equal(t, ran, slow.Ran.Load())
	require.Zero(t, rdb.LLen(t.Context(), "there").Val())
	w.End(t)
	require.Zero(t, w.conn.Stats().LeaseLost+w.conn.Stats().TakenOver)
	t.Logf("late commands: %d", len(late))
}

func commandOf(args []string) []any {
	command := make([]any, len(args))
	for i, arg := range args {
		command[i] = arg
	}
	return command
}

// sendLate sends commands again, in any order.
func sendLate(ctx context.Context, rdb *redis.Client, commands [][]any) error {
	for _, i := range rand.Perm(len(commands)) {
		if err := rdb.Do(ctx, commands[i]...).Err(); err != nil {
			return fmt.Errorf("%v: %w", commands[i], err)
		}
	}
	return nil
}
