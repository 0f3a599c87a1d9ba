package faulttest

import (
	"testing"

	"github.com/micromessaging/jsonrpc2/internal/brokertest"
	"github.com/micromessaging/jsonrpc2/internal/servicetest"
)

// fleet is how many servers there are in a rolling deploy.
const fleet = 10

func TestRedisRollingDeploy(t *testing.T) {
	slow(t)
	testRollingDeploy(t, "Redis servers replaced one by one", newRedisSite(t, brokertest.StartRedis(t)))
}

func TestRabbitMQRollingDeploy(t *testing.T) {
	slow(t)
	testRollingDeploy(t, "RabbitMQ servers replaced one by one", newRabbitSite(t, brokertest.SharedRabbitMQ(t)))
}

// testRollingDeploy drains and replaces one server after another under load. No call fails, and
// none runs twice.
func testRollingDeploy(t *testing.T, name string, s site) {
	tr := &trial{name: name, site: s, timeout: servicetest.Soon}
	tr.prepare(t, true)
	servers := []server{tr.server}
	for len(servers) < fleet {
		servers = append(servers, serve(t, s, tr.ledger, tr.codec))
	}
	tr.callers = 64
	tr.start()
	for range fleet {
		tr.awaitAnswered(t, enough)
		servers[0].end(t)
		servers = append(servers[1:], serve(t, s, tr.ledger, tr.codec))
	}
	tr.awaitAnswered(t, enough)
	for _, server := range servers[1:] {
		server.end(t)
	}
	tr.server = servers[0]
	tr.finish(t)
}
