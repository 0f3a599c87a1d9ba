package faulttest

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/rpc"
	"net/url"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/amqpconn"
	"github.com/micromessaging/jsonrpc2/internal/brokertest"
	"github.com/micromessaging/jsonrpc2/internal/servicetest"
)

// Faults that a Retry hides from callers: each call is answered, though it may take longer.

const (
	retryCallers  = 64
	retryDeadline = 2 * servicetest.Soon // of a call that must be answered: brokers may take long to start
	lostDeadline  = 10 * time.Second     // of a call that may be lost: it ends then
	outage        = 5 * time.Second      // how long a broker or a server is away
	again         = time.Second          // RetryPolicy.After
)

// These are the policies of the trials.
var (
	onlyUnsent = jsonrpc2.RetryPolicy{}
	idempotent = jsonrpc2.RetryPolicy{Idempotent: true}
	after      = jsonrpc2.RetryPolicy{Idempotent: true, After: again}
)

// bothPolicies are for trials that show what each of the two hides.
var bothPolicies = map[string]jsonrpc2.RetryPolicy{"only unsent": onlyUnsent, "idempotent": after}

func policyText(p jsonrpc2.RetryPolicy) string {
	switch {
	case p.After > 0:
		return fmt.Sprintf("Idempotent, After %v", p.After)
	case p.Idempotent:
		return "Idempotent"
	}
	return "neither Idempotent nor After"
}

// retryTrial returns a trial whose client has a Retry. With a policy for idempotent calls, all
// calls must be answered, and some may run twice. With onlyUnsent, calls that may have run
// fail, and none runs twice, unless twice says that servers may do so.
func retryTrial(name string, s site, policy jsonrpc2.RetryPolicy, twice bool) *trial {
	stats := new(jsonrpc2.RetryStats)
	tr := &trial{
		name: "Retry: " + name, site: s, timeout: retryDeadline,
		retry: &jsonrpc2.RetryOptions{RetryPolicy: policy, Stats: stats},
	}
	if policy.Idempotent || twice {
		tr.allow.again = many
	}
	if !policy.Idempotent {
		tr.allow.failed, tr.allow.lost = many, many
		tr.timeout = lostDeadline
		tr.name += ", not Idempotent"
	}
	tr.note = func(tally) string {
		c := stats.Snapshot()
		return fmt.Sprintf("%s; sent again: %d that did not run, %d that may have; %d withheld", policyText(policy), c.Resent, c.Repeated, c.Withheld)
	}
	return tr
}

// allAnswered lets no call of a trial fail.
func allAnswered(tr *trial) *trial {
	tr.allow.failed, tr.allow.lost = 0, 0
	tr.timeout = retryDeadline
	return tr
}

// hide makes a fault under load. When fault returns, the fault is over.
func (tr *trial) hide(t *testing.T, fault func()) {
	t.Helper()
	tr.prepare(t, true)
	tr.start()
	tr.awaitAnswered(t, 5*enough)
	fault()
	tr.awaitAnswered(t, 5*enough)
	tr.finish(t)
}

func TestRetryRedisKilled(t *testing.T) {
	t.Parallel()
	for name, policy := range bothPolicies {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			broker := brokertest.StartRedis(t, "--appendonly", "yes", "--appendfsync", "always")
			tr := retryTrial("Redis killed for 5 s, with AOF", newRedisSite(t, broker), policy, false)
			tr.hide(t, func() {
				broker.Kill()
				<-time.After(outage)
				broker.Start()
			})
		})
	}
}

func TestRetryRedisSuspended(t *testing.T) {
	t.Parallel()
	broker := brokertest.StartRedis(t)
	tr := retryTrial("Redis suspended for 5 s", newRedisSite(t, broker), after, false)
	tr.hide(t, func() {
		broker.Stop()
		<-time.After(outage)
		broker.Cont()
	})
}

func TestRetryRedisClientCut(t *testing.T) {
	t.Parallel()
	s, proxy := redisBehindProxy(t, true)
	testRetryCut(t, proxy, retryTrial("Redis client's connections cut", s, after, false))
}

func TestRetryRedisServerCut(t *testing.T) {
	t.Parallel()
	s, proxy := redisBehindProxy(t, false)
	testRetryCut(t, proxy, retryTrial("Redis server's connections cut", s, after, false))
}

