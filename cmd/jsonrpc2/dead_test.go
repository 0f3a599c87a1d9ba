package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2/internal/brokertest"
	"github.com/micromessaging/jsonrpc2/internal/servicetest"
)

// A graveyard is a site whose queue has dead requests.
type graveyard struct {
	site
	bury  func(t *testing.T, requests ...string)
	drain func(t *testing.T) []string // takes what waits in the queue, the oldest first
}

// eachGraveyard runs a test for each kind of broker.
func eachGraveyard(t *testing.T, test func(t *testing.T, g graveyard)) {
	for name, dig := range map[string]func(*testing.T) graveyard{"redis": redisGraveyard, "rabbitmq": rabbitGraveyard} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, dig(t))
		})
	}
}

func redisGraveyard(t *testing.T) graveyard {
	s, rdb := newRedis(t)
	return graveyard{
		site: s,
		bury: func(t *testing.T, requests ...string) {
			for _, request := range requests {
				header := fmt.Sprintf(`{"time":%d,"attempts":5,"reason":"it was started 5 times"}`, time.Now().UnixMilli())
				require.NoError(t, rdb.LPush(t.Context(), "{calc}:dead", header+"\n"+request).Err())
			}
		},
		drain: func(t *testing.T) (waiting []string) {
			for {
				request, err := rdb.RPop(t.Context(), queue).Result()
				if err == redis.Nil {
					return waiting
				}
				require.NoError(t, err)
				waiting = append(waiting, request)
			}
		},
	}
}

func rabbitGraveyard(t *testing.T) graveyard {
	s := newRabbitMQ(t)
	server := s.serve(t) // which creates the queues
	s.requireServed(t)
	server.End(t)
	ch := s.channel(t)
	return graveyard{
		site: s,
		bury: func(t *testing.T, requests ...string) {
			want := *s.looked(t).Dead + len(requests)
			for _, request := range requests { // the servers of other programs reject what they can't take
				require.NoError(t, ch.PublishWithContext(t.Context(), "", s.queue, false, false, amqp.Publishing{Body: []byte(request)}))
				servicetest.Eventually(t, func() bool {
					m, ok, err := ch.Get(s.queue, false)
					require.NoError(t, err)
					return ok && m.Reject(false) == nil
				})
			}
			servicetest.Eventually(t, func() bool { return *s.looked(t).Dead == want })
		},
		drain: func(t *testing.T) (waiting []string) {
			for {
				m, ok, err := ch.Get(s.queue, true)
				require.NoError(t, err)
				if !ok {
					return waiting
				}
				waiting = append(waiting, string(m.Body))
			}
		},
	}
}

// listed returns what dead list -o json tells, newest first.
func (s site) listed(t *testing.T, args ...string) []entryJSON {
	t.Helper()
	return parsed[entryJSON](t, must(t, s.at(append([]string{"dead", "list", "-o", "json"}, args...)...)...))
}

// requests returns the messages of entries.
func requests(entries []entryJSON) []string {
	texts := []string{}
	for _, e := range entries {
		texts = append(texts, string(e.Request))
	}
	return texts
}

const (
	deadAdd    = `{"jsonrpc":"2.0","id":"a","method":"add","params":[1,5.1]}`
	deadNotice = `{"jsonrpc":"2.0","method":"write","params":{"line":"\u001b[31mred"}}`
	deadBatch  = `[{"jsonrpc":"2.0","id":7,"method":"subtract","params":[1,2]},{"jsonrpc":"2.0","id":"a","method":"add","params":[1,2]}]`
)

