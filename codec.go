// Package jsonrpc2 lets net/rpc speak JSON-RPC 2.0 over Redis lists, RabbitMQ queues,
// HTTP, and byte streams.
//
// # Calling and serving
//
// A service is a plain net/rpc service, and a client is a plain *rpc.Client. Each end
// uses a Conn, which carries its messages: a [ClientConn] to call, a [ServerConn] to
// serve. Another transport means another Conn, and nothing else changes:
//
//	conn, err := redisconn.Listen(rdb, "calc", nil) // serve the Redis list "calc"
//	err = jsonrpc2.Serve(ctx, server, conn, &jsonrpc2.ServerOptions{Service: "Calc"})
//
//	conn, err := redisconn.Dial(rdb, "calc", nil) // call over the same list
//	client := jsonrpc2.NewClient(conn, &jsonrpc2.ClientOptions{Service: "Calc"})
//	sum, err := jsonrpc2.Call[float64](ctx, client, "Calc.Add", calc.Args{A: 1, B: 5.1})
//
// The packages redisconn, amqpconn and httpconn make the Conns of Redis, RabbitMQ and
// HTTP. Over TCP, Unix sockets and TLS, [DialStream] makes that of a client, and
// [ServeListener] serves. [NewStreamConn] makes a Conn of any one stream, such as standard
// input and output. [Pipe] connects both ends in memory, for tests.
//
// A Conn belongs to one client or to one Serve, which closes it. If a second one gets the
// same Conn, its calls or its Serve fail with [ErrOpened]. A program may call the Conn's Err,
// as for a readiness probe, and the Stats of a Conn that has them. It closes a Conn itself
// only if no client and no Serve got it.
//
// Two functions wrap a ClientConn. [Retry] sends again what certainly did not run, as while
// a broker or a server restarts. [Batch] joins requests that wait into one message.
//
// The documentation uses these terms:
//
//   - A message is one JSON text: a request, a response, or a batch.
//   - A notification is a request without an id. It has no answer.
//   - A call is any other request. Its answer is a result or an error.
//   - A reply is a message with answers.
//   - A batch is an array of requests, or of their responses. Each is an item of it.
//   - A place is one of the MaxInFlight calls and notifications that a server may run at once.
//   - The codec stands between net/rpc and the Conn. [NewClient] and [Serve] make one.
//   - A drain is the orderly end of a server, see [Serve].
//
// # Names and params
//
// A method is sent under its net/rpc name, such as Calc.Add. With the option Service, as
// above, it is sent and served as add. The option Name takes a function for any other
// name.
//
// The specification reserves names that begin with "rpc." for extensions. A server takes
// such a name as a method of the net/rpc service "rpc" and raises its first letter, whatever
// Service and Name say: rpc.discover calls rpc.Discover. The module openrpc has a service
// for that name, which describes the methods of a server.
//
// encoding/json encodes the arguments of a call as params: a struct as an object or, with
// ClientOptions.Positional, as an array. A value that is neither object nor array becomes
// an array of one. For nil, and for a struct without any member, no params are sent.
//
// A server takes params by name, by position, or none. It ignores unknown members, and
// missing ones stay zero, unless ServerOptions.Strict is set.
//
// # Errors
//
// A method that returns an [*Error] chooses the code and the data of the error object.
// Any other error is sent as [CodeServer] with its text.
//
// net/rpc gives the codec only the text of a method's error. The codec therefore takes
// the code and the data out of the text. So any error whose text ends like that of an
// *Error, as in "(JSON-RPC error 402)", is sent with that code. An error with an empty text
// counts as success.
//
// The error of a [Call] is one of these:
//
//   - The *Error that the server answered with.
//   - One of the sentinels, from [ErrTimeout] to [ErrReplyTooLarge]. Each says whether the
//     call may have run.
//   - The error of the ctx that was given to Call.
//   - The error of the client's Begin. The call was not sent.
//   - [ErrOpened], or that the arguments can't be encoded. The call was not sent.
//
// # Deadlines
//
// The deadline of a call is that of the ctx given to [Call], else the end of the client's
// Timeout. How it travels depends on the transport:
//
//	transport   carried by                what it says
//	Redis       a member of the request   a time, by the clock of Redis
//	RabbitMQ    the expiration            the time left, which the server counts from the arrival
//	HTTP        a header                  the time left, which the server counts from the arrival
//	streams     nothing
//
// The clocks of the machines need not agree.
//
// A request whose deadline passes before it begins is not run. Nor is one whose client
// is known to be gone by then. [ServerStats] count both as Expired if they reach the codec.
//
// A method that has begun is not stopped, since net/rpc gives it no context. A method
// that should stop when nobody waits for its answer takes arguments that embed a
// [Context].
//
// # Metadata and hooks
//
// [WithMeta] makes a ctx whose calls carry metadata, such as a tenant or a token, and a
// method gets it from [CallFrom]. Begin, an option of both ends, sees each call before it is
// sent or run, and again when it has ended. It is the place for authentication, limits,
// logs, traces and metrics. See [BeginFunc] for examples.
//
// # Panics
//
// A panic in a method ends the process: net/rpc does not recover it, and no codec can.
// With [AtLeastOnce], the broker then gives the request to another server, which it may
// end, too. A request that ends every server is given up at last:
//
//	broker                                 gives the request up after
//	Redis                                  MaxAttempts starts
//	RabbitMQ, quorum queue                 the delivery limit of the queue
//	RabbitMQ, classic queue, the default   the expiration of the request
//
// A [DeadList] shows the requests that Redis or a quorum queue has given up. It can put them
// back into the queue when the server is mended. On RabbitMQ it needs amqpconn's
// Queue.DeadLetter.
//
// A panic in a MarshalJSON or UnmarshalJSON method is recovered and answered with
// [CodeInternal].
//
// # Writing a transport
//
// The names in this section are for those who write a transport. A program that uses
// one can skip them.
//
//   - [ClientConn] sends requests and brings their answers.
//   - [ServerConn] brings requests and sends their answers.
//   - [Settings] are what the codec tells a Conn when it opens it.
//   - [ErrOpened] is what a Conn returns when a second codec opens it.
//   - [Request] is a message that a ClientConn sends. The Conn calls its Sent and its Fail.
//   - [Reply] is a message with answers, as a ClientConn returns it.
//   - [Delivery] is a message with requests, as a ServerConn returns it.
//   - [Header] finds the reply address, the deadline and the id in a message with requests.
//     [AppendRequest] adds the first two to a message.
//   - [NewRequest] makes a Request outside of a codec, as for a test.
//   - [JoinRequests] makes one Request of several, as [Batch] does.
//   - [Hooks] let the maker of a Request see what becomes of it.
//   - [DefaultMaxMessageSize] and [DefaultMaxInFlight] are for a Conn that needs limits
//     before it is opened.
//
// A call passes them in this way:
//
//	net/rpc          client codec        ClientConn … ServerConn    server codec       net/rpc
//	Client.Go    →   WriteRequest    →   WriteRequest ┄ ReadRequest →   ReadRequest…  →   the method
//	Call.Done    ←   ReadResponse…   ←   ReadReply ┄┄┄┄ Reply       ←   WriteResponse ←   returns
//
// If something goes wrong on the way, the Conn ends the call by the Fail of its Request. The
// package conntest has the tests that each Conn has to pass, and examples/natsconn is a whole
// transport.
package jsonrpc2

