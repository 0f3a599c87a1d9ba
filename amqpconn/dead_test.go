package amqpconn_test

import (
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/amqpconn"
	"github.com/micromessaging/jsonrpc2/internal/deadtest"
	"github.com/micromessaging/jsonrpc2/internal/servicetest"
)

func TestDeadList(t *testing.T) {
	t.Parallel()
	for name, queue := range map[string]amqpconn.Queue{
		"classic": {DeadLetter: true},
		"quorum":  {DeadLetter: true, Quorum: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			deadtest.Run(t, func(t *testing.T) deadtest.Site { return newDeadSite(t, queue) })
		})
	}
}

// A deadSite is a queue with dead requests.
type deadSite struct {
	site
	created amqpconn.Queue
}

// newDeadSite returns a site whose queue is there. The test's cleanup deletes what belongs to
// it.
func newDeadSite(t *testing.T, queue amqpconn.Queue) deadSite {
	t.Helper()
	s := deadSite{newSite(t), queue}
	t.Cleanup(func() {
		servicetest.Eventually(t, func() bool { _, there := s.inspect(s.queue + ".dead.look"); return !there })
		s.deleteDead(t)
	})
	s.create(t)
	return s
}

// create starts a server, which creates the queue, and ends it.
func (s deadSite) create(t *testing.T) {
	t.Helper()
	serve(t, s.site, &amqpconn.ListenOptions{Queue: s.created, Logger: servicetest.Quiet}).End(t)
}

func (s site) deadQueue() string { return s.queue + ".dead" }

// deleteDead deletes what belongs to the queue.
func (s site) deleteDead(t *testing.T) {
	t.Helper()
	ch := s.channel(t)
	_, err := ch.QueueDelete(s.deadQueue(), false, false, false)
	require.NoError(t, err)
	require.NoError(t, ch.ExchangeDelete(s.deadQueue(), false, false))
}

// deadList returns the DeadList of the queue.
func (s site) deadList(t *testing.T) *amqpconn.DeadList {
	t.Helper()
	list, err := amqpconn.NewDeadList(s.url, s.queue, nil)
	require.NoError(t, err)
	return list
}

// requireDead waits until so many requests are dead.
func (s site) requireDead(t *testing.T, n int) {
	t.Helper()
	servicetest.Eventually(t, func() bool {
		q, ok := s.inspect(s.deadQueue())
		return ok && q.Messages == n
	}, "want %d dead requests", n)
}

// List implements deadtest.Site.
func (s deadSite) List(t *testing.T, dial deadtest.Dial) jsonrpc2.DeadList {
	list, err := amqpconn.NewDeadList(s.url, s.queue, &amqpconn.DeadListOptions{Config: amqp.Config{Dial: dial}})
	require.NoError(t, err)
	return list
}

// Bury implements deadtest.Site.
func (s deadSite) Bury(t *testing.T, requests ...string) {
	t.Helper()
	before, err := s.deadList(t).Len(t.Context())
	require.NoError(t, err)
	s.Push(t, requests...)
	s.reject(t, requests...)
	s.requireDead(t, before+len(requests))
}

// reject rejects requests that wait, as a server does that has seen them too often.
func (s site) reject(t *testing.T, requests ...string) {
	t.Helper()
	ch := s.channel(t)
	defer ch.Close() // gives the others back
	for len(requests) > 0 {
		d, ok, err := ch.Get(s.queue, false)
		require.NoError(t, err)
		require.True(t, ok, "%q is not there", requests[0])
		if string(d.Body) == requests[0] {
			require.NoError(t, d.Reject(false))
			requests = requests[1:]
		}
	}
}

// Push implements deadtest.Site.
func (s deadSite) Push(t *testing.T, requests ...string) {
	t.Helper()
	ch := s.channel(t)
	require.NoError(t, ch.Confirm(false))
	var confirmations []*amqp.DeferredConfirmation
	for _, request := range requests {
		msg := amqp.Publishing{Body: []byte(request), Expiration: "3600000"}
		c, err := ch.PublishWithDeferredConfirmWithContext(t.Context(), "", s.queue, true, false, msg)
		require.NoError(t, err)
		confirmations = append(confirmations, c)
	}
	for _, c := range confirmations {
		require.True(t, c.Wait())
	}
	require.NoError(t, ch.Close())
}

// Drain implements deadtest.Site.
func (s deadSite) Drain(t *testing.T) (requests []string) {
	t.Helper()
	ch := s.channel(t)
	for {
		d, ok, err := ch.Get(s.queue, true)
		require.NoError(t, err)
		if !ok {
			return requests
		}
		requests = append(requests, string(d.Body))
	}
}

// Break implements deadtest.Site.
func (s deadSite) Break(t *testing.T) (mend func()) {
	t.Helper()
	s.delete(t)
	return func() { s.create(t) }
}