func TestDeadList(t *testing.T) {
	t.Parallel()
	eachGraveyard(t, func(t *testing.T, g graveyard) {
		require.Empty(t, g.listed(t))
		require.Equal(t, [][]string{{"TIME", "ATTEMPTS", "METHOD", "ID", "REQUEST", "BYTES", "REASON"}}, tableOf(must(t, g.at("dead", "list")...)))
		g.bury(t, deadAdd, deadNotice, deadBatch)

		all := g.listed(t)
		require.Equal(t, []string{deadBatch, deadNotice, deadAdd}, requests(all))
		require.Equal(t, []string{"7", "a"}, all[0].RequestIDs)
		require.Equal(t, []string{"subtract", "add"}, all[0].Methods)
		require.Empty(t, all[1].RequestIDs)
		require.WithinDuration(t, time.Now(), all[0].Time, time.Minute)
		require.Equal(t, all, g.listed(t), "a list changes nothing")

		rows := tableOf(must(t, g.at("dead", "list")...))
		attempts, reason := "5", "it was started 5 times"
		if g.name == "rabbitmq" {
			attempts, reason = "-", "rejected"
		}
		for i, want := range [][]string{
			{attempts, "subtract +1", all[0].ID, "7 +1", fmt.Sprint(len(deadBatch)), reason},
			{attempts, "write", all[1].ID, "-", fmt.Sprint(len(deadNotice)), reason},
			{attempts, "add", all[2].ID, "a", fmt.Sprint(len(deadAdd)), reason},
		} {
			require.Equal(t, want, rows[i+1][1:])
		}

		limited := run(t, g.at("dead", "list", "-n", "2")...)
		require.Len(t, tableOf(limited.stdout), 3)
		require.Equal(t, "There are more: -n 0 lists all.\n", limited.stderr)
		require.Equal(t, requests(all[:2]), requests(g.listed(t, "-n", "2")))
		require.Equal(t, []string{deadBatch, deadAdd}, requests(g.listed(t, "--method", "add")), "a batch has many methods")
		require.Equal(t, []string{deadBatch}, requests(g.listed(t, "--method", "add", "-n", "1")))
		require.Empty(t, g.listed(t, "--older-than", "1h"))
		require.Len(t, g.listed(t, "--older-than", "1ns"), 3)
	})
}

func TestDeadShow(t *testing.T) {
	t.Parallel()
	eachGraveyard(t, func(t *testing.T, g graveyard) {
		g.bury(t, deadAdd, deadNotice, deadBatch)
		all := g.listed(t)
		require.Equal(t, deadNotice+"\n", must(t, g.at("dead", "show", all[1].ID)...))
		require.Equal(t, deadBatch+"\n"+deadAdd+"\n", must(t, g.at("dead", "show", "a")...), "several may have one id")
		require.Equal(t, deadBatch+"\n"+deadNotice+"\n", must(t, g.at("dead", "show", all[1].ID, "7", all[0].ID)...))
		none := run(t, g.at("dead", "show", "a", "nosuch")...)
		require.Equal(t, result{"", "jsonrpc2: there is no dead request nosuch\n", exitFailed}, none)
		require.Len(t, g.listed(t), 3)
	})
}

func TestDeadRequeue(t *testing.T) {
	t.Parallel()
	eachGraveyard(t, func(t *testing.T, g graveyard) {
		g.bury(t, deadAdd, deadNotice, deadBatch)
		all := g.listed(t)
		require.Equal(t, exitFailed, run(t, g.at("dead", "requeue", all[0].ID, "nosuch")...).status)
		require.Equal(t, exitUsage, run(t, g.at("dead", "requeue", "--all")...).status)
		require.Empty(t, g.drain(t), "all or nothing")

		require.Equal(t, "1 requeued\n", must(t, g.at("dead", "requeue", all[1].ID)...))
		require.Equal(t, []string{deadNotice}, g.drain(t))
		require.Equal(t, []string{deadBatch, deadAdd}, requests(g.listed(t)))
		require.Equal(t, "{\"requeued\":0}\n", must(t, g.at("dead", "requeue", "--method", "write", "-o", "json")...))
		require.Equal(t, "{\"requeued\":2}\n", must(t, g.at("dead", "requeue", "--method", "add", "-o", "json")...))
		require.ElementsMatch(t, []string{deadBatch, deadAdd}, g.drain(t))
		require.Equal(t, "0 requeued\n", must(t, g.at("dead", "requeue", "--all", "-yes")...))
	})
}

func TestDeadDelete(t *testing.T) {
	t.Parallel()
	eachGraveyard(t, func(t *testing.T, g graveyard) {
		g.bury(t, deadAdd, deadNotice, deadBatch)
		require.Equal(t, exitUsage, run(t, g.at("dead", "delete", "7")...).status, "there is nobody to ask")
		require.Len(t, g.listed(t), 3)
		require.Equal(t, "1 deleted\n", must(t, g.at("dead", "delete", "7", "-y")...))
		require.Equal(t, "{\"deleted\":1}\n", must(t, g.at("dead", "delete", "--older-than", "1ns", "--method", "add", "-y", "-o", "json")...))
		require.Equal(t, []string{deadNotice}, requests(g.listed(t)))
		require.Equal(t, "1 deleted\n", must(t, g.at("dead", "delete", "--all", "-y")...))
		require.Empty(t, g.listed(t))
		require.Empty(t, g.drain(t))
	})
}