import (
	"context"
	"log/slog"
	"net/rpc"
	"time"
)

// These are for those who write a transport: the defaults of MaxMessageSize, in bytes,
// and of MaxInFlight, for a Conn that needs limits before a codec opens it.
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

// A Guarantee says what becomes of a request whose server dies, or loses its broker,
// before it has answered. It is chosen in the ListenOptions of redisconn and amqpconn.
type Guarantee int

const (
	// BrokerDefault is AtMostOnce on Redis, where a pop removes the request, and
	// AtLeastOnce on RabbitMQ, which keeps it until it is acknowledged.
	BrokerDefault Guarantee = iota
	// AtMostOnce loses such a request.
	AtMostOnce
	// AtLeastOnce lets another server run such a request, perhaps a second time.
	AtLeastOnce
)

// ClientOptions are the options of a client. The zero value is useful, and so is a nil
// pointer to it. A negative limit stands for its default.
type ClientOptions struct {
	// Service is the net/rpc service whose methods are sent by their bare names, with
	// the first letter in lower case: with "Calc", Calc.Add is sent as add. Methods of
	// other services are sent under their full names, as are those that begin with "rpc.".
	Service string

	// Name, if set, is used in place of Service. It returns the name to send for a
	// method such as Calc.Add. The codec may keep the result. A function that several
	// clients share may be called by them at once. It is not called for names that begin
	// with "rpc.".
	Name func(serviceMethod string) string

	// Positional sends a struct as an array of its exported fields, in their order,
	// in place of an object. A field that encoding/json omits is sent as 0, "" or
	// false, or as null if it has another type. A struct is still sent as an object
	// where a server would decode the array to another value.
	Positional bool

	// Timeout ends a call that has no answer in time with ErrTimeout; 30 s if 0, no limit
	// if negative. If the ctx given to Call has a deadline, that takes the place of
	// Timeout. The call ends up to half a second later if the Conn can find out what
	// became of the request; the error then says it. A notification that is not known to
	// be sent when Timeout has passed fails with ErrUnconfirmed, see Notify.
	Timeout time.Duration

	// MaxMessageSize limits requests and replies, in bytes; 4 MiB if 0. A call fails with
	// ErrTooLarge if its request is longer, and with ErrReplyTooLarge if its reply is.
	MaxMessageSize int

	// MaxDepth limits how deep the values of a reply may nest; 500 if 0, at most
	// 10,000, which is encoding/json's own limit. A call whose reply nests deeper
	// fails with ErrReplyTooLarge.
	MaxDepth int

	// Logger gets a warning of what no caller can be told, such as a reply that nobody
	// has asked for: one line a second at most. A late answer to a call that has ended
	// is a debug line. slog.Default() if nil.
	Logger *slog.Logger

	// Begin, if set, is called for each call and notification before it is sent.
	Begin BeginFunc

	// Stats, if set, counts what becomes of calls and notifications.
	Stats *ClientStats
}

