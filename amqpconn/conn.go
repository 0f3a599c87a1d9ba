package amqpconn

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/micromessaging/jsonrpc2"
)

const (
	defaultPrefetch      = 64
	defaultMaxDeliveries = 20
)

const (
	// sendPatience is how long a request waits for a connection.
	sendPatience = 1500 * time.Millisecond

	// greetedPatience is for how much longer a request waits while a broker does
	// not say yet whether it lets us in.
	greetedPatience = 2500 * time.Millisecond

	// replyPatience is how long an answer waits for a connection.
	replyPatience = 30 * time.Second

	// sendGrace, hangGrace and closeGrace bound Close together: for what was
	// handed over to be sent, for a write that hangs, and for the connections
	// to be closed in good order.
	sendGrace  = time.Second
	hangGrace  = 100 * time.Millisecond
	closeGrace = 500 * time.Millisecond

	// maxPause is between two looks whether there is a connection; a new one is
	// noticed at once.
	maxPause = 250 * time.Millisecond

	// maxAddress is how long the name of a queue may be.
	maxAddress = 255
)

// A Queue says how to create a queue that is missing. A queue that exists is used as
// it is. The zero value creates a durable classic queue.
type Queue struct {
	// Plain creates a classic queue that is not durable. Some programs declare their
	// queue so, and fail if it exists with other attributes. It excludes Quorum.
	Plain bool

	// Quorum creates a quorum queue: it is replicated and counts deliveries. Its
	// x-delivery-limit is that of Args, else the server's MaxDeliveries, or 20 for
	// DialOptions.Declare.
	Quorum bool

	deliveryLimit int // none if not positive

	// Args are further arguments of the queue, such as x-message-ttl, x-max-length or
	// x-dead-letter-exchange.
	Args amqp.Table
}

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

	// RequireConsumer makes requests fail with jsonrpc2.ErrNoServer while nobody
	// consumes the queue. What is known of the consumers is up to 1 s old.
	RequireConsumer bool

	// MaxBacklog limits the requests that wait in the queue; no limit if 0. A request
	// beyond it is not sent and fails with jsonrpc2.ErrOverloaded. The length that a
	// client knows is up to 100 ms old, so many clients together may exceed the limit.
	MaxBacklog int

	// Persistent makes the broker write requests to disk, if the queue is durable, and
	// confirm them. It costs about a third of the calls per second.
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
	// 20 if 0, no limit if negative. Then it is dropped to the queue's dead-letter
	// exchange, if it has one. Only quorum queues count deliveries.
	MaxDeliveries int

	// Logger gets a line when a connection fails and when all works again;
	// slog.Default() if nil.
	Logger *slog.Logger
}

// Stats counts what a ClientConn or a ServerConn did. All counters but Replies only
// rise. A batch is one message. What a client or a server does not count stays 0.
type Stats struct {
	Requests   int64 // request messages that the client published, or the server took
	Confirmed  int64 // client: requests that the broker confirmed, with Persistent
	Replies    int64 // answers that the client took, or the server published and does not know to be lost
	Reconnects int64 // times a connection failed and all worked again
	GivenBack  int64 // server: requests given back in a drain

	// What was dropped, by reason.
	Unsent      int64 // client: requests that could not be published, or were lost with their channel
	Unconfirmed int64 // client: notifications that may have been published
	Overloaded  int64 // client: requests not published because of MaxBacklog
	Expired     int64 // client: requests given up before they were published
	NoServer    int64 // client: requests to a queue that is missing or, with RequireConsumer, not consumed
	Lost        int64 // client: calls whose reply queue was lost
	NoAddress   int64 // server: calls that name no reply queue, or none that can be one
	Refused     int64 // server: calls whose reply queue is the served queue, or makes the broker end a connection
	Poisoned    int64 // server: requests dropped after MaxDeliveries
	Undelivered int64 // server: answers not published in time, refused or returned by the broker, or lost with their channel
}