func TestRetryRabbitMQClientCut(t *testing.T) {
	s, proxy := rabbitBehindProxy(t, true)
	testRetryCut(t, proxy, retryTrial("RabbitMQ client's connections cut", s, idempotent, true))
}

// A cut can lose an answer that was written, while the acknowledgement of its request goes over
// the other connection. Nothing tells the client of it, so only After hides it.
func TestRetryRabbitMQServerCut(t *testing.T) {
	slow(t)
	s, proxy := rabbitBehindProxy(t, false)
	testRetryCut(t, proxy, retryTrial("RabbitMQ server's connections cut", s, after, true))
}

// With ConfirmReplies no answer is lost.
func TestRetryRabbitMQServerCutConfirmed(t *testing.T) {
	s, proxy := rabbitBehindProxy(t, false)
	s.listening.ConfirmReplies = true
	testRetryCut(t, proxy, allAnswered(retryTrial("RabbitMQ server's connections cut, ConfirmReplies", s, onlyUnsent, true)))
}

func testRetryCut(t *testing.T, proxy *brokertest.Proxy, tr *trial) {
	tr.hide(t, func() {
		for range cuts {
			proxy.Cut()
			tr.awaitAnswered(t, enough)
		}
	})
}

func TestRetryRabbitMQClosesConnections(t *testing.T) {
	slow(t)
	broker := brokertest.SharedRabbitMQ(t)
	tr := retryTrial("RabbitMQ closes all connections", newRabbitSite(t, broker), after, true)
	tr.hide(t, func() {
		broker.Eval(`[rabbit_networking:close_connection(P, "a test") || P <- rabbit_networking:connections()]`)
	})
}

func TestRetryRabbitMQLeaderKilled(t *testing.T) {
	slow(t)
	nodes := brokertest.StartRabbitMQCluster(t, 3).Nodes
	s := quorumSite(t, nodes)
	tr := retryTrial("RabbitMQ cluster, leader of a quorum queue killed", s, after, true)
	tr.hide(t, func() { killLeader(t, s, nodes, func() { tr.awaitAnswered(t, enough) }) })
}

func TestRetrySentinelFailover(t *testing.T) {
	slow(t)
	t.Parallel()
	sentinel := brokertest.StartSentinel(t)
	tr := retryTrial("Redis Sentinel, planned failover", sentinelSite(t, sentinel), after, false)
	tr.hide(t, func() {
		for range 2 {
			sentinel.Failover()
			tr.awaitAnswered(t, enough)
		}
	})
}

func TestRetryRollingDeploy(t *testing.T) {
	slow(t)
	t.Run("Redis", func(t *testing.T) {
		s := newRedisSite(t, brokertest.StartRedis(t))
		testRetryRollingDeploy(t, allAnswered(retryTrial("Redis servers replaced one by one", s, onlyUnsent, false)))
	})
	t.Run("RabbitMQ", func(t *testing.T) {
		s := newRabbitSite(t, brokertest.SharedRabbitMQ(t))
		testRetryRollingDeploy(t, allAnswered(retryTrial("RabbitMQ servers replaced one by one", s, onlyUnsent, false)))
	})
}

func testRetryRollingDeploy(t *testing.T, tr *trial) {
	tr.hide(t, func() {
		for range fleet {
			next := serve(t, tr.site, tr.ledger, tr.codec)
			tr.server.end(t)
			tr.server = next
			tr.awaitAnswered(t, enough)
		}
	})
}

// With at most once, the requests of a server process that is killed are lost, unless the client
// sends them again.
func TestRetryServerProcessKilled(t *testing.T) {
	slow(t)
	t.Run("Redis", func(t *testing.T) {
		s := newRedisSite(t, brokertest.StartRedis(t))
		testRetryServerProcessKilled(t, retryTrial("Redis server process killed", s, after, false))
	})
	t.Run("RabbitMQ", func(t *testing.T) {
		s := newRabbitSite(t, brokertest.SharedRabbitMQ(t))
		s.listening.Guarantee = jsonrpc2.AtMostOnce
		testRetryServerProcessKilled(t, retryTrial("RabbitMQ server process killed, at most once", s, after, false))
	})
}

func testRetryServerProcessKilled(t *testing.T, tr *trial) {
	testServerProcessKilled(t, tr)
}

