package amqpconn

import (
	"fmt"
	"log/slog"
	"math"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/micromessaging/jsonrpc2"
)

const (
	defaultPrefetch      = 64
	defaultMaxDeliveries = 20
)

// DialOptions are the options of Dial. The zero value is useful, and so is a
// nil pointer to it.
type DialOptions struct {
	// URLs are the other nodes of a cluster. Each try to connect goes to the next node.
	URLs []string

	// Config configures the connections: TLS, SASL, vhost, heartbeat (10 s if 0),
	// properties. Its Recovery is not used. Close does not wait for its Dial: if that
	// returns a connection later, the connection is closed.
	Config amqp.Config

	// Declare, if set, says how to create the request queue. The client creates it when
	// the client connects, and when a request finds that the queue was deleted or has
	// expired. If Declare is nil, a request to a missing queue fails with
	// jsonrpc2.ErrNoServer.
	Declare *Queue

	// RequireServer makes calls and notifications fail with jsonrpc2.ErrNoServer, unsent,
	// while nobody consumes the queue. Else they wait in the queue for a server to come.
	//
	// Before a request is published the client looks at the queue, unless it did so less
	// than 1 s ago. So it notices within 1 s when the last server has gone, or the first
	// one has come. The request waits for the look: a round trip, and 250 ms at most. A
	// client that sends nothing does not look.
	//
	// In doubt requests are sent. This is so for 15 s after the client has reconnected,
	// since servers may need as long to come back. It is also so when a look fails, which
	// is logged once until looks work again. A request that was published never fails for
	// lack of a consumer: if the last server goes just after a look, the request waits in
	// the queue.
	RequireServer bool

	// MaxBacklog limits the requests that wait in the queue; no limit if 0. A request
	// beyond it is not sent and fails with jsonrpc2.ErrOverloaded. The length that a
	// client knows is up to 100 ms old, so many clients together may exceed the limit.
	MaxBacklog int

	// Persistent makes the broker write requests to disk, if the queue is durable, and
	// confirm calls as it confirms notifications. Without it neither survives a restart of
	// the broker. With it a client makes about two thirds as many calls per second.
	Persistent bool

	// ReplyPerCall gives each call a reply queue of its own, named by the call's id. It
	// is for servers that answer on no other queue. A client then makes only a small part
	// of the calls per second.
	ReplyPerCall bool

	// Logger gets a line when a connection fails and when all works again;
	// slog.Default() if nil.
	Logger *slog.Logger
}

// ListenOptions are the options of Listen. The zero value is useful, and so is
// a nil pointer to it.
type ListenOptions struct {
	// URLs are the other nodes of a cluster. Each try to connect goes to the next node.
	URLs []string

	// Config configures the connections: TLS, SASL, vhost, heartbeat (10 s if 0),
	// properties. Its Recovery is not used. Close does not wait for its Dial: if that
	// returns a connection later, the connection is closed.
	Config amqp.Config

	// Queue says how the server creates its queue if the queue is missing.
	Queue Queue

	// Prefetch limits the messages that a server has taken and not yet answered; 64 if
	// 0, at most 65,535. ServerOptions.MaxInFlight limits them, too: a server takes no
	// more than it can start, so that no message waits here while another server is idle.
	Prefetch int

	// Guarantee is jsonrpc2.AtLeastOnce by default: the server acknowledges a request
	// when it has answered it. With jsonrpc2.AtMostOnce it does so before the request
	// runs.
	Guarantee jsonrpc2.Guarantee

	// ConfirmReplies delays the acknowledgement of a request until the broker has
	// confirmed the answer. Without it the server acknowledges a request when the answer
	// has been written to the connection. With it an answer that was lost with a connection
	// is published again, and if an answer can't be published for 30 s, its request is
	// given back.
	ConfirmReplies bool

	// MaxDeliveries is how often a request may be delivered without being acknowledged;
	// 20 if 0, no limit if negative. The next delivery is rejected: the request leaves the
	// queue, and its caller waits until the timeout. With Queue.DeadLetter it goes to the
	// DeadList of the queue. Else it goes to the queue's dead-letter exchange, if there is
	// one, or is dropped. Only quorum queues count deliveries.
	MaxDeliveries int

	// Logger gets a line when a connection fails and when all works again;
	// slog.Default() if nil.
	Logger *slog.Logger
}

// setDefaults sets the delivery limit of the queue, in a copy of Declare: the original is
// the caller's.
func (o *DialOptions) setDefaults() {
	if o.Declare != nil {
		declare := *o.Declare
		declare.deliveryLimit = defaultMaxDeliveries
		o.Declare = &declare
	}
}

func (o *ListenOptions) setDefaults() {
	if o.Prefetch == 0 {
		o.Prefetch = defaultPrefetch
	}
	if o.MaxDeliveries == 0 {
		o.MaxDeliveries = defaultMaxDeliveries
	}
	o.Queue.deliveryLimit = o.MaxDeliveries
}

func (o *ListenOptions) check(queue string) error {
	switch {
	case o.Prefetch < 0:
		return fmt.Errorf("amqpconn: queue %q: Prefetch is %d, less than 0", queue, o.Prefetch)
	case o.Prefetch > math.MaxUint16:
		return fmt.Errorf("amqpconn: queue %q: Prefetch is %d, more than %d", queue, o.Prefetch, math.MaxUint16)
	case o.Guarantee < jsonrpc2.BrokerDefault || o.Guarantee > jsonrpc2.AtLeastOnce:
		return fmt.Errorf("amqpconn: queue %q: Guarantee is %d, which is none", queue, o.Guarantee)
	}
	return o.Queue.check(queue)
}
