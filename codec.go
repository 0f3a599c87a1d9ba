// Package jsonrpc2 lets net/rpc speak JSON-RPC 2.0 over anything that carries
// messages: the lists of a Redis, the queues of a RabbitMQ, HTTP, and streams.
//
// A service is a plain net/rpc service and a client a plain *rpc.Client. They
// meet in a [Conn], which carries whole messages and which is the only thing
// that differs between transports:
//
//	conn := redisconn.Listen(rdb, "calc", nil)            // serve a Redis list
//	err := jsonrpc2.Serve(ctx, server, conn, &jsonrpc2.ServerOptions{Service: "Calc"})
//
//	conn := redisconn.Dial(rdb, "calc", nil)              // and call it
//	client := jsonrpc2.NewClient(conn, &jsonrpc2.ClientOptions{Service: "Calc"})
//	sum, err := jsonrpc2.Call[float64](ctx, client, "Calc.Add", calc.Args{A: 1, B: 5.1})
//
// Conns are in the packages redisconn, amqpconn and httpconn; [NewStreamConn]
// makes one of a TCP or Unix socket, a pipe, or standard input and output.
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
// up: over RabbitMQ by the delivery limit of a queue, over Redis, with AtLeastOnce,
// after MaxAttempts. A panic in a MarshalJSON or UnmarshalJSON of yours is
// recovered and answered with [CodeInternal].
package jsonrpc2

import (
	"context"
	"log/slog"
	"net/rpc"
	"time"
)

// A Message is one JSON-RPC text: an object or a batch array.
type Message struct {
	// Body is valid until the next ReadMessage.
	Body []byte

	// Reply answers a received request message, then settles it with the
	// transport: acknowledges it and frees its place. A nil body says that no
	// answer is due, and only settles. The codec calls it exactly once for each
	// message, from any goroutine. It copies body and never waits for the
	// network; the place is free once the reply has left or was given up.
	Reply func(body []byte) error

	// NotRun, if set, settles a received request message in place of Reply when
	// nothing in it was begun, since nobody waits for its answers any more.
	NotRun func()

	// Request is, on a calling Conn, the request message that Body answers,
	// where the transport knows: an error without an id is then that
	// request's. It is valid until the next ReadMessage.
	Request []byte

	// Missing says that no other message will answer Request: the calls in it
	// that Body does not answer fail with this error. Its text begins with that
	// of a sentinel.
	Missing error

	// Deadline is, on a serving Conn, when nobody will wait for the answer any
	// more, by the clock of this machine; zero where that is not known. What has
	// not begun by then is settled and not run.
	Deadline time.Time

	// Context is, on a serving Conn, done as soon as nobody waits for the answer
	// any more, where the transport can tell; else nil.
	Context context.Context

	// Err is set by the transport alone, never by what came over the wire. Its
	// text begins with that of a sentinel, such as ErrUnavailable's.
	// On a calling Conn: the requests in Body did not get through, or their
	// answers can no longer come. On a serving Conn: Body can't be served, as
	// when nobody could be answered; it is logged, settled and not run. The
	// calls in it are answered where Err is, or wraps, an *Error.
	Err error
}

// A Conn carries whole messages: an io.ReadWriteCloser for messages. It belongs
// to one codec, whose Close closes it. ReadMessage is called by one goroutine
// at a time; WriteMessage and Close by any.
type Conn interface {
	// ReadMessage returns the next message, and waits while no place is free.
	// It returns ctx.Err() when ctx is done, losing nothing: it may then be
	// called again. io.EOF says that the other side is gone for good. Other
	// errors are final: a Conn that can recover (reconnect, back off) does so
	// first. On a serving Conn the end of ctx, which is the same for each call,
	// is the drain: what was fetched and not yet returned goes back to the
	// broker at once, and nothing more is returned.
	ReadMessage(ctx context.Context) (Message, error)

	// WriteMessage hands over a request message. It copies body and never
	// blocks, for net/rpc holds a lock meanwhile: ErrOverloaded when more than
	// 16 MiB wait. ctx carries the call's deadline (a batch's: the latest); its
	// end, even later, means that nobody waits any more. errors.ErrUnsupported
	// on a serving Conn.
	WriteMessage(ctx context.Context, body []byte) error

	// Close sends what was handed over (for at most 2 s), gives back the rest,
	// and waits for the Conn's goroutines. It is idempotent.
	Close() error
}

// A Limiter is a Conn that wants to know its codec's limits: to read no more
// than a message may have, to fetch no more than can be started. SetLimits is
// called once, before anything else.
type Limiter interface {
	SetLimits(Limits)
}

// An Inquirer is a calling Conn that can find out more of requests that were
// not answered in time, or withdraw them.
type Inquirer interface {
	// Inquire is asked when the callers of requests have given up. A request is
	// what WriteMessage has given to Keep, nil if that was nothing. For each the
	// error says what is known of it, in words that stand behind those of the
	// call's own error, beside which it is found by errors.Is: an ErrNotRun
	// where the request was withdrawn. It is nil where nothing is known.
	//
	// Inquire returns when ctx is done, which is after half a second at most. It
	// is called by one goroutine at a time, and no more once the Conn is closed.
	Inquire(ctx context.Context, requests []any) []error
}

// A Keeper is what the ctx of a WriteMessage is where the Conn can be asked of
// the request later: for the request of a single call, not for a notification or
// a batch, whose calls end one by one.
type Keeper interface {
	// Keep keeps what the Conn itself knows the request by, for Inquire.
	Keep(request any)
}

// Limits are what a codec takes at most.
type Limits struct {
	MessageSize int // bytes in a message
	InFlight    int // running calls on a server; 0 on a client
}

// Defaults of the limits in the options.
const (
	DefaultTimeout        = 30 * time.Second
	DefaultGrace          = 30 * time.Second
	DefaultMaxMessageSize = 4 << 20
	DefaultMaxBatch       = 1000
	DefaultMaxDepth       = 500
	DefaultMaxInFlight    = 256
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
	// for it. Where the Conn is an Inquirer, the call ends up to half a second
	// later, and its error tells what has become of the request.
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
func NewClientCodec(conn Conn, opts *ClientOptions) rpc.ClientCodec {
	return newClientCodec(conn, opts)
}

// NewClient returns a client that calls over conn.
//
// Prefer [Call] to the client's own Call: it has a context and a typed result,
// its errors hold for errors.Is and errors.As, and a result that doesn't fit
// fails that call alone. With client.Call such a result is an error that also
// ends the client: net/rpc offers nothing else but silence.
func NewClient(conn Conn, opts *ClientOptions) *rpc.Client {
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
func NewServerCodec(ctx context.Context, conn Conn, opts *ServerOptions) rpc.ServerCodec {
	return newServerCodec(ctx, conn, opts)
}

// Serve serves conn with the services of server (rpc.DefaultServer if nil)
// until ctx is done, as NewServerCodec has it, or the other side is gone. It
// returns nil then, else the error that ended conn, or that of its Close: answers
// could not be sent.
func Serve(ctx context.Context, server *rpc.Server, conn Conn, opts *ServerOptions) error {
	if server == nil {
		server = rpc.DefaultServer
	}
	codec := newServerCodec(ctx, conn, opts)
	server.ServeCodec(codec)
	return codec.err
}

// depthLimit returns a MaxDepth that encoding/json has no objection to.
func depthLimit(limit int) int {
	return min(orDefault(limit, DefaultMaxDepth), headerDepth)
}

// orDefault returns a limit, or the standard one where there is no usable one.
func orDefault(limit, standard int) int {
	if limit < 1 {
		return standard
	}
	return limit
}
