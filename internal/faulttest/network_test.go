package faulttest

import (
	"fmt"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/internal/brokertest"
	"github.com/micromessaging/jsonrpc2/internal/servicetest"
)

// cuts is how often connections are cut under load.
const cuts = 5

func TestRedisClientCut(t *testing.T) {
	t.Parallel()
	s, proxy := redisBehindProxy(t, true)
	testCut(t, proxy, &trial{name: "Redis client's connections cut", site: s, allow: allowed{failed: many, lost: many}})
}

// Up to Prefetch requests that Redis has sent are lost in each cut.
func TestRedisServerCut(t *testing.T) {
	t.Parallel()
	s, proxy := redisBehindProxy(t, false)
	allow := allowed{failed: many, lost: cuts * prefetch}
	testCut(t, proxy, &trial{name: "Redis server's connections cut", site: s, allow: allow})
}

func TestRedisClientBlackHole(t *testing.T) {
	t.Parallel()
	s, proxy := redisBehindProxy(t, true)
	testBlackHole(t, proxy, &trial{name: "Redis client in a black hole", site: s, allow: allowed{failed: many, lost: many}})
}

func TestRedisServerBlackHole(t *testing.T) {
	t.Parallel()
	s, proxy := redisBehindProxy(t, false)
	allow := allowed{failed: many, lost: prefetch}
	testBlackHole(t, proxy, &trial{name: "Redis server in a black hole", site: s, allow: allow})
}

// redisBehindProxy returns a site with a proxy before the client or the server.
func redisBehindProxy(t *testing.T, client bool) (*redisSite, *brokertest.Proxy) {
	broker := brokertest.StartRedis(t)
	proxy := brokertest.StartProxy(t, broker.Addr)
	s := newRedisSite(t, broker)
	if client {
		s.connect, s.connectServer = redisAt(proxy.Addr), s.connect
	} else {
		s.connectServer = redisAt(proxy.Addr)
	}
	return s, proxy
}

// When the connection of a client is cut, its requests run, and their answers are lost.
func TestRabbitMQClientCut(t *testing.T) {
	s, proxy := rabbitBehindProxy(t, true)
	testCut(t, proxy, &trial{name: "RabbitMQ client's connections cut", site: s, allow: allowed{failed: many, lost: many}})
}

// The requests that a server held when its connection was cut run again.
func TestRabbitMQServerCut(t *testing.T) {
	s, proxy := rabbitBehindProxy(t, false)
	allow := allowed{failed: many, again: cuts * prefetch}
	testCut(t, proxy, &trial{name: "RabbitMQ server's connections cut", site: s, timeout: 10 * time.Second, allow: allow})
}

// An acknowledgement that is on its way when the connection is cut is lost, and its request runs
// again. That happens to few requests, since the acknowledgement is sent before the request
// runs.
func TestRabbitMQServerCutAtMostOnce(t *testing.T) {
	s, proxy := rabbitBehindProxy(t, false)
	s.listening.Guarantee = jsonrpc2.AtMostOnce
	allow := allowed{failed: many, lost: cuts * prefetch, again: cuts * prefetch / 4}
	testCut(t, proxy, &trial{name: "RabbitMQ server's connections cut, at most once", site: s, allow: allow})
}

func TestRabbitMQClientBlackHole(t *testing.T) {
	slow(t)
	s, proxy := rabbitBehindProxy(t, true)
	s.dialing.Config = shortHeartbeat
	testBlackHole(t, proxy, &trial{name: "RabbitMQ client in a black hole", site: s, allow: allowed{failed: many, lost: many}})
}

func TestRabbitMQServerBlackHole(t *testing.T) {
	s, proxy := rabbitBehindProxy(t, false)
	s.listening.Config = shortHeartbeat
	allow := allowed{failed: many, lost: many, again: prefetch}
	testBlackHole(t, proxy, &trial{name: "RabbitMQ server in a black hole", site: s, allow: allow})
}

func rabbitBehindProxy(t *testing.T, client bool) (*rabbitSite, *brokertest.Proxy) {
	broker := brokertest.SharedRabbitMQ(t)
	proxy := brokertest.StartProxy(t, broker.Addr)
	s := newRabbitSite(t, broker)
	if client {
		s.url, s.serverURL = urlOf(proxy.Addr), s.url
	} else {
		s.serverURL = urlOf(proxy.Addr)
	}
	return s, proxy
}

// shortHeartbeat makes a connection notice soon that nothing comes any more.
var shortHeartbeat = amqp.Config{Heartbeat: time.Second}

// testCut cuts the connections that pass a proxy, again and again.
func testCut(t *testing.T, proxy *brokertest.Proxy, tr *trial) {
	tr.run(t, func() {
		for range cuts {
			proxy.Cut()
			tr.awaitAnswered(t, enough)
		}
	})
}

// testBlackHole makes the proxy a black hole until calls fail.
func testBlackHole(t *testing.T, proxy *brokertest.Proxy, tr *trial) {
	tr.run(t, func() {
		proxy.BlackHole(true)
		tr.awaitFailed(t, 2*downtime)
		proxy.BlackHole(false)
	})
}

// testReplyDropped makes calls one by one. For each, the proxy passes on one message, drops the
// broker's next bytes and cuts the connection. pattern finds that message by the number of the
// call. recovered reports whether everything works again after so many cuts.
func testReplyDropped(t *testing.T, tr *trial, proxy *brokertest.Proxy, pattern string, recovered func(cuts int64) bool) {
	const calls = 20
	tr.timeout = servicetest.Soon
	tr.prepare(t, true)
	tr.requireWorks(t)
	for i := range int64(calls) {
		proxy.DropReply(fmt.Appendf(nil, pattern, tr.asked.Load()+1))
		_, err := tr.ask("")
		require.NoError(t, err)
		servicetest.Eventually(t, func() bool { return recovered(i + 1) })
	}
	tr.finish(t)
}
