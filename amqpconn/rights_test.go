package amqpconn_test

import (
	"os"
	"regexp"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/amqpconn"
	"github.com/micromessaging/jsonrpc2/internal/brokertest"
	"github.com/micromessaging/jsonrpc2/internal/servicetest"
)

// Patterns of the rights that the package documents. QUEUE stands for the queue.
const (
	nothing   = "^$"
	byDefault = `^amq\.default$`
	replies   = `^amq\.gen-`
	perCall   = `^(amq\.gen-.*|[0-9a-z-]+)$`
)

var placeholder = regexp.MustCompile("QUEUE")

func (s site) fill(pattern string) string {
	return placeholder.ReplaceAllLiteralString(pattern, regexp.QuoteMeta(s.queue))
}

// lesser calls f with each of the patterns taken away, and the name of the right.
func lesser(patterns [3]string, f func(right string, patterns [3]string)) {
	for i, right := range []string{"right to configure", "right to write", "right to read"} {
		if patterns[i] != nothing {
			less := patterns
			less[i] = nothing
			f(right, less)
		}
	}
}

// The users that docs/operations.md makes have the rights that the tests here find to be needed.
func TestRightsOfOperationsPage(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../docs/operations.md")
	require.NoError(t, err)
	calc := site{queue: "calc"}
	for user, patterns := range map[string][3]string{
		"calc-client":      {replies, byDefault, replies},
		"calc-server":      {"^QUEUE$", byDefault, "^QUEUE$"},
		"calc-server-dead": {`^QUEUE(\.dead)?$`, `^(amq\.default|QUEUE\.dead)$`, `^QUEUE(\.dead)?$`},
		"calc-operator":    {`^QUEUE\.dead\.look$`, byDefault, `^QUEUE\.dead$`},
	} {
		line := "\nrabbitmqctl set_permissions " + user
		for _, pattern := range patterns {
			line += " '" + calc.fill(pattern) + "'"
		}
		require.Contains(t, string(page), line+"\n")
	}
}

// A client works with the rights that are documented, and with one less its error
// names that.
func TestRightsOfAClient(t *testing.T) {
	t.Parallel()
	broker := brokertest.SharedRabbitMQ(t)
	for name, test := range map[string]struct {
		opts     amqpconn.DialOptions
		patterns [3]string
	}{
		"default":    {amqpconn.DialOptions{}, [3]string{replies, byDefault, replies}},
		"persistent": {amqpconn.DialOptions{Persistent: true}, [3]string{replies, byDefault, replies}},
		"looks":      {amqpconn.DialOptions{RequireServer: true, MaxBacklog: 1 << 20}, [3]string{replies, byDefault, replies}},
		"declares":   {amqpconn.DialOptions{Declare: &amqpconn.Queue{}}, [3]string{`^(amq\.gen-.*|QUEUE)$`, byDefault, replies}},
		"per call":   {amqpconn.DialOptions{ReplyPerCall: true}, [3]string{perCall, byDefault, perCall}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			test.opts.Logger = servicetest.Quiet
			as := func(p [3]string) site { return s.as(t, broker, s.fill(p[0]), s.fill(p[1]), s.fill(p[2])) }
			if test.opts.Declare != nil {
				dial(t, as(test.patterns), &test.opts, 0)
				s.requireWaiting(t, 0)
			}
			serve(t, s, nil)
			c := dial(t, as(test.patterns), &test.opts, 0)
			servicetest.RequireCalls(t, c.Client, 3)
			require.NoError(t, jsonrpc2.Notify(t.Context(), c.Client, "Calc.Add", nil))
			lesser(test.patterns, func(right string, patterns [3]string) {
				u := as(patterns)
				err := dialing(t, u, &test.opts, 0).failure()
				require.ErrorIs(t, err, jsonrpc2.ErrUnavailable, right)
				require.ErrorContains(t, err, right)
			})
		})
	}
}

// A client that may not create the queue names that, too.
func TestRightToDeclare(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	u := s.as(t, brokertest.SharedRabbitMQ(t), replies, byDefault, replies)
	err := dialing(t, u, &amqpconn.DialOptions{Declare: &amqpconn.Queue{}, Logger: servicetest.Quiet}, 0).failure()
	require.ErrorIs(t, err, jsonrpc2.ErrUnavailable)
	require.ErrorContains(t, err, "right to configure")
	require.ErrorContains(t, err, s.queue)
}

