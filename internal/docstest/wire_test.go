package docstest

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2/internal/brokertest"
	"github.com/micromessaging/jsonrpc2/internal/servicetest"
	"github.com/micromessaging/jsonrpc2/redisconn"
)

const wirePage = "wire.md"

// eachSession runs f for each session of a kind.
func eachSession(t *testing.T, kind string, f func(t *testing.T, session string)) {
	for i, session := range fencedBlocks(t, wirePage, kind) {
		t.Run(strconv.Itoa(i+1), func(t *testing.T) {
			t.Parallel()
			f(t, session)
		})
	}
}

// The client of each Redis session gets from our server what the page says.
func TestRedisClientInPage(t *testing.T) {
	t.Parallel()
	eachSession(t, "redis", func(t *testing.T, session string) {
		rdb := brokertest.StartRedis(t).Client(t)
		servicetest.Serve(t, servicetest.Must(redisconn.Listen(rdb, "calc", &redisconn.ListenOptions{Logger: servicetest.Quiet})), quietServer)
		v := newValues(session)
		for _, s := range readSteps(t, session) {
			switch {
			case s.client:
				got := runRedis(t, rdb, v.fillAll(s)...)
				if s.returns != "" {
					v.requireMessage(t, s.returns, got)
				}
			case s.name() == "RPUSH": // our server has done so
				list := v.fill(s.command[1])
				servicetest.Eventually(t, func() bool { return rdb.LLen(t.Context(), list).Val() == 1 })
				v.requireMessage(t, v.fill(s.body), rdb.LIndex(t.Context(), list, 0).Val())
			case s.name() == "EXPIRE":
				requireExpiry(t, rdb, v.fillAll(s))
			}
		}
	})
}

// requireExpiry requires that a list expires, and no later than the page's command has it.
func requireExpiry(t *testing.T, rdb *redis.Client, expire []string) {
	t.Helper()
	seconds, err := strconv.Atoi(expire[2])
	require.NoError(t, err)
	var left time.Duration
	servicetest.Eventually(t, func() bool { left = rdb.PTTL(t.Context(), expire[1]).Val(); return left > 0 })
	require.LessOrEqual(t, left, time.Duration(seconds)*time.Second)
	require.Greater(t, left, time.Duration(seconds)*time.Second*2/3)
}

// fillAll returns the words of a command.
func (v values) fillAll(s step) (words []string) {
	for _, word := range s.command {
		words = append(words, v.fill(word))
	}
	if s.body != "" {
		words = append(words, v.fill(s.body))
	}
	return words
}

// runRedis runs a command and returns what it returns: of a pop the value.
func runRedis(t *testing.T, rdb *redis.Client, words ...string) string {
	t.Helper()
	var args []any
	for _, word := range words {
		args = append(args, word)
	}
	reply, err := rdb.Do(t.Context(), args...).Result()
	require.NoError(t, err, "%q", words)
	if popped, ok := reply.([]any); ok {
		reply = popped[len(popped)-1]
	}
	return fmt.Sprint(reply)
}

// The server of each Redis session serves our client.
func TestRedisServerInPage(t *testing.T) {
	t.Parallel()
	eachSession(t, "redis", func(t *testing.T, session string) {
		steps := readSteps(t, session)
		if !hasServer(steps) {
			return
		}
		rdb := brokertest.StartRedis(t).Client(t)
		client := newClient(t, servicetest.Must(redisconn.Dial(rdb, "calc", &redisconn.DialOptions{
			ReplyPerCall: strings.Contains(session, `"reply_to":"<id>"`),
			Logger:       servicetest.Quiet,
		})))
		v := make(values)
		var ended <-chan outcome
		var request, response string
		for _, s := range steps {
			switch {
			case s.client && s.name() == "LPUSH":
				request, ended = s.body, start(t, client, s.body)
			case s.client: // our client has done so
			case s.name() == "BRPOP":
				v.requireMessage(t, request, runRedis(t, rdb, v.fillAll(s)...))
			default:
				if s.name() == "RPUSH" {
					response = v.fill(s.body)
				}
				runRedis(t, rdb, v.fillAll(s)...)
			}
		}
		requireOutcome(t, ended, response)
	})
}

// The diagrams have the few forms of Mermaid that all its versions draw.
func TestDiagramsInPage(t *testing.T) {
	t.Parallel()
	for _, diagram := range fencedBlocks(t, wirePage, "mermaid") {
		require.Regexp(t, `^sequenceDiagram\n(    (participant [A-Z] as [a-zA-Z ]+|[A-Z]->>[A-Z]: [^;#\n]+)\n)+$`, diagram)
	}
}
