package faulttest

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2/amqpconn"
	"github.com/micromessaging/jsonrpc2/internal/brokertest"
	"github.com/micromessaging/jsonrpc2/internal/servicetest"
)

// The tests of RabbitMQ share one broker, run one after another, and leave it as they found it.
// To start a broker would take longer than to make a fault.

// settled is how old a queue must be for RabbitMQ to keep it and its messages when RabbitMQ is
// killed.
const settled = 3 * time.Second

// One broker is killed with queues of all kinds.
func TestRabbitMQKilled(t *testing.T) {
	broker := brokertest.SharedRabbitMQ(t)
	var trials []*trial
	for _, kind := range []struct {
		name       string
		queue      amqpconn.Queue
		persistent bool
		timeout    time.Duration // when requests expire
		retry      bool
	}{
		{"a plain queue", amqpconn.Queue{Plain: true}, false, 5 * time.Second, false},
		{"a durable queue", amqpconn.Queue{}, true, servicetest.Soon, false},
		{"a quorum queue", amqpconn.Queue{Quorum: true}, true, servicetest.Soon, false},
		{"a durable queue", amqpconn.Queue{}, true, retryDeadline, true},
	} {
		s := newRabbitSite(t, broker)
		s.listening.Queue = kind.queue
		s.dialing.Persistent = kind.persistent
		tr := &trial{
			name:    "RabbitMQ killed, " + kind.name,
			site:    s,
			timeout: kind.timeout,
			allow:   allowed{failed: many, lost: many, again: restarts * prefetch},
		}
		switch {
		case kind.retry:
			tr = retryTrial(tr.name, s, after, true)
		case kind.persistent:
			tr.note = func(tally) string { return "what was confirmed ran" }
		}
		tr.prepare(t, true)
		if tr.retry == nil {
			tr.callers = 16
		}
		trials = append(trials, tr)
		tr.start()
		tr.awaitAnswered(t, enough)
	}
	<-time.After(settled)
	for range restarts {
		broker.Kill()
		for _, tr := range trials {
			if tr.retry == nil {
				tr.awaitFailed(t, 16)
			}
		}
		broker.Start()
		for _, tr := range trials {
			tr.awaitAnswered(t, enough)
		}
	}
	for _, tr := range trials {
		tr.end(t)
	}
	for _, tr := range trials {
		tr.conclude(t)
		if tr.retry != nil { // a Retry may send a call twice
			continue
		}
		ran := int64(len(tr.ledger.runs(t)) + tr.ledger.notes(t))
		require.LessOrEqual(t, tr.conn.(*amqpconn.ClientConn).Stats().Confirmed, ran, "confirmed, but did not run")
	}
}

func TestRabbitMQSuspended(t *testing.T) {
	slow(t)
	broker := brokertest.SharedRabbitMQ(t)
	tr := &trial{name: "RabbitMQ suspended for 5 s", site: newRabbitSite(t, broker), allow: allowed{failed: many, lost: many}}
	tr.run(t, func() {
		broker.Stop()
		<-time.After(5 * time.Second)
		broker.Cont()
	})
}

func TestRabbitMQMemoryAlarm(t *testing.T) {
	broker := brokertest.SharedRabbitMQ(t)
	testAlarm(t, "RabbitMQ memory alarm", broker, broker.MemoryAlarm)
}

func TestRabbitMQDiskAlarm(t *testing.T) {
	slow(t)
	broker := brokertest.SharedRabbitMQ(t)
	testAlarm(t, "RabbitMQ disk alarm", broker, broker.DiskAlarm)
}

// testAlarm makes the broker take nothing from publishers. Calls wait until their timeout, and
// none runs twice.
func testAlarm(t *testing.T, name string, broker *brokertest.RabbitMQ, alarm func(on bool)) {
	tr := &trial{name: name, site: newRabbitSite(t, broker), allow: allowed{failed: many, lost: many}}
	tr.run(t, func() {
		alarm(true)
		defer alarm(false)
		tr.awaitFailed(t, 2*downtime)
	})
}

// The requests in a deleted queue are lost. The server creates the queue again.
func TestRabbitMQQueueDeleted(t *testing.T) {
	const times = 5
	s := newRabbitSite(t, brokertest.SharedRabbitMQ(t))
	tr := &trial{name: "RabbitMQ queue deleted", site: s, allow: allowed{failed: many, lost: many, again: times * prefetch}}
	tr.codec.MaxInFlight = 2 // so that requests wait
	tr.run(t, func() {
		for range times {
			servicetest.Eventually(t, func() bool { n, err := s.waiting(); return err == nil && n > 10 })
			s.delete(t)
			tr.awaitAnswered(t, enough/10)
		}
	})
}

// If only the confirmation of a request is lost, the call is answered.
func TestRabbitMQConfirmationDropped(t *testing.T) {
	s, proxy := rabbitBehindProxy(t, true)
	s.dialing.Persistent = true
	tr := &trial{name: "RabbitMQ's confirmation of a request dropped", site: s}
	testReplyDropped(t, tr, proxy, `"N":%d`, func(cuts int64) bool {
		return tr.conn.(*amqpconn.ClientConn).Stats().Reconnects == cuts
	})
}

// A message over the broker's limit makes the broker close the connection, and the calls on it
// fail.
func TestRabbitMQGiants(t *testing.T) {
	broker := brokertest.SharedRabbitMQ(t)
	limit := func(bytes string) {
		broker.Eval("application:set_env(rabbit, max_message_size, " + bytes + ")")
	}
	limit("1000000")
	defer limit("134217728")
	tr := &trial{name: "RabbitMQ: messages over its limit", site: newRabbitSite(t, broker), allow: allowed{failed: many, lost: many}}
	tr.note = func(tally) string {
		return fmt.Sprintf("%d such messages; calls published along with one are lost, too", giants)
	}
	tr.run(t, func() {
		for range giants {
			_, err := tr.ask(strings.Repeat("x", 2<<20))
			require.Error(t, err)
		}
	})
}

func TestRabbitMQOverMaxMessageSize(t *testing.T) {
	testOverMaxMessageSize(t, "RabbitMQ", newRabbitSite(t, brokertest.SharedRabbitMQ(t)))
}
