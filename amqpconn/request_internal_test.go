package amqpconn

import (
	"bytes"
	"math"
	"testing"
	"testing/synctest"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2"
)

// gone acknowledges nothing, as a connection that has failed.
type gone struct{}

func (gone) Ack(uint64, bool) error        { return amqp.ErrClosed }
func (gone) Nack(uint64, bool, bool) error { return amqp.ErrClosed }
func (gone) Reject(uint64, bool) error     { return amqp.ErrClosed }

// What can't be acknowledged is delivered again. With AtMostOnce it is not run
// before.
func TestAtMostOnceUnacknowledged(t *testing.T) {
	request := amqp.Delivery{
		Acknowledger: gone{},
		ReplyTo:      "there",
		Body:         []byte(`{"jsonrpc":"2.0","id":"1","method":"add","params":[1,5.1]}`),
	}
	for guarantee, want := range map[jsonrpc2.Guarantee]error{jsonrpc2.AtMostOnce: amqp.ErrClosed, jsonrpc2.BrokerDefault: nil} {
		s := newServerConn(nil, "calc", ListenOptions{Guarantee: guarantee})
		require.ErrorIs(t, s.deliverer.deliver(delivery{Delivery: request}).Err, want)
	}
}

// The codec goes on with the scan of a request's header: it is one of the very text
// that is handed over.
func TestHeaderOfADelivery(t *testing.T) {
	s := newServerConn(nil, "calc", ListenOptions{})
	for range 2 { // the header is used again
		body := []byte(`{"jsonrpc":"2.0","id":"one","method":"add"}`)
		d := s.deliverer.deliver(delivery{Delivery: amqp.Delivery{Body: body}})
		require.Same(t, &body[0], &d.Body[0])
		require.Equal(t, "one", d.Header.ID())
		copy(body[bytes.Index(body, []byte("one")):], "two")
		require.Equal(t, "two", d.Header.ID())
	}
}

// A request says for how long its caller waits, as far as RabbitMQ takes it: it
// closes the channel for an expiration that it does not take, and drops what else
// is on it.
func TestExpiration(t *testing.T) {
	t.Parallel()
	const year = 365 * 24 * time.Hour
	for want, timeouts := range map[string][]time.Duration{
		"1":          {1, time.Millisecond, 0, -time.Second, -100 * year, math.MinInt64},
		"1500":       {1500 * time.Millisecond, 1500*time.Millisecond + 999*time.Microsecond},
		"4294967295": {maxExpiration * time.Millisecond, (maxExpiration+1)*time.Millisecond - 1},
		"":           {(maxExpiration + 1) * time.Millisecond, 11 * year, 100 * year, 290 * year, math.MaxInt64},
	} {
		for _, timeout := range timeouts {
			synctest.Test(t, func(t *testing.T) {
				require.Equal(t, want, expiration(time.Now().Add(timeout)), "%v", timeout)
			})
		}
	}
	require.Empty(t, expiration(time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC)))
	require.Empty(t, expiration(time.Time{}))
}
