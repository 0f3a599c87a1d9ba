package docstest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/internal/brokertest"
	"github.com/micromessaging/jsonrpc2/internal/servicetest"
	"github.com/micromessaging/jsonrpc2/redisconn"
)

// aclLines returns the page's commands that make users of Redis.
func aclLines(t *testing.T) (lines []string) {
	t.Helper()
	for _, block := range fencedBlocks(t, operationsPage, "redis") {
		lines = append(lines, strings.Split(strings.TrimSpace(block), "\n")...)
	}
	return lines
}

// redisUser returns a client of one of the page's users, without some of its rights.
func redisUser(t *testing.T, broker *brokertest.Redis, user string, without ...string) *redis.Client {
	t.Helper()
	admin, made := broker.Client(t), false
	for _, line := range aclLines(t) {
		words := slices.DeleteFunc(strings.Fields(line), func(word string) bool { return slices.Contains(without, word) })
		if words[2] == user {
			runRedis(t, admin, "ACL", "DELUSER", user)
			require.Equal(t, "OK", runRedis(t, admin, words...))
			made = true
		}
	}
	require.True(t, made, user)
	rdb := redis.NewClient(&redis.Options{Addr: broker.Addr, Username: user, Password: "secret"})
	t.Cleanup(func() { _ = rdb.Close() })
	return rdb
}

// Clients and servers work as the page's users, and log nothing. That each right is needed
// is a test of redisconn, which compares the page's with its own.
func TestRedisUsersInPage(t *testing.T) {
	t.Parallel()
	for user, guarantee := range map[string]jsonrpc2.Guarantee{
		"calc-server":               jsonrpc2.AtMostOnce,
		"calc-server-at-least-once": jsonrpc2.AtLeastOnce,
	} {
		t.Run(user, func(t *testing.T) {
			t.Parallel()
			broker := brokertest.StartRedis(t)
			var log servicetest.LogBook
			w := servicetest.Serve(t, servicetest.Must(redisconn.Listen(redisUser(t, broker, user), "calc",
				&redisconn.ListenOptions{Guarantee: guarantee, Logger: log.Logger()})), quietServer)
			client := jsonrpc2.NewClient(servicetest.Must(redisconn.Dial(redisUser(t, broker, "calc-client"), "calc",
				&redisconn.DialOptions{Logger: log.Logger()})), &jsonrpc2.ClientOptions{Service: "Calc", Logger: log.Logger()})
			servicetest.RequireCalls(t, client, 3)
			require.NoError(t, client.Close())
			w.End(t)
			require.Empty(t, log.String())
		})
	}
}

// An operator looks at the queue and its dead requests as the page's user. Without any one
// of the rights an error names it.
func TestRedisOperatorInPage(t *testing.T) {
	t.Parallel()
	broker := brokertest.StartRedis(t)
	admin := broker.Client(t)
	operate := func(rdb *redis.Client) error {
		runRedis(t, admin, "SCRIPT", "FLUSH")
		bury(t, admin, time.Minute, `{"jsonrpc":"2.0","id":"a","method":"add"}`, `{"jsonrpc":"2.0","id":"b","method":"add"}`)
		_, lookErr := redisconn.Look(t.Context(), rdb, "calc")
		_, serversErr := redisconn.Servers(t.Context(), rdb, "calc")
		dead, err := redisconn.NewDeadList(admin, "calc").List(t.Context(), 2)
		require.NoError(t, err)
		list := redisconn.NewDeadList(rdb, "calc")
		_, listErr := list.List(t.Context(), 2)
		_, requeueErr := list.Requeue(t.Context(), dead[0])
		_, deleteErr := list.Delete(t.Context(), dead[1])
		return errors.Join(lookErr, serversErr, listErr, requeueErr, deleteErr)
	}
	require.NoError(t, operate(redisUser(t, broker, "calc-operator")))
	for _, line := range aclLines(t) {
		words := strings.Fields(line)
		if words[2] != "calc-operator" {
			continue
		}
		for _, right := range words[5:] {
			err := operate(redisUser(t, broker, "calc-operator", right))
			require.Error(t, err, right)
			require.Regexp(t, "NOPERM|can't run this command|refuses TIME", err, right)
		}
	}
}

// bury makes requests dead, as redisconn keeps them.
func bury(t *testing.T, rdb *redis.Client, age time.Duration, requests ...string) {
	t.Helper()
	for _, request := range requests {
		header := fmt.Sprintf(`{"time":%d,"attempts":5,"reason":"it was started 5 times"}`, time.Now().Add(-age).UnixMilli())
		require.NoError(t, rdb.LPush(t.Context(), "{calc}:dead", header+"\n"+request).Err())
	}
}

// With the page's policy a full Redis refuses requests, and keeps those that it has. With
// another one it drops the queue.
func TestEvictionInPage(t *testing.T) {
	t.Parallel()
	const policy = "maxmemory-policy noeviction"
	require.Contains(t, docPage(t, operationsPage), "CONFIG SET "+policy)
	for _, test := range []struct {
		policy string
		keeps  bool
	}{{policy, true}, {"maxmemory-policy allkeys-lru", false}} {
		rdb := brokertest.StartRedis(t).Client(t)
		runRedis(t, rdb, append(strings.Fields("CONFIG SET maxmemory 4mb"), strings.Fields(test.policy)...)...)
		conn := servicetest.Must(redisconn.Dial(rdb, "calc", &redisconn.DialOptions{Logger: servicetest.Quiet}))
		client := jsonrpc2.NewClient(conn, &jsonrpc2.ClientOptions{Logger: servicetest.Quiet})
		var refused error
		sent := 0
		for ; sent < 100 && refused == nil; sent++ {
			refused = jsonrpc2.Notify(t.Context(), client, "Calc.Add", strings.Repeat("x", 100_000))
		}
		if test.keeps {
			require.ErrorIs(t, refused, jsonrpc2.ErrUnavailable)
			require.EqualValues(t, sent-1, rdb.LLen(t.Context(), "calc").Val())
		} else {
			require.NoError(t, refused)
			require.Less(t, rdb.LLen(t.Context(), "calc").Val(), int64(sent))
		}
		require.NoError(t, client.Close())
	}
}