// A server works with the rights that are documented, and with one less its log
// names that.
func TestRightsOfAServer(t *testing.T) {
	t.Parallel()
	broker := brokertest.SharedRabbitMQ(t)
	for name, test := range map[string]struct {
		exists   bool // the queue
		opts     amqpconn.ListenOptions
		patterns [3]string
	}{
		"default":  {true, amqpconn.ListenOptions{}, [3]string{nothing, byDefault, "^QUEUE$"}},
		"confirms": {true, amqpconn.ListenOptions{ConfirmReplies: true}, [3]string{nothing, byDefault, "^QUEUE$"}},
		"once":     {true, amqpconn.ListenOptions{Guarantee: jsonrpc2.AtMostOnce}, [3]string{nothing, byDefault, "^QUEUE$"}},
		"creates":  {false, amqpconn.ListenOptions{}, [3]string{"^QUEUE$", byDefault, "^QUEUE$"}},
		"creates with a dead-letter exchange": {false, amqpconn.ListenOptions{Queue: amqpconn.Queue{Args: amqp.Table{"x-dead-letter-exchange": "amq.fanout"}}},
			[3]string{"^QUEUE$", `^amq\.(default|fanout)$`, "^QUEUE$"}},
		"creates with dead requests": {false, amqpconn.ListenOptions{Queue: amqpconn.Queue{DeadLetter: true, Quorum: true}},
			[3]string{`^QUEUE(\.dead)?$`, `^(amq\.default|QUEUE\.dead)$`, `^QUEUE(\.dead)?$`}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			as := func(p [3]string) site { return s.as(t, broker, s.fill(p[0]), s.fill(p[1]), s.fill(p[2])) }
			if test.opts.Queue.DeadLetter {
				t.Cleanup(func() { s.deleteDead(t) })
			}
			if test.exists {
				s.declare(t, true, false, nil)
			}
			lesser(test.patterns, func(right string, patterns [3]string) {
				var log servicetest.LogBook
				opts := test.opts
				opts.Logger = log.Logger()
				w := start(t, as(patterns), &opts, jsonrpc2.ServerOptions{Logger: servicetest.Quiet})
				servicetest.Eventually(t, func() bool { return log.Count("level=ERROR", right, "403") > 0 }, &log)
				w.End(t)
				if !test.exists {
					s.delete(t)
				}
				if test.opts.Queue.DeadLetter {
					s.deleteDead(t)
				}
			})
			opts := test.opts
			opts.Logger = servicetest.Quiet
			serve(t, as(test.patterns), &opts)
			servicetest.RequireCalls(t, dial(t, s, nil, 0).Client, 3)
			ch := s.channel(t) // and the ways to answer that are rare
			const direct = "amq.rabbitmq.reply-to"
			answers, err := ch.Consume(direct, "", true, false, false, false, nil)
			require.NoError(t, err)
			s.publish(t, ch, amqp.Publishing{ReplyTo: direct, Body: []byte(add("1"))})
			require.Equal(t, six("1"), string(take(t, answers).Body))
		})
	}
}

// A DeadList works with the rights that are documented, and with one less its errors name that.
func TestRightsOfADeadList(t *testing.T) {
	t.Parallel()
	broker := brokertest.SharedRabbitMQ(t)
	s := newDeadSite(t, amqpconn.Queue{DeadLetter: true})
	use := func(p [3]string, requeue bool) error {
		s.Bury(t, request(0), request(1))
		list := s.as(t, broker, s.fill(p[0]), s.fill(p[1]), s.fill(p[2])).deadList(t)
		n, err := list.Len(t.Context())
		require.NoError(t, err, "needs no right")
		require.NotZero(t, n)
		dead, err := list.List(t.Context(), 2)
		if err == nil && requeue {
			_, err = list.Requeue(t.Context(), dead[0])
		}
		if err == nil {
			_, err = list.Delete(t.Context(), dead[1])
		}
		return err
	}
	for _, requeue := range []bool{false, true} {
		patterns := [3]string{`^QUEUE\.dead\.look$`, nothing, `^QUEUE\.dead$`}
		if requeue {
			patterns[1] = byDefault
		}
		require.NoError(t, use(patterns, requeue))
		lesser(patterns, func(right string, patterns [3]string) {
			err := use(patterns, requeue)
			require.ErrorContains(t, err, right)
			require.ErrorContains(t, err, "403")
		})
	}
}
