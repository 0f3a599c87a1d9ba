package main

import (
	"context"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2/internal/brokertest"
	"github.com/micromessaging/jsonrpc2/internal/servicetest"
)

// looked returns what queue -o json tells.
func (s site) looked(t *testing.T) queueLook {
	t.Helper()
	return parsed[queueLook](t, must(t, s.at("queue", "-o", "json")...))[0]
}

func number(n int) *int { return &n }

// table returns the cells of a table.
func tableOf(text string) (rows [][]string) {
	for line := range strings.Lines(text) {
		rows = append(rows, regexp.MustCompile(`\S+(?: \S+)*`).FindAllString(line, -1))
	}
	return rows
}

func TestQueueOnRedis(t *testing.T) {
	t.Parallel()
	s, rdb := newRedis(t)
	require.Equal(t, queueLook{Queue: queue, Waiting: number(0), Running: number(0), Servers: number(0), Dead: number(0)}, s.looked(t))
	slow := servicetest.NewSlow()
	s.serve(t, slow)
	t.Cleanup(slow.Open)
	deadline := time.Now().Add(time.Hour)
	for i := range 134 { // a server takes 128
		request := fmt.Sprintf(`{"jsonrpc":"2.0","id":"%d","deadline_ms":%d,"method":"Slow.Wait","params":[1]}`, i, deadline.UnixMilli())
		require.NoError(t, rdb.LPush(t.Context(), queue, request).Err())
	}
	require.NoError(t, rdb.LPush(t.Context(), "{calc}:dead", "{}\n{}", "{}\n{}").Err())
	servicetest.Eventually(t, func() bool { l := s.looked(t); return *l.Waiting == 6 && *l.Running == 128 && *l.Servers == 1 })
	require.Equal(t, deadline.UnixMilli(), s.looked(t).Deadline.UnixMilli())
	rows := tableOf(must(t, s.at("queue")...))
	require.Equal(t, []string{"QUEUE", "WAITING", "NEXT", "RUNNING", "SERVERS", "DEAD"}, rows[0])
	require.Regexp(t, `^(59|60)m$`, rows[1][2])
	require.Equal(t, []string{queue, "6", "128", "1", "2"}, slices.Delete(rows[1], 2, 3))
}

func TestQueueOnRabbitMQ(t *testing.T) {
	t.Parallel()
	s := newRabbitMQ(t)
	missing := run(t, s.at("queue")...)
	require.Equal(t, exitNotRun, missing.status)
	require.Contains(t, missing.stderr, "there is no such queue")
	ch := s.channel(t)
	_, err := ch.QueueDeclare(s.queue, true, false, false, false, nil)
	require.NoError(t, err)
	require.Equal(t, result{}, run(t, s.at("notify", "add")...))
	servicetest.Eventually(t, func() bool { return *s.looked(t).Waiting == 1 })
	require.Equal(t, queueLook{Queue: s.queue, Waiting: number(1), Servers: number(0)}, s.looked(t))
	require.Equal(t, []string{s.queue, "1", "-", "-", "0", "-"}, tableOf(must(t, s.at("queue")...))[1])
	require.Equal(t, [][]string{{"CONSUMERS"}, {"0"}}, tableOf(must(t, s.at("servers")...)))

	s.serve(t)
	servicetest.Eventually(t, func() bool { return *s.looked(t).Servers == 1 })
	require.Equal(t, "{\"consumers\":1}\n", must(t, s.at("servers", "-o", "json")...))
}

func TestServersOnRedis(t *testing.T) {
	t.Parallel()
	s, _ := newRedis(t)
	require.Empty(t, must(t, s.at("servers", "-o", "json")...))
	s.serve(t)
	s.requireServed(t)
	found := parsed[server](t, must(t, s.at("servers", "-o", "json")...))
	require.Len(t, found, 1)
	require.Equal(t, os.Getpid(), found[0].PID)
	rows := tableOf(must(t, s.at("servers")...))
	require.Equal(t, []string{"HOST", "PID", "PLACES", "SINCE", "ID"}, rows[0])
	require.Equal(t, []string{found[0].Host, fmt.Sprint(found[0].PID), fmt.Sprint(found[0].Places)}, rows[1][:3])
	require.Regexp(t, `^\d+m?s ago$`, rows[1][3])
	require.Equal(t, found[0].ID, rows[1][4])
}

// --watch tells how fast the numbers change, says when a look fails, and goes on until Ctrl-C.
func TestWatch(t *testing.T) {
	t.Parallel()
	broker := brokertest.StartRedis(t, "--appendonly", "yes", "--appendfsync", "always")
	s := site{name: "redis", url: broker.URL(), queue: queue}
	ctx, cancel := context.WithCancel(t.Context())
	var stdout, stderr buffer
	status := make(chan int, 1)
	args := s.at("queue", "--watch", "--every", "10ms", "-o", "json")
	go func() { status <- newApp(strings.NewReader(""), &stdout, &stderr, environment()).run(ctx, args) }()
	stdout.requireSoon(t, `"waiting_per_second":0,`)
	require.NoError(t, broker.Client(t).LPush(t.Context(), queue, "{}").Err())
	stdout.requireSoon(t, `"waiting":1`)
	broker.Kill()
	stderr.requireSoon(t, "connection refused")
	broker.Start()
	seen := strings.Count(stdout.String(), `"waiting":1`)
	servicetest.Eventually(t, func() bool { return strings.Count(stdout.String(), `"waiting":1`) > seen+1 })
	cancel()
	require.Equal(t, exitDone, awaited(t, status))
	looks := parsed[queueLook](t, stdout.String())
	require.True(t, slices.ContainsFunc(looks, func(l queueLook) bool { return l.WaitingRate != nil && *l.WaitingRate > 0 }))
}

// While 100,000 requests wait, each look runs the same few commands as at an empty queue, none
// of which writes.
func TestLooksAreCheap(t *testing.T) {
	t.Parallel()
	s, rdb := newRedis(t)
	looks := []string{"queue", "servers", "dead list"}
	look := func() {
		for _, args := range looks {
			must(t, s.at(strings.Fields(args)...)...)
		}
	}
	empty := brokertest.CommandsOf(t, rdb, look)
	for name := range maps.Keys(empty) {
		require.Contains(t, []string{"hello", "client|setinfo", "config|resetstat", "time", "llen", "lindex", "hkeys", "zcount", "zrangebyscore", "lrange"}, name)
	}
	many := slices.Repeat([]any{`{"jsonrpc":"2.0","method":"Calc.Add","params":[1,5.1]}`}, 10_000)
	for range 10 {
		require.NoError(t, rdb.LPush(t.Context(), queue, many...).Err())
	}
	require.Equal(t, empty, brokertest.CommandsOf(t, rdb, look))
	require.Equal(t, 100_000, *s.looked(t).Waiting)
}