// ServerOptions are the options of a server. The zero value is useful, and so is a nil
// pointer to it. A negative limit stands for its default.
type ServerOptions struct {
	// Service is the net/rpc service of the methods whose names are received without a
	// dot. The first letter is raised: with "Calc", add calls Calc.Add. A name with a
	// dot is taken as it is. If Service is empty, every name is taken as it is. A name
	// that begins with "rpc." is reserved for extensions: its first letter behind the
	// dot is raised, so that rpc.discover calls rpc.Discover.
	Service string

	// Name, if set, is used in place of Service. It returns the net/rpc method, such
	// as Calc.Add, for a name that was received. The codec may keep the result. A
	// function that several servers share may be called by them at once. It is not
	// called for names that begin with "rpc.", see Service.
	Name func(method string) string

	// MaxInFlight limits the calls and notifications that run at once; 256 if 0. Each
	// item of a batch counts. At the limit the codec stops reading, so that other
	// servers can take what waits in a broker.
	MaxInFlight int

	// MaxMessageSize limits requests and responses, in bytes; 4 MiB if 0. A longer
	// request is answered with CodeInvalidRequest, over HTTP with status 413.
	// CodeInternal takes the place of a longer response.
	MaxMessageSize int

	// MaxBatch limits the items of a batch; 1,000 if 0. A longer batch is answered
	// with one CodeInvalidRequest.
	MaxBatch int

	// MaxDepth limits how deep the values of a request may nest; 500 if 0, at most
	// 10,000, which is encoding/json's own limit. A request that nests deeper is
	// answered with CodeInvalidRequest.
	MaxDepth int

	// Strict refuses params with a member that the method's argument has no field for,
	// and params that lack a field. The answer is a CodeInvalidParams that names them.
	//
	// A field may be missing if it is a pointer, if its tag says omitempty or omitzero,
	// or if all fields of the same embedded pointer are missing. A member that is null
	// is not missing. An array of fixed length needs all its elements. Params may be
	// absent if the argument is a slice, a map, an interface, or a struct whose fields
	// may all be missing.
	//
	// The rules hold for params by name and by position, and for all structs in them,
	// also inside slices, arrays and maps. Three things are not checked: values of
	// interface types, types that decode themselves from JSON or text, and members of
	// the request other than params.
	Strict bool

	// Grace is how long the contexts of running calls stay alive after a drain has
	// begun; 30 s if 0. If it is negative, they end when the drain begins. See
	// [Context]. Grace does not limit the drain: a method that ignores its context is
	// still waited for. The log names such methods a second after Grace, and then every
	// 10 s.
	Grace time.Duration

	// Logger gets what no caller can be told; slog.Default() if nil:
	//
	//   - A warning says what was lost, dropped or refused, one line a second at most.
	//   - A warning names the methods that hold the server up. Either all MaxInFlight
	//     places have been taken for 10 s and no call has ended, or a drain waits for them,
	//     see Grace.
	//   - An info line says that calls end again.
	Logger *slog.Logger

	// Begin, if set, is called for each call and notification before it runs.
	Begin BeginFunc

	// Stats, if set, counts what becomes of calls and notifications, and shows what
	// runs.
	Stats *ServerStats
}

