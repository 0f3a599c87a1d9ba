package faulttest

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/rpc"
	"os"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/amqpconn"
	"github.com/micromessaging/jsonrpc2/internal/brokertest"
	"github.com/micromessaging/jsonrpc2/internal/servicetest"
	"github.com/micromessaging/jsonrpc2/redisconn"
)

// processVariable makes the test binary a client or a server. Its value is a processConfig, as
// JSON.
const processVariable = "FAULTTEST_PROCESS"

// A processConfig says what a process is to do.
type processConfig struct {
	// One of these is set.
	RedisAddr string
	RabbitURL string
	HTTPAddr  string // to serve at
	TCPAddr   string // to serve at

	Queue  string
	Ledger string        // path of the Ledger; for a server
	Work   time.Duration // how long a task takes; taskTime if 0
	Calls  int           // calls that a client makes and waits for; 0 for a server

	Redis       redisconn.ListenOptions
	RabbitQueue amqpconn.Queue
	Guarantee   jsonrpc2.Guarantee // on RabbitMQ
}

// runProcess is the main function of a client or a server. It ends when standard input does,
// which is when the test ends at the latest.
func runProcess(text string) {
	ctx := brokertest.Drained()
	var config processConfig
	err := json.Unmarshal([]byte(text), &config)
	switch {
	case err != nil:
	case config.Calls > 0:
		err = config.call(ctx)
	default:
		err = config.serve(ctx)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func (c processConfig) serve(ctx context.Context) error {
	ledger, err := openLedger(c.Ledger, cmp.Or(c.Work, taskTime))
	if err != nil {
		return err
	}
	server := rpc.NewServer()
	if err := server.Register(ledger); err != nil {
		return err
	}
	stats := new(jsonrpc2.ServerStats)
	opts := &jsonrpc2.ServerOptions{Logger: servicetest.Quiet, Stats: stats}
	switch {
	case c.HTTPAddr != "":
		err = serveHTTP(ctx, server, c.HTTPAddr, opts)
	case c.TCPAddr != "":
		err = serveTCP(ctx, server, c.TCPAddr, opts)
	default:
		err = c.serveQueue(ctx, server, opts)
	}
	return errors.Join(err, ledger.noteCounts(stats))
}

func (c processConfig) serveQueue(ctx context.Context, server *rpc.Server, opts *jsonrpc2.ServerOptions) (err error) {
	var conn jsonrpc2.ServerConn
	if c.RedisAddr != "" {
		c.Redis.Logger = servicetest.Quiet
		conn, err = redisconn.Listen(redisAt(c.RedisAddr)(), c.Queue, &c.Redis)
	} else {
		conn, err = amqpconn.Listen(c.RabbitURL, c.Queue, &amqpconn.ListenOptions{
			Queue: c.RabbitQueue, Guarantee: c.Guarantee, Logger: servicetest.Quiet,
		})
	}
	if err != nil {
		return err
	}
	return jsonrpc2.Serve(ctx, server, conn, opts)
}

// call makes all calls at once.
func (c processConfig) call(ctx context.Context) (err error) {
	var conn jsonrpc2.ClientConn
	if c.RedisAddr != "" {
		conn, err = redisconn.Dial(redisAt(c.RedisAddr)(), c.Queue, &redisconn.DialOptions{Logger: servicetest.Quiet})
	} else {
		conn, err = amqpconn.Dial(c.RabbitURL, c.Queue, &amqpconn.DialOptions{Declare: &c.RabbitQueue, Logger: servicetest.Quiet})
	}
	if err != nil {
		return err
	}
	client := jsonrpc2.NewClient(conn, &jsonrpc2.ClientOptions{Timeout: servicetest.Soon, Logger: servicetest.Quiet})
	for n := range c.Calls {
		client.Go("Ledger.Run", Task{N: n + 1}, new(int), nil)
	}
	<-ctx.Done()
	return client.Close()
}

// A process is a client or a server of its own.
type process struct{ *brokertest.Program }

// startProcess starts a process, which the test's cleanup kills.
func startProcess(t *testing.T, config processConfig) process {
	t.Helper()
	text, err := json.Marshal(config)
	require.NoError(t, err)
	return process{brokertest.StartProgram(t, processVariable+"="+string(text))}
}

// end drains the process and waits for it.
func (p process) end(t *testing.T) {
	t.Helper()
	p.Drain()
}

// kills is how many server processes are killed under load.
const kills = 5

func TestServerProcessKilled(t *testing.T) {
	slow(t)
	rabbit := func(opts amqpconn.ListenOptions) func(t *testing.T) site {
		return func(t *testing.T) site {
			s := newRabbitSite(t, brokertest.SharedRabbitMQ(t))
			s.listening = opts
			return s
		}
	}
	overRedis := func(opts redisconn.ListenOptions) func(t *testing.T) site {
		return func(t *testing.T) site {
			s := newRedisSite(t, brokertest.StartRedis(t))
			s.listening = opts
			return s
		}
	}
	for _, test := range []struct {
		name  string
		site  func(t *testing.T) site
		allow allowed
	}{
		{
			"Redis server process killed", overRedis(redisconn.ListenOptions{}),
			allowed{failed: many, lost: kills * prefetch},
		},
		{
			"Redis server process killed, at least once", overRedis(leased()),
			allowed{again: kills * prefetch},
		},
		{
			"RabbitMQ server process killed", rabbit(amqpconn.ListenOptions{}),
			allowed{again: kills * prefetch},
		},
		{
			"RabbitMQ server process killed, quorum queue", rabbit(amqpconn.ListenOptions{Queue: amqpconn.Queue{Quorum: true}}),
			allowed{again: kills * prefetch},
		},
		{
			"RabbitMQ server process killed, at most once", rabbit(amqpconn.ListenOptions{Guarantee: jsonrpc2.AtMostOnce}),
			allowed{failed: many, lost: kills * prefetch, again: kills}, // acknowledgements lost
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			tr := &trial{name: test.name, site: test.site(t), timeout: 10 * time.Second, allow: test.allow}
			tr.note = func(tally) string { return fmt.Sprintf("%d processes killed", kills) }
			testServerProcessKilled(t, tr)
		})
	}
}

// testServerProcessKilled kills one of two server processes while it runs calls, again and
// again.
func testServerProcessKilled(t *testing.T, tr *trial) {
	tr.prepare(t, false)
	config := tr.site.config()
	config.Ledger = tr.ledger.path
	older, newer := startProcess(t, config), startProcess(t, config)
	servicetest.Eventually(t, func() bool { _, err := tr.site.waiting(); return err == nil })
	tr.start()
	for range kills {
		tr.awaitAnswered(t, enough)
		older.Kill()
		older, newer = newer, startProcess(t, config)
	}
	tr.awaitAnswered(t, enough)
	older.end(t)
	tr.server = newer
	tr.finish(t)
}

// orphans is how many calls a client process makes before it is killed.
const orphans = 1000

func TestRedisClientProcessKilled(t *testing.T) {
	slow(t)
	s := newRedisSite(t, brokertest.StartRedis(t))
	s.listening.ReplyTTL = 2 * time.Second
	testClientProcessKilled(t, "Redis client process killed", s)
	servicetest.Eventually(t, func() bool {
		keys, err := s.admin.(*redis.Client).DBSize(context.Background()).Result()
		return err == nil && keys == 0
	}, "keys are left")
}

func TestRabbitMQClientProcessKilled(t *testing.T) {
	slow(t)
	testClientProcessKilled(t, "RabbitMQ client process killed", newRabbitSite(t, brokertest.SharedRabbitMQ(t)))
}

// testClientProcessKilled kills a client process that waits for many answers. Its requests
// run, and nothing of the client is left on the broker.
func testClientProcessKilled(t *testing.T, name string, s site) {
	s.noteVersion(t)
	config := s.config()
	config.Calls = orphans
	client := startProcess(t, config)
	servicetest.Eventually(t, func() bool { n, err := s.waiting(); return err == nil && n == orphans })
	client.Kill()
	ledger := newLedger(t)
	server := serve(t, s, ledger, jsonrpc2.ServerOptions{})
	servicetest.Eventually(t, func() bool { return len(ledger.runs(t)) == orphans })
	server.end(t)
	s.requireEmpty(t)
	ledger.requireAddsUp(t)
	sum := tally{asked: orphans, failed: map[string]int{"caller killed": orphans}}
	for _, runs := range ledger.runs(t) {
		require.Equal(t, 1, runs)
		sum.once++
	}
	figures.note(name, sum, "nothing of it left")
}
