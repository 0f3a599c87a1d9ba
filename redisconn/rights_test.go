package redisconn_test

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/calc"
	"github.com/micromessaging/jsonrpc2/internal/brokertest"
	"github.com/micromessaging/jsonrpc2/internal/servicetest"
	"github.com/micromessaging/jsonrpc2/redisconn"
)

// The rights that each end needs, as the package's documentation has them.
const (
	clientRights = "~calc ~jsonrpc2:reply:* +lpush +llen +lrem +blmpop +rpush +pexpire +del +time"
	serverRights = "~calc ~{calc}:* ~jsonrpc2:reply:* +blmpop +rpush +pexpire +del +time " +
		"+evalsha +eval +pttl +lrem +llen +lrange +persist"
	atLeastOnceRights = "~calc ~{calc}:* ~jsonrpc2:reply:* +blmove +rpush +pexpire +del +time " +
		"+evalsha +eval +pttl +lrem +llen +lrange +persist +client|id +client|unblock +rpop +lpush " +
		"+lpop +hset +hget +hmget +hdel +hexists +hlen +hgetall +hkeys +memory|usage"
)

// What a user needs besides the rights above.
const (
	announceRights = "+zadd +zrem +zremrangebyscore"        // to announce a server
	lookRights     = "~{calc}:servers +zcount"              // to require one, and to count them in the text of a timeout
	listRights     = "~{calc}:servers +zrangebyscore +time" // to list them
)

// stateRights are those of a Look.
const stateRights = "~calc ~{calc}:* +time +llen +lindex +hkeys +zcount"

// deadRights are those of a program that uses a DeadList.
const deadRights = "~calc ~{calc}:dead +llen +lrange +lrem +lpush +evalsha +eval"

func TestRightsAreDocumented(t *testing.T) {
	source, err := os.ReadFile("doc.go")
	require.NoError(t, err)
	doc := strings.Join(strings.Fields(strings.ReplaceAll(string(source), "//", " ")), " ")
	for _, rights := range []string{clientRights, serverRights, atLeastOnceRights, announceRights, lookRights, listRights, stateRights, deadRights} {
		require.Contains(t, doc, rights)
	}
}

// The users that docs/operations.md makes have the rights that the tests here find to be needed.
func TestRightsOfOperationsPage(t *testing.T) {
	page, err := os.ReadFile("../docs/operations.md")
	require.NoError(t, err)
	for user, rights := range map[string]string{
		"calc-client":               clientRights,
		"calc-server":               serverRights + " " + announceRights,
		"calc-server-at-least-once": atLeastOnceRights + " " + announceRights,
	} {
		require.Contains(t, string(page), "\nACL SETUSER "+user+" on >secret "+rights+"\n")
	}
}

// A userClient is a client of a user with some rights and no others.
func userClient(t *testing.T, broker *brokertest.Redis, user string, rights ...string) *redis.Client {
	t.Helper()
	admin := broker.Client(t)
	require.NoError(t, admin.ACLSetUser(t.Context(), user, append([]string{"on", ">secret"}, rights...)...).Err())
	rdb := redis.NewClient(&redis.Options{Addr: broker.Addr, Username: user, Password: "secret"})
	t.Cleanup(func() { _ = rdb.Close() })
	return rdb
}

// A rightsRun is what both ends say while they do all that they can do.
type rightsRun struct {
	works bool
	said  string
}