// What is no JSON is shown, too, and can't be requeued on Redis.
func TestDeadNoJSON(t *testing.T) {
	t.Parallel()
	eachGraveyard(t, func(t *testing.T, g graveyard) {
		const odd = "no JSON \u009b\xff"
		g.bury(t, odd)
		all := g.listed(t)
		var text string
		require.NoError(t, json.Unmarshal(all[0].Request, &text))
		require.Equal(t, "no JSON \u009b\ufffd", text)
		require.Equal(t, odd+"\n", must(t, g.at("dead", "show", all[0].ID)...))
		rows := tableOf(must(t, g.at("dead", "list")...))
		require.Equal(t, []string{"-", all[0].ID, "-"}, rows[1][2:5])
		if g.name == "redis" {
			r := run(t, g.at("dead", "requeue", all[0].ID)...)
			require.Equal(t, exitMayHaveRun, r.status)
			require.Contains(t, r.stderr, "no JSON")
		}
		require.Equal(t, "1 deleted\n", must(t, g.at("dead", "delete", all[0].ID, "-y")...))
	})
}

// Where RabbitMQ keeps no dead requests the error says what to do about it.
func TestDeadWithoutDeadLetter(t *testing.T) {
	t.Parallel()
	s := newRabbitMQ(t)
	_, err := s.channel(t).QueueDeclare(s.queue, true, false, false, false, nil)
	require.NoError(t, err)
	for _, args := range []string{"list", "show x", "requeue x", "delete --all -y"} {
		r := run(t, s.at(append([]string{"dead"}, strings.Fields(args)...)...)...)
		require.Equal(t, exitFailed, r.status, r.stderr)
		require.Contains(t, r.stderr, "DeadLetter")
	}
}

// The loop of an operator, by the tool alone: three poisoned requests are seen and found, one is
// shown and requeued when the mended server has come, two are deleted.
func TestOperator(t *testing.T) {
	t.Parallel()
	for name, s := range map[string]func(*testing.T) site{
		"redis":    func(t *testing.T) site { s, _ := newRedis(t); return s },
		"rabbitmq": newRabbitMQ,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			testOperator(t, s(t))
		})
	}
}

func testOperator(t *testing.T, s site) {
	dying := brokertest.Supervise(t, 1, "panic: poison", beServer+"="+s.url, "QUEUE="+s.queue)
	s.requireServed(t)
	for i := range 3 {
		must(t, s.at("notify", "Poison.Take", fmt.Sprintf("[%d]", i))...)
	}
	servicetest.Eventually(t, func() bool { l := s.looked(t); return *l.Dead == 3 && *l.Waiting == 0 })
	dying.Drain()

	found := s.listed(t)
	require.Len(t, found, 3)
	require.Equal(t, []string{"Poison.Take"}, found[0].Methods)
	require.NotEmpty(t, found[0].Reason)
	shown := must(t, s.at("dead", "show", found[1].ID)...)
	require.JSONEq(t, string(found[1].Request), shown)

	mended := &Mended{taken: make(chan int, 3)}
	serveMended(t, s, mended)
	s.requireServed(t)
	require.Equal(t, "1 requeued\n", must(t, s.at("dead", "requeue", found[1].ID)...))
	taken := awaited(t, mended.taken)
	require.Contains(t, shown, fmt.Sprintf("[%d]", taken))
	require.Equal(t, "2 deleted\n", must(t, s.at("dead", "delete", found[0].ID, found[2].ID, "--yes")...))
	servicetest.Eventually(t, func() bool { l := s.looked(t); return *l.Dead == 0 && *l.Waiting == 0 })
	require.Empty(t, mended.taken)
}

// Mended is Poison without its fault.
type Mended struct{ taken chan int }

// Take takes a number.
func (m *Mended) Take(args []int, _ *int) error {
	m.taken <- args[0]
	return nil
}
