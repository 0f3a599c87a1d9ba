package amqpconn_test

import (
	"crypto/rand"
	"fmt"
	"sync"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/amqpconn"
	"github.com/micromessaging/jsonrpc2/internal/servicetest"
)

// Some clients declare the queue that is named by their request's id only after they have
// published the request. They get their answer, even if they are seconds late.
func TestReplyQueueDeclaredLate(t *testing.T) {
	t.Parallel()
	const clients, calls = 8, 13
	for _, confirm := range []bool{false, true} {
		for style, replyTo := range map[string]bool{"id": false, "reply_to is the id": true} {
			t.Run(fmt.Sprint(style, ", confirm ", confirm), func(t *testing.T) {
				t.Parallel()
				s := newSite(t)
				w := serve(t, s, &amqpconn.ListenOptions{ConfirmReplies: confirm, Logger: servicetest.Quiet})
				var calling sync.WaitGroup
				for range clients {
					ch := s.channel(t)
					calling.Go(func() {
						for i := range calls {
							id := rand.Text()
							request := amqp.Publishing{Body: []byte(add(fmt.Sprintf("%q", id)))}
							if replyTo {
								request.ReplyTo = id
							}
							assert.NoError(t, ch.PublishWithContext(t.Context(), "", s.queue, false, false, request))
							time.Sleep(time.Duration(i*i) * 10 * time.Millisecond) // as late as that
							q, err := ch.QueueDeclare(id, false, true, false, false, nil)
							assert.NoError(t, err)
							deliveries, err := ch.Consume(q.Name, id, true, false, false, false, nil)
							assert.NoError(t, err)
							select {
							case d := <-deliveries:
								assert.Contains(t, string(d.Body), `"result":6.1`)
							case <-time.After(servicetest.Soon):
								assert.Fail(t, "no answer")
							}
							assert.NoError(t, ch.Cancel(id, false))
						}
					})
				}
				calling.Wait()
				w.End(t)
				stats := w.conn.Stats()
				require.EqualValues(t, clients*calls, stats.Replies)
				require.Zero(t, stats.Undelivered)
				s.requireWaiting(t, 0)
			})
		}
	}
}

// Strangers who name queues that never come hold up nobody, leave nothing in the
// broker, and are forgotten.
func TestReplyQueuesThatNeverCome(t *testing.T) {
	t.Parallel()
	const strangers = 1000 // more than are kept
	s := newSite(t)
	w := serveWith(t, s, &amqpconn.ListenOptions{ConfirmReplies: true, Logger: servicetest.Quiet}, jsonrpc2.ServerOptions{Logger: servicetest.Quiet})
	ch := s.channel(t)
	own, answers := replyQueue(t, ch, "")
	prefix := rand.Text()
	for i := range strangers {
		s.publish(t, ch, amqp.Publishing{Body: []byte(add(fmt.Sprintf(`"%s %d"`, prefix, i)))})
		if i%100 == 0 {
			s.publish(t, ch, amqp.Publishing{ReplyTo: own, Body: []byte(add("1"))})
			take(t, answers)
		}
	}
	id := rand.Text() // also one who is late, behind so many
	s.publish(t, ch, amqp.Publishing{Body: []byte(add(fmt.Sprintf("%q", id)))})
	servicetest.Eventually(t, func() bool { return w.conn.Stats().Requests == strangers+strangers/100+1 })
	_, late := replyQueue(t, ch, id)
	require.Contains(t, string(take(t, late).Body), id)
	servicetest.Eventually(t, func() bool { return w.conn.Stats().Undelivered == strangers })
	_, ok := s.inspect(prefix + " 1")
	require.False(t, ok)
	begin := time.Now()
	w.End(t)
	require.Less(t, time.Since(begin), closeTime)
}
