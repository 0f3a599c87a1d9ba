package amqpconn

import (
	"io"
	"testing"
	"testing/synctest"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2/internal/link"
)

// A channel on which all is refused is given up after a while, one on which a
// message is confirmed now and then is not.
func TestChannelThatRefusesAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var gaveUp error
		r := refusals{giveUp: func(err error) { gaveUp = err }}
		for range 10 {
			r.add(false)
			time.Sleep(maxRefusal - 1)
			r.add(false)
			r.add(true)
		}
		require.NoError(t, gaveUp)
		r.add(false)
		time.Sleep(maxRefusal)
		r.add(false)
		require.ErrorIs(t, gaveUp, errAllRefused)
	})
}

// Without confirms a message was taken when a later question is answered, unless it
// came back before. Nothing is known of what came behind the last question.
func TestTrackedWithoutConfirms(t *testing.T) {
	t.Parallel()
	told := make(chan fate[string], 10)
	s := newPublishSession[string](nil, nil, nil)
	p := newPublisher[string](nil, nil, "")
	p.report = func(fates []fate[string]) {
		for _, f := range fates {
			told <- f
		}
	}
	back := make(chan string, 10)
	p.returned = func(_ amqp.Return, item *string) { back <- *item }
	returns := make(chan amqp.Return, 64)
	publish := func(number int64, item string) {
		s.tracking.unreported.Add(1)
		s.tracking.mu.Lock()
		s.tracking.unseen = append(s.tracking.unseen, tracked[string]{item: item, number: number, messageID: item})
		s.tracking.mu.Unlock()
		link.Signal(s.tracking.added)
	}
	ended := make(chan struct{})
	go func() { defer close(ended); p.listener(s, returns, nil).listen() }()

	publish(1, "a")
	publish(3, "b") // the second one is not tracked
	publish(4, "c")
	publish(5, "d")
	returns <- amqp.Return{MessageId: "b"}
	require.Equal(t, "b", <-back)
	require.Empty(t, told)
	s.checks.arrived.Store(4)
	link.Signal(s.checks.answered)
	require.Equal(t, fate[string]{"a", nil}, <-told)
	require.Equal(t, fate[string]{"b", errReturned}, <-told)
	require.Equal(t, fate[string]{"c", nil}, <-told)

	s.cause = io.ErrUnexpectedEOF
	close(s.gone)
	close(returns)
	last := <-told
	require.Equal(t, "d", last.item)
	require.ErrorIs(t, last.err, errUnconfirmed)
	require.ErrorIs(t, last.err, io.ErrUnexpectedEOF)
	<-ended
	s.tracking.unreported.Wait()
}
