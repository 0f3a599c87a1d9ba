// Package jsonrpc2 lets net/rpc speak JSON-RPC 2.0 over anything that carries
// messages: the lists of a Redis, the queues of a RabbitMQ, HTTP, and streams.
//
// A service is a plain net/rpc service and a client a plain *rpc.Client. Between
// them are a [ClientConn] and a [ServerConn], which carry whole messages. They are
// the only thing that differs between transports:
//
//	conn, err := redisconn.Listen(rdb, "calc", nil)       // serve a Redis list
//	err = jsonrpc2.Serve(ctx, server, conn, &jsonrpc2.ServerOptions{Service: "Calc"})
//
//	conn, err := redisconn.Dial(rdb, "calc", nil)         // and call it
//	client := jsonrpc2.NewClient(conn, &jsonrpc2.ClientOptions{Service: "Calc"})
//	sum, err := jsonrpc2.Call[float64](ctx, client, "Calc.Add", calc.Args{A: 1, B: 5.1})
//
// Both ends are in the packages redisconn, amqpconn and httpconn; [NewStreamConn]
// makes either of a TCP or Unix socket, a pipe, or standard input and output. The
// package conntest has the suite for a transport of your own.
//
// The way of a call:
//
//	net/rpc          client codec        ClientConn … ServerConn    server codec       net/rpc
//	Client.Go    →   WriteRequest    →   WriteRequest ┄ ReadRequest →   ReadRequest…  →   the method
//	Call.Done    ←   ReadResponse…   ←   ReadReply ┄┄┄┄ Reply       ←   WriteResponse ←   returns
//
// What goes wrong on the way ends the call through its [Request].
//
// # Errors
//
// A method that returns an [*Error] chooses the code and the data of the error
// object; any other error is sent as [CodeServer] with its text. net/rpc passes on
// the text alone: one that ends like that of an Error, "(JSON-RPC error 402)", is
// taken for one, and an empty one for success.
//
// # Deadlines
//
// A call's deadline, by the client's Timeout or the ctx given to [Call], travels
// with its request where the transport says so. Over HTTP, as a header, and over
// RabbitMQ, as the message's expiration, it is the time that is left, which a
// server counts from when the request came to it; over Redis, as a member, it is
// a moment by the clock of Redis. The clocks of the machines need not agree. A
// request that has not begun by then is not run, nor is one whose client is known
// to be gone; Stats.Expired counts them.
//
// A method that has begun is not stopped: net/rpc knows no contexts. One that
// wants to see that nobody waits for it any more has its arguments embed a
// [Context]. In a drain that is done after ServerOptions.Grace.
//
// # Panics
//
// net/rpc does not recover a panic in a method: it ends the process, and no
// codec can prevent that. A request that kills one server after the other is given
// up: over RabbitMQ by the delivery limit of a queue, over Redis, with [AtLeastOnce],
// after MaxAttempts. A panic in a MarshalJSON or UnmarshalJSON of yours is
// recovered and answered with [CodeInternal].
package jsonrpc2

import (
	"context"
	"log/slog"
	"net/rpc"
	"time"
)

// Defaults of the options that a Conn meets in its Settings.
const (
	DefaultMaxMessageSize = 4 << 20
	DefaultMaxInFlight    = 256
)

const (
	defaultTimeout  = 30 * time.Second
	defaultGrace    = 30 * time.Second
	defaultMaxBatch = 1000
	defaultMaxDepth = 500
)

// A Guarantee says how often a request is run whose server dies, or loses its
// broker: what a broker's ListenOptions choose.
type Guarantee int

const (
	// BrokerDefault is what the broker gives by itself: AtMostOnce on Redis, whose
	// pop takes a request away, AtLeastOnce on RabbitMQ, which waits for an
	// acknowledgement.
	BrokerDefault Guarantee = iota
	// AtMostOnce loses the requests of a server that dies.
	AtMostOnce
	// AtLeastOnce has another server run them, perhaps for the second time.
	AtLeastOnce
)

// ClientOptions are the options of a client codec. The zero value is useful,
// and so is a nil pointer to it.
type ClientOptions struct {
	// Service is the net/rpc service whose methods travel under their bare
	// names with the first letter lowered: with "Calc", a call of Calc.Add is
	// sent as add. Methods of other services travel as they are.
	Service string

	// Name, if set, makes a method's name on the wire of its name in Go, in
	// place of Service.
	Name func(serviceMethod string) string

	// Positional sends the exported fields of a struct as an array, in their
	// order, in place of an object. A field that encoding/json leaves out is sent
	// as its zero value: a number, a string, a bool, else null. A struct that would
	// become another in this way is sent by name.
	Positional bool

	// Timeout ends a call that was not answered in time with ErrTimeout; 30 s
	// if 0, none if negative. The deadline of a context given to Call stands in
	// for it. The call ends up to half a second later where the Conn can find out
	// what has become of the request: its error then tells. A notification ends
	// with Timeout if it is not known to be sent by then.
	Timeout time.Duration

	// MaxMessageSize limits requests and replies, in bytes; 4 MiB if 0. A call
	// beyond it fails with ErrTooLarge.
	MaxMessageSize int

	// MaxDepth limits how deep the values of a reply may nest; 500 if 0, at most
	// 10,000, which is encoding/json's own limit.
	MaxDepth int

	// Logger is told what could be told to nobody else; slog.Default() if nil.
	Logger *slog.Logger

	// Stats, if set, is counted up. Codecs may share one.
	Stats *Stats
}