// testRetryServerRestarted kills a server over HTTP or TCP, and starts it again after outage.
func testRetryServerRestarted(t *testing.T, tr *trial) {
	tr.prepare(t, false)
	config := tr.site.config()
	config.Ledger = tr.ledger.path
	server := startProcess(t, config)
	tr.start()
	for range restarts {
		tr.awaitAnswered(t, 5*enough)
		server.Kill()
		<-time.After(outage / 2)
		server = startProcess(t, config)
	}
	tr.awaitAnswered(t, enough)
	tr.server = server
	tr.finish(t)
}

func TestRetryHTTPServerKilled(t *testing.T) {
	t.Parallel()
	for name, policy := range bothPolicies {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			testRetryServerRestarted(t, retryTrial("HTTP server process killed for 2.5 s", newWebsite(t), policy, false))
		})
	}
}

func TestRetryTCPServerKilled(t *testing.T) {
	t.Parallel()
	for name, policy := range bothPolicies {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			testRetryServerRestarted(t, retryTrial("TCP server process killed for 2.5 s", newTCPSite(t), policy, false))
		})
	}
}

// A gateway answers in place of the server for some time.
func TestRetryHTTPGateway(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		status int
		policy jsonrpc2.RetryPolicy
	}{
		{http.StatusBadGateway, idempotent},
		{http.StatusServiceUnavailable, idempotent},
	} {
		t.Run(fmt.Sprint(test.status), func(t *testing.T) {
			t.Parallel()
			s := newWebsite(t)
			target, err := url.Parse(s.url)
			require.NoError(t, err)
			reverse := httputil.NewSingleHostReverseProxy(target)
			reverse.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
			proxy := &gateway{next: reverse}
			front := httptest.NewServer(proxy)
			t.Cleanup(front.Close)
			s.url = front.URL
			tr := retryTrial(fmt.Sprintf("HTTP proxy says %d for 1 s", test.status), s, test.policy, false)
			tr.prepare(t, false)
			config := s.config()
			config.Ledger = tr.ledger.path
			tr.server = startProcess(t, config)
			tr.start()
			tr.awaitAnswered(t, 25*enough)
			proxy.status.Store(int64(test.status))
			<-time.After(time.Second)
			proxy.status.Store(0)
			tr.awaitAnswered(t, enough)
			tr.finish(t)
		})
	}
}

// While a broker stays down, a Retry tries seldom, memory is bounded, and Close is quick.
func TestRetryBrokerStaysDown(t *testing.T) {
	t.Parallel()
	broker := brokertest.StartRedis(t)
	broker.Kill()
	s := newRedisSite(t, broker)
	for name, conn := range map[string]jsonrpc2.ClientConn{
		"Redis":    s.dial(t),
		"RabbitMQ": mustDialRabbit(t, "amqp://guest:guest@"+broker.Addr+"/"),
		"HTTP":     (&website{url: "http://" + broker.Addr}).dial(t),
		"TCP":      (&tcpSite{addr: broker.Addr}).dial(t),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			stats := new(jsonrpc2.RetryStats)
			retry := jsonrpc2.Retry(conn, &jsonrpc2.RetryOptions{Stats: stats})
			client := jsonrpc2.NewClient(retry, &jsonrpc2.ClientOptions{Logger: servicetest.Quiet})
			done := make(chan *rpc.Call, retryCallers)
			for n := range retryCallers {
				client.Go("Ledger.Run", Task{N: n, Fill: strings.Repeat("x", 1<<20)}, nil, done)
			}
			<-time.After(outage)
			servicetest.Eventually(t, func() bool { return len(done) >= retryCallers-2*16 }, "16 MiB wait in each of two Conns")
			before, begun := stats.Snapshot().Resent, time.Now()
			<-time.After(time.Second)
			tries := stats.Snapshot().Resent - before
			require.LessOrEqual(t, float64(tries), 2*retryCallers*time.Since(begun).Seconds(), "tries a second")
			begun = time.Now()
			require.NoError(t, client.Close())
			require.Less(t, time.Since(begun), servicetest.Soon/4, "it takes 2.5 s at most; the rest is for a machine that stalls")
		})
	}
}

func mustDialRabbit(t *testing.T, url string) jsonrpc2.ClientConn {
	conn, err := amqpconn.Dial(url, "ledger", &amqpconn.DialOptions{Logger: servicetest.Quiet, Config: amqp.Config{}})
	require.NoError(t, err)
	return conn
}
