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

// A Queue says how to create a queue that is missing. One that exists is used
// whatever it is like. The zero value is a durable classic queue.
type Queue struct {
	// Plain creates it neither durable nor anything else, as programs do that
	// declare it without a thought, and that refuse any other.
	Plain bool

	// Quorum creates a replicated queue, which counts deliveries: with an
	// x-delivery-limit, unless Args has one, of the server's MaxDeliveries.
	Quorum bool

	deliveryLimit int // none if not positive

	// Args are further arguments, such as x-message-ttl, x-max-length or
	// x-dead-letter-exchange.
	Args amqp.Table
}

// DialOptions are the options of Dial. The zero value is useful, and so is a
// nil pointer to it.
type DialOptions struct {
	// URLs are those of a cluster's other nodes, tried in turn.
	URLs []string

	// Config is what connections are made with: TLS, SASL, vhost, heartbeat
	// (10 s if 0), properties. Its Recovery is not used.
	Config amqp.Config

	// Declare, if set, creates the request queue where it is missing, also when
	// it was deleted or has expired meanwhile. A call to a missing queue fails
	// otherwise.
	Declare *Queue

	// RequireConsumer fails calls to a queue that nobody consumes with
	// ErrNoServer, as far as was known in the last second.
	RequireConsumer bool

	// MaxBacklog limits the requests that wait in the queue: a call that would
	// make them more fails with jsonrpc2.ErrOverloaded and is not sent. The
	// length of the queue is asked for every 100 ms, while calls are made, so that
	// many clients together may exceed it. No limit if 0.
	MaxBacklog int

	// Persistent has requests written to disk, in a durable queue, and
	// confirmed. It costs about a third of the calls per second.
	Persistent bool

	// ReplyPerCall has each call answered on a queue of its own, named by its
	// id, for servers that know no other way. It costs most of the calls per
	// second.
	ReplyPerCall bool

	// Logger is told when a connection fails and when it works again;
	// slog.Default() if nil.
	Logger *slog.Logger
}

// ListenOptions are the options of Listen. The zero value is useful, and so is
// a nil pointer to it.
type ListenOptions struct {
	// URLs are those of a cluster's other nodes, tried in turn.
	URLs []string

	// Config is what connections are made with: TLS, SASL, vhost, heartbeat
	// (10 s if 0), properties. Its Recovery is not used.
	Config amqp.Config

	// Queue says how to create the queue where it is missing.
	Queue Queue

	// Prefetch limits the messages that are delivered and not acknowledged; 64
	// if 0, at most 65,535. The codec's MaxInFlight limits them, too: no more are
	// taken than can be started, so that none waits here while another server is idle.
	Prefetch int

	// Guarantee is jsonrpc2.AtLeastOnce by default: a request is acknowledged when
	// it is answered. AtMostOnce acknowledges it when it is handed to the codec.
	Guarantee jsonrpc2.Guarantee

	// ConfirmReplies has a request acknowledged when the broker has confirmed its
	// answer, in place of when the answer has been written to the connection: an
	// answer that was lost with a connection is published again. One that can't
	// be published for 30 s has its request given back.
	ConfirmReplies bool

	// MaxDeliveries is how often a request is delivered again before it is
	// dropped to the dead-letter exchange; 20 if 0, without limit if negative.
	// Only quorum queues count.
	MaxDeliveries int

	// Logger is told when a connection fails and when it works again;
	// slog.Default() if nil.
	Logger *slog.Logger
}

// Stats counts what a Conn did. All counters only rise.
type Stats struct {
	Requests   int64 // request messages published, or taken
	Confirmed  int64 // requests that the broker has confirmed
	Replies    int64 // answers taken, or published less those that were found to be lost
	Reconnects int64 // times a connection failed and all worked again
	GivenBack  int64 // requests given back in a drain

	// What was dropped, by reason.
	Unsent      int64 // requests that could not be published
	Unconfirmed int64 // notifications of which it is not known that they were published
	Overloaded  int64 // requests not published, for MaxBacklog
	Expired     int64 // requests whose caller had given up
	NoServer    int64 // requests whose queue is missing or not consumed
	Lost        int64 // requests whose reply queue died
	NoAddress   int64 // requests without a usable reply queue
	Refused     int64 // requests whose reply queue is the queue being served
	Poisoned    int64 // requests delivered too often
	Undelivered int64 // answers that nobody waits for, that waited too long, or that Close could not send
}

// Dial returns a ClientConn that calls the servers of a queue. The error is for a bad
// URL or option only: an absent broker is waited for.
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

// Listen returns a ServerConn that serves a queue. The error is for a bad URL or
// option only: an absent broker is waited for. Nothing is taken before the first
// ReadRequest.
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