// ServerOptions are the options of a server codec. The zero value is useful,
// and so is a nil pointer to it.
type ServerOptions struct {
	// Service is the net/rpc service that a method's name without a dot belongs
	// to, its first letter raised: with "Calc", add calls Calc.Add. A name with
	// a dot is taken as it is.
	Service string

	// Name, if set, makes the name of a net/rpc method, such as Calc.Add, of
	// the name on the wire, in place of Service.
	Name func(method string) string

	// MaxInFlight limits the calls that run at once, each item of a batch
	// counted; 256 if 0. At the limit the codec stops reading, so that what
	// waits can be taken by another server.
	MaxInFlight int

	// MaxMessageSize limits requests and responses, in bytes; 4 MiB if 0. A
	// request beyond it is answered with CodeInvalidRequest, a result with
	// CodeInternal.
	MaxMessageSize int

	// MaxBatch limits the items of a batch; 1,000 if 0. A batch beyond it is
	// answered with one CodeInvalidRequest.
	MaxBatch int

	// MaxDepth limits how deep the values of a request may nest; 500 if 0, at
	// most 10,000, which is encoding/json's own limit. A request beyond it is
	// answered with CodeInvalidRequest.
	MaxDepth int

	// Strict refuses params that have members which the method's argument has no
	// field for, or that lack one, with CodeInvalidParams and a message that names
	// all of them. A field may be left out if it is a pointer, or its tag says
	// omitempty or omitzero, or if all fields of the same embedded pointer are; null
	// is a value. So it is for params by name, by position and absent, and in the
	// structs in them, also in slices, arrays and maps. The elements of an array of
	// fixed length must be as many. A slice, a map or an interface as the whole
	// argument may be absent, any other type may not.
	//
	// What is in an interface, or in a type with methods of its own for JSON or
	// text, is not looked at, nor are the members beside params.
	Strict bool

	// Grace is how long after the drain began (ctx done) the contexts of running
	// calls stay alive; 30 s if 0, not at all if negative. See [Context]. A method
	// that does not look at its context is waited for all the same.
	Grace time.Duration

	// Logger is told what net/rpc would swallow and what could be answered to
	// nobody; slog.Default() if nil.
	Logger *slog.Logger

	// Stats, if set, is counted up. Codecs may share one.
	Stats *Stats
}

// NewClientCodec returns a codec that calls over conn, for
// rpc.NewClientWithCodec.
func NewClientCodec(conn ClientConn, opts *ClientOptions) rpc.ClientCodec {
	return newClientCodec(conn, opts)
}

// NewClient returns a client that calls over conn.
//
// Prefer [Call] to the client's own Call: it has a context and a typed result,
// its errors hold for errors.Is and errors.As, and a result that doesn't fit
// fails that call alone. With client.Call such a result is an error that also
// ends the client: net/rpc offers nothing else but silence.
func NewClient(conn ClientConn, opts *ClientOptions) *rpc.Client {
	return rpc.NewClientWithCodec(NewClientCodec(conn, opts))
}

// NewServerCodec returns a codec that serves conn, for rpc.Server.ServeCodec.
//
// The end of ctx is the drain: the codec takes no further message, the running
// calls are finished and answered (a batch whole, once it has begun), conn is
// closed, and ServeCodec returns.
//
// rpc.Server.ServeRequest serves one call, and returns when its answer was handed
// over, not when it was sent; it never closes the codec. Close it afterwards: that
// sends the answer and ends the goroutines of conn.
func NewServerCodec(ctx context.Context, conn ServerConn, opts *ServerOptions) rpc.ServerCodec {
	return newServerCodec(ctx, conn, opts)
}

// Serve serves conn with the services of server (rpc.DefaultServer if nil)
// until ctx is done, as NewServerCodec has it, or the other side is gone. It
// returns nil then, else the error that ended conn, or that of its Close: answers
// could not be sent.
func Serve(ctx context.Context, server *rpc.Server, conn ServerConn, opts *ServerOptions) error {
	if server == nil {
		server = rpc.DefaultServer
	}
	codec := newServerCodec(ctx, conn, opts)
	server.ServeCodec(codec)
	return codec.err
}

// depthLimit returns a MaxDepth that encoding/json has no objection to.
func depthLimit(limit int) int {
	return min(orDefault(limit, defaultMaxDepth), headerDepth)
}

// orDefault returns a limit, or the standard one where there is no usable one.
func orDefault(limit, standard int) int {
	if limit < 1 {
		return standard
	}
	return limit
}