// NewClientCodec returns the codec of a client that calls over conn. It is for programs
// that call rpc.NewClientWithCodec themselves; others use [NewClient].
func NewClientCodec(conn ClientConn, opts *ClientOptions) rpc.ClientCodec {
	return newClientCodec(conn, opts)
}

// NewClient returns a client that calls over conn. Any number of goroutines may use it.
//
// Its Close closes conn. What is under way then fails: a [Call] with [ErrReplyLost], a
// [Notify] with [ErrUnconfirmed], a plain client.Call with rpc.ErrShutdown. All of these may
// have run, or may still run. An [ErrUnavailable] in their place says that the request did
// not run. [Shutdown] waits for what is under way before it closes the client.
//
// Prefer [Call] to the client's own Call. It takes a context, returns a typed result,
// and its errors work with errors.Is and errors.As. A result that doesn't fit its type
// fails one Call, but ends the whole client when client.Call meets it: net/rpc leaves
// a codec no other way to report it.
func NewClient(conn ClientConn, opts *ClientOptions) *rpc.Client {
	return rpc.NewClientWithCodec(NewClientCodec(conn, opts))
}

// NewServerCodec returns the codec of a server for conn. It is for programs that call
// rpc.Server.ServeCodec or ServeRequest themselves; others use [Serve].
//
// ServeCodec returns when ctx is done and the drain is over, or when the other side is
// gone. It closes the codec, and with it conn.
//
// ServeRequest serves one call. It returns when conn has accepted the answer, which may not
// be sent yet. It never closes the codec. Close the codec afterwards: that sends the answer
// and ends the goroutines of conn.
func NewServerCodec(ctx context.Context, conn ServerConn, opts *ServerOptions) rpc.ServerCodec {
	return newServerCodec(ctx, conn, opts)
}

// Serve serves conn with the services of server (rpc.DefaultServer if nil), until ctx
// is done or the other side is gone. It closes conn before it returns.
//
// The end of ctx begins the drain: Serve takes no further message, but finishes and
// answers the calls that run, however long they take. A batch that has begun is finished
// whole.
//
// Serve returns nil after a drain, and when the peer has closed its side. It returns an
// error if conn failed for good, as a stream that is reset, or if answers could not be sent
// when conn was closed. Over HTTP Serve does not learn of such answers: only the Logger and
// the Stats show them.
func Serve(ctx context.Context, server *rpc.Server, conn ServerConn, opts *ServerOptions) error {
	if server == nil {
		server = rpc.DefaultServer
	}
	codec := newServerCodec(ctx, conn, opts)
	server.ServeCodec(codec)
	return codec.err
}

// depthLimit returns a MaxDepth that encoding/json accepts.
func depthLimit(limit int) int {
	return min(orDefault(limit, defaultMaxDepth), headerDepth)
}

// orDefault returns limit, or standard if limit is less than 1.
func orDefault(limit, standard int) int {
	if limit < 1 {
		return standard
	}
	return limit
}