// runWithRights makes calls that are answered, given up, withdrawn and given back.
func runWithRights(t *testing.T, client, server []string, atLeastOnce bool) (run rightsRun) {
	broker := brokertest.StartRedis(t)
	var log servicetest.LogBook
	slow := servicetest.NewSlow()
	opts := &redisconn.ListenOptions{Guarantee: guarantee(atLeastOnce), ReplyTTL: 4 * time.Second, Logger: log.Logger()}
	serverRDB, clientRDB := userClient(t, broker, "server", server...), userClient(t, broker, "client", client...)
	conn := mustDial(t, clientRDB, queue, &redisconn.DialOptions{Logger: log.Logger()})
	rpcClient := jsonrpc2.NewClient(conn, &jsonrpc2.ClientOptions{Service: "Calc", Logger: log.Logger()})
	call := func() error {
		ctx, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond)
		defer cancel()
		_, err := jsonrpc2.Call[float64](ctx, rpcClient, "Calc.Add", calc.Args{A: 1, B: 5.1})
		return err
	}
	withdrawn := call() // there is no server yet
	for range 3 {
		if !strings.Contains(withdrawn.Error(), "can't be asked;") {
			break
		}
		withdrawn = call() // there was no time to ask
	}
	w := serveWith(t, serverRDB, opts, &jsonrpc2.ServerOptions{Logger: log.Logger()}, slow)
	var err error
	for range 4 { // until substitutes are found
		if err = call(); err == nil {
			break
		}
	}
	w.Drain()
	select {
	case <-w.Done:
	case <-time.After(servicetest.Soon):
		require.Fail(t, "the server does not end")
	}
	require.NoError(t, rpcClient.Close())
	serveErr := w.Err
	w.Err = nil // for the cleanup
	run.works = err == nil && errors.Is(withdrawn, jsonrpc2.ErrNotRun)
	for _, err := range []error{withdrawn, err, serveErr} {
		if err != nil {
			run.said += err.Error() + "\n"
		}
	}
	run.said += log.String()
	return run
}

// Both ends work with the rights that the documentation names. With one less they
// work by a substitute, or an error or a line in the log names it.
func TestRights(t *testing.T) {
	t.Parallel()
	start, wait := together(t)
	defer wait()
	for _, end := range []struct {
		name, rights string
		atLeastOnce  bool
	}{
		{"client", clientRights, false},
		{"server", serverRights + " " + announceRights, false},
		{"server, at least once", atLeastOnceRights + " " + announceRights, true},
	} {
		rights := strings.Fields(end.rights)
		run := func(t *testing.T, rights []string) rightsRun {
			client, server := strings.Fields(clientRights), strings.Fields(serverRights+" "+announceRights)
			if end.name == "client" {
				client = rights
			} else {
				server = rights
			}
			return runWithRights(t, client, server, end.atLeastOnce)
		}
		start(end.name, func(t *testing.T) {
			got := run(t, rights)
			require.True(t, got.works, got.said)
			require.NotContains(t, got.said, "level=", "nothing is logged")
		})
		for i, right := range rights {
			start(end.name+" without "+right, func(t *testing.T) {
				got := run(t, slices.Delete(slices.Clone(rights), i, i+1))
				if got.works {
					return
				}
				command := strings.TrimLeft(right, "+~")
				if strings.HasPrefix(right, "~") {
					command = "NOPERM"
				}
				require.True(t, strings.Contains(got.said, "'"+command+"'") || strings.Contains(got.said, "can't run this command") ||
					command == "NOPERM" && strings.Contains(got.said, command), got.said)
			})
		}
	}
}

// At least once without the rights to CLIENT serves, and says that a drain takes up
// to a second longer. Formerly it refused to serve and, before that, took nothing for ever.
func TestAtLeastOnceWithoutClientRights(t *testing.T) {
	t.Parallel()
	for _, rule := range []string{"-client|id", "-client|unblock", "-client"} {
		quickest := time.Hour // on a busy machine one drain may take longer
		for try := 0; try < 5 && quickest >= 2*time.Second; try++ {
			quickest = min(quickest, drainWithout(t, rule))
		}
		require.Less(t, quickest, 2*time.Second, rule)
	}
}

// drainWithout returns how long the drain of a server takes whose user lacks a right.
func drainWithout(t *testing.T, rule string) (took time.Duration) {
	broker := brokertest.StartRedis(t)
	rdb := broker.Client(t)
	var log servicetest.LogBook
	opts := leased()
	opts.Logger = log.Logger()
	w := serve(t, restricted(t, broker, rdb, rule), opts)
	for range 3 { // of which the later ones end a move that waits
		push(t, rdb, add("there"))
		require.Equal(t, six, pop(t, rdb, "there"))
	}
	servicetest.Eventually(t, func() bool { return log.Count("level=WARN", "CLIENT ID and CLIENT UNBLOCK", "NOPERM") == 1 }, &log)
	begin := time.Now()
	w.End(t)
	took = time.Since(begin)
	require.Zero(t, log.Count("level=ERROR"), &log)
	requireEmpty(t, rdb)
	return took
}
