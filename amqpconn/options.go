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
	// URLs are the other nodes of a cluster. Each try to connect goes to the next one.
	URLs []string

	// Config configures the connections: TLS, SASL, vhost, heartbeat (10 s if 0),
	// properties. Its Recovery is not used.
	Config amqp.Config

	// Declare, if set, creates the request queue if it is missing, also if it was
	// deleted or has expired meanwhile. Else a request to a missing queue fails with
	// jsonrpc2.ErrNoServer.
	Declare *Queue

	// RequireServer makes calls and notifications fail with jsonrpc2.ErrNoServer, unsent,
	// while nobody consumes the queue. Else they wait in the queue for a server to come.
	//
	// Before a request is published the client looks at the queue, unless it did so less
	// than 1 s ago. So it notices within 1 s when the last server has gone, or the first
	// one has come. The request waits for the look: a round trip, and 250 ms at most. A
	// client that sends nothing looks at nothing.
	//
	// In doubt requests are sent: for 15 s after the client has reconnected, since servers
	// may need as long to come back, and when a look fails, which is logged once until
	// looks work again. What was published never fails for this reason. If the last server
	// goes just after a look, a request waits in the queue.
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
	// is for servers that answer on no other queue. It costs most of the calls per
	// second.
	ReplyPerCall bool

	// Logger gets a line when a connection fails and when all works again;
	// slog.Default() if nil.
	Logger *slog.Logger
}

// ListenOptions are the options of Listen. The zero value is useful, and so is
// a nil pointer to it.
type ListenOptions struct {
	// URLs are the other nodes of a cluster. Each try to connect goes to the next one.
	URLs []string

	// Config configures the connections: TLS, SASL, vhost, heartbeat (10 s if 0),
	// properties. Its Recovery is not used.
	Config amqp.Config

	// Queue says how the server creates its queue if that is missing.
	Queue Queue

	// Prefetch limits the messages that a server has taken and not yet answered; 64 if
	// 0, at most 65,535. ServerOptions.MaxInFlight limits them, too: a server takes no
	// more than it can start, so that none waits here while another server is idle.
	Prefetch int

	// Guarantee is jsonrpc2.AtLeastOnce by default: the server acknowledges a request
	// when it has answered it. With jsonrpc2.AtMostOnce it does so before the request
	// runs.
	Guarantee jsonrpc2.Guarantee

	// ConfirmReplies delays the acknowledgement of a request until the broker has
	// confirmed the answer. Else it follows when the answer has been written to the
	// connection. An answer that was lost with a connection is published again. If
	// an answer can't be published for 30 s, its request is given back.
	ConfirmReplies bool

	// MaxDeliveries is how often a request may be delivered without being acknowledged;
	// 20 if 0, no limit if negative. Then it leaves the queue, and its caller waits for his
	// timeout. With Queue.DeadLetter it goes to the queue's DeadList, else to another
	// dead-letter exchange of the queue, if it has one, or it is dropped. Only quorum
	// queues count deliveries.
	MaxDeliveries int

	// Logger gets a line when a connection fails and when all works again;
	// slog.Default() if nil.
	Logger *slog.Logger
}

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