// Dial returns a ClientConn that calls the servers of a queue. url is
// amqp://user:password@host:port/vhost, or amqps:// for TLS. Dial does not wait for the
// broker: its error is about the URLs, the queue's name and the options.
func Dial(url string, queue string, opts *DialOptions) (*ClientConn, error) {
	if opts == nil {
		opts = &DialOptions{}
	}
	d, err := newDialer(url, opts.URLs, opts.Config, queue, "client")
	if err == nil && opts.Declare != nil {
		err = opts.Declare.check(queue)
	}
	if err == nil && opts.MaxBacklog < 0 {
		err = fmt.Errorf("amqpconn: queue %q: MaxBacklog is %d, less than 0", queue, opts.MaxBacklog)
	}
	if err != nil {
		return nil, err
	}
	return newClientConn(d, queue, *opts), nil
}

// Listen returns a ServerConn that serves a queue. url is as in Dial. Listen does not
// wait for the broker: its error is about the URLs, the queue's name and the options. No
// request is taken before the first ReadRequest.
func Listen(url string, queue string, opts *ListenOptions) (*ServerConn, error) {
	if opts == nil {
		opts = &ListenOptions{}
	}
	d, err := newDialer(url, opts.URLs, opts.Config, queue, "server")
	if err == nil {
		err = opts.check(queue)
	}
	if err != nil {
		return nil, err
	}
	return newServerConn(d, queue, *opts), nil
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

func checkQueue(queue string) error {
	switch {
	case queue == "":
		return errors.New("amqpconn: the queue has no name")
	case len(queue) > maxAddress:
		return fmt.Errorf("amqpconn: the queue's name is longer than %d bytes", maxAddress)
	}
	return nil
}

func (q *Queue) check(queue string) error {
	if q.Plain && q.Quorum {
		return fmt.Errorf("amqpconn: queue %q: a quorum queue can't be plain", queue)
	}
	if err := q.Args.Validate(); err != nil {
		return fmt.Errorf("amqpconn: queue %q: %w", queue, err)
	}
	return nil
}

// ensure creates the queue where it is missing. A queue that is there is used
// as it is: a declaration with other attributes than it has would be refused.
// The broker closes the channel with each refusal, so that each try has its own.
func (q *Queue) ensure(conn *amqp.Connection, name string) error {
	err := onChannel(conn, func(ch *amqp.Channel) error {
		_, err := ch.QueueDeclarePassive(name, false, false, false, false, nil)
		return err
	})
	if !isCode(err, amqp.NotFound) {
		return lacking(err, configure, name)
	}
	args := amqp.Table{}
	for key, value := range q.Args {
		args[key] = value
	}
	if q.Quorum {
		args["x-queue-type"] = "quorum"
		if _, ok := args[deliveryLimit]; !ok && q.deliveryLimit > 0 {
			args[deliveryLimit] = int64(q.deliveryLimit)
		}
	}
	err = onChannel(conn, func(ch *amqp.Channel) error {
		_, err := ch.QueueDeclare(name, !q.Plain, false, false, false, args)
		return err
	})
	if _, ok := args["x-dead-letter-exchange"]; ok && isCode(err, amqp.AccessRefused) {
		return fmt.Errorf("the right to configure %q is missing, or the right to read it or the right to write to its dead-letter exchange: %w", name, err)
	}
	return lacking(err, configure, name)
}

// deliveryLimit is the argument of a queue that says how often it delivers a
// message again.
const deliveryLimit = "x-delivery-limit"

// onChannel runs f on a channel of its own.
func onChannel(conn *amqp.Connection, f func(*amqp.Channel) error) error {
	ch, err := conn.Channel()
	if err != nil {
		return err
	}
	defer ch.Close()
	return f(ch)
}

func isCode(err error, code int) bool {
	var refusal *amqp.Error
	return errors.As(err, &refusal) && refusal.Code == code
}
