package amqpconn_test

import (
	"context"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/amqpconn"
	"github.com/micromessaging/jsonrpc2/internal/brokertest"
	"github.com/micromessaging/jsonrpc2/internal/servicetest"
)

// requireState requires that a look at a queue soon tells a state.
func (s site) requireState(t *testing.T, want amqpconn.QueueState) {
	t.Helper()
	servicetest.EventuallyEqual(t, want, func() amqpconn.QueueState {
		state, err := amqpconn.Look(t.Context(), s.url, s.queue, nil)
		require.NoError(t, err)
		return state
	})
}

func TestLook(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.declare(t, true, false, nil)
	s.requireState(t, amqpconn.QueueState{})
	ch := s.channel(t)
	for range 3 {
		s.publish(t, ch, amqp.Publishing{Body: []byte(add("1"))})
	}
	for range 2 { // a look takes nothing
		s.requireState(t, amqpconn.QueueState{Waiting: 3})
	}
	serve(t, s, nil)
	s.requireState(t, amqpconn.QueueState{Consumers: 1})
}

// A look counts the dead requests where the queue keeps them.
func TestLookAtDeadRequests(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	serve(t, s, &amqpconn.ListenOptions{Queue: amqpconn.Queue{DeadLetter: true}, Logger: servicetest.Quiet})
	s.requireState(t, amqpconn.QueueState{Consumers: 1, KeepsDead: true})
	dead := site{s.url, s.queue + ".dead"}
	t.Cleanup(func() {
		require.NoError(t, s.channel(t).ExchangeDelete(dead.queue, false, false))
		dead.delete(t)
	})
	ch := s.channel(t)
	for range 2 {
		dead.publish(t, ch, amqp.Publishing{Body: []byte(add("1"))})
	}
	s.requireState(t, amqpconn.QueueState{Consumers: 1, KeepsDead: true, Dead: 2})
}

func TestLookFails(t *testing.T) {
	t.Parallel()
	s := site{brokertest.SharedRabbitMQ(t).URL(), "there is no " + t.Name()}
	_, err := amqpconn.Look(t.Context(), s.url, s.queue, nil)
	require.ErrorIs(t, err, jsonrpc2.ErrNoServer)
	require.ErrorContains(t, err, s.queue)

	_, err = amqpconn.Look(t.Context(), "amqp://guest:s3cret@[", s.queue, nil)
	require.ErrorContains(t, err, "URL 1 of 1 is bad")
	require.NotContains(t, err.Error(), "s3cret")

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = amqpconn.Look(ctx, s.url, s.queue, nil)
	require.ErrorIs(t, err, context.Canceled)
}

// A look goes to the first node that answers.
func TestLookAtACluster(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.declare(t, true, false, nil)
	proxy := brokertest.StartProxy(t, brokertest.SharedRabbitMQ(t).Addr)
	proxy.Refuse(true)
	gone := s.at(proxy.Addr).url
	_, err := amqpconn.Look(t.Context(), gone, s.queue, &amqpconn.LookOptions{URLs: []string{s.url}})
	require.NoError(t, err)
	_, err = amqpconn.Look(t.Context(), gone, s.queue, nil)
	require.ErrorContains(t, err, proxy.Addr)
}

// A look needs no right of RabbitMQ.
func TestLookWithoutRights(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.declare(t, true, false, nil)
	u := s.as(t, brokertest.SharedRabbitMQ(t), nothing, nothing, nothing)
	_, err := amqpconn.Look(t.Context(), u.url, u.queue, nil)
	require.NoError(t, err)
}
