package amqpconn_test

import (
	"encoding/base64"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/amqpconn"
	"github.com/micromessaging/jsonrpc2/internal/servicetest"
)

// strangers returns reply addresses that are no good.
func strangers(t *testing.T, s site) map[string]string {
	t.Helper()
	ch := s.channel(t)
	deleted, err := ch.QueueDeclare("", false, false, true, false, nil)
	require.NoError(t, err)
	_, err = ch.QueueDelete(deleted.Name, false, false, false)
	require.NoError(t, err)
	const direct = "amq.rabbitmq.reply-to"
	forged := func(term string) string {
		return direct + "." + base64.StdEncoding.EncodeToString([]byte(term)) + ".key"
	}
	return map[string]string{
		"forged":              direct + ".x.y",
		"no term":             forged("garbage"),
		"another term":        forged("\x83d\x00\x03foo"),
		"giant term":          forged("\x83m\xff\xff\xff\xff"),
		"another cluster's":   direct + ".g1h3EnJhYmJpdEBlbHNld2hlcmUuZQAAAqwAAAAAawpX5w==.GzHYhjGJmvuMi+ubjtyIaQ==",
		"no key":              direct + ".",
		"too many parts":      direct + ".a.b.c",
		"another of theirs":   "amq.rabbitmq.trace",
		"reserved":            "amq.nothing",
		"an exchange's":       "amq.direct",
		"no queue any more":   deleted.Name,
		"no queue":            "nobody",
		"bytes":               "a\xff\x00b",
		"reserved bytes":      direct + ".\xff.\x00",
		"the served queue":    s.queue,
		"as long as can be":   direct + "." + strings.Repeat("x", 230) + ".y",
		"long and no queue's": strings.Repeat("x", 255),
	}
}

// A stranger's request with a bad reply address costs no other request its answer. RabbitMQ
// ends the connection that publishes to a direct reply-to address which it can't decode, and
// drops all that was written after that.
// AMQPCONN_TEST_ROUNDS asks for more rounds.
func TestStrangersAddress(t *testing.T) {
	t.Parallel()
	const beside = 10
	rounds, err := strconv.Atoi(os.Getenv("AMQPCONN_TEST_ROUNDS"))
	if err != nil {
		rounds = 3
	}
	for name, confirm := range map[string]bool{"written": false, "confirmed": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			var log servicetest.LogBook
			w := serveWith(t, s, &amqpconn.ListenOptions{ConfirmReplies: confirm, Logger: log.Logger()}, jsonrpc2.ServerOptions{Logger: servicetest.Quiet})
			ch, direct := s.channel(t), s.channel(t)
			own, answers := replyQueue(t, ch, "")
			const replyTo = "amq.rabbitmq.reply-to"
			directs, err := direct.Consume(replyTo, "", true, false, false, false, nil)
			require.NoError(t, err)
			id, requests := 0, 0
			request := func() []byte { id++; return []byte(add(fmt.Sprint(id))) }
			for range rounds {
				for kind, address := range strangers(t, s) {
					for _, asID := range []bool{false, true} {
						bad := amqp.Publishing{ReplyTo: address, Body: request()}
						if asID {
							if !isText(address) {
								continue
							}
							bad = amqp.Publishing{Body: []byte(add(fmt.Sprintf("%q", address)))}
						}
						good := amqp.Publishing{ReplyTo: own, Body: request()}
						for i := range beside {
							if i == beside/2 {
								s.publish(t, ch, bad)
								s.publish(t, direct, amqp.Publishing{ReplyTo: replyTo, Body: request()})
								requests += 2
							}
							s.publish(t, ch, good)
						}
						for range beside {
							require.Contains(t, string(take(t, answers).Body), `"result":6.1`, kind)
						}
						require.Contains(t, string(take(t, directs).Body), `"result":6.1`, kind)
						requests += beside
					}
				}
			}
			s.requireWaiting(t, 0)
			w.End(t)
			s.requireWaiting(t, 0)
			stats := w.conn.Stats()
			require.EqualValues(t, requests, stats.Requests)
			require.Zero(t, stats.Reconnects, &log)
			require.Zero(t, log.Count("impaired"), &log)
		})
	}
}

// isText reports whether a name can be an id.
func isText(name string) bool { return utf8.ValidString(name) && !strings.Contains(name, "\x00") }

// An id is no reply queue if it begins as a name that only the broker gives. As a reply_to
// such a name is one.
func TestReservedID(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	w := serve(t, s, nil)
	ch := s.channel(t)
	own, answers := replyQueue(t, ch, "")
	s.publish(t, ch, amqp.Publishing{Body: []byte(add(fmt.Sprintf("%q", own)))})
	s.publish(t, ch, amqp.Publishing{ReplyTo: own, Body: []byte(add("1"))})
	require.Equal(t, six("1"), string(take(t, answers).Body))
	w.End(t)
	servicetest.EventuallyEqual(t, amqpconn.ServerStats{Requests: 2, Replies: 1, NoAddress: 1}, w.conn.Stats)
}
