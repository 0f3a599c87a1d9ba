// Package otelrpc makes OpenTelemetry spans and measurements of JSON-RPC calls, on both
// ends, and carries the trace from one to the other.
//
//	err = jsonrpc2.Serve(ctx, server, listening, &jsonrpc2.ServerOptions{
//		Begin: otelrpc.Server(nil),
//	})
//
//	client := jsonrpc2.NewClient(conn, &jsonrpc2.ClientOptions{
//		Begin: otelrpc.Client(nil),
//	})
//
// A call has two spans: a client span under the span in the caller's ctx, and a server span
// under that. The method's jsonrpc2.Context has the server span. So a call that the method
// makes with it continues the trace. Make calls with jsonrpc2.Call and jsonrpc2.Notify: a
// plain client.Call has no ctx, and begins a trace of its own.
//
// Where there is another BeginFunc, put this one first in jsonrpc2.JoinBegin. Then the calls
// that the other refuses have spans, too.
//
// # The way of a trace
//
// The trace travels in the metadata of each request object, as traceparent, tracestate and
// baggage. So it survives batches, and brokers that keep requests. A server also takes it
// from the headers of a foreign client's message, where the transport shows them. Nothing
// else of the metadata that a method got goes on with the calls that it makes.
//
// Metadata may be 8 KiB long. The caller's own goes first, then the trace, then the
// baggage. What has no room is not sent: no call fails for it.
//
// If a server's ctx already has a span of the caller's trace, such as that of otelhttp
// around an HTTP handler, the server span is its child. A span of another trace is linked.
//
// A server believes its callers: they may say that a trace is sampled, and their baggage
// goes on to the services that it calls. See Options.Propagator for how to ignore both.
//
// # Spans
//
// Spans follow the semantic conventions 1.43 for JSON-RPC, which are in development. The
// name is the method, as net/rpc knows it. The kind is client or server, also for
// notifications, as the conventions want it of every call.
//
//	rpc.system.name             jsonrpc
//	rpc.method                  the method, such as Calc.Add
//	jsonrpc.protocol.version    2.0
//	jsonrpc.request.id          the id, without quotes; none for a notification, or if it is null
//	network.peer.address, port  of the client, on a server: over HTTP and streams
//	messaging.system            Options.System
//	messaging.destination.name  Options.Destination
//	error.type                  of a call that failed, see below
//	rpc.response.status_code    the code of the error object, if there is one
//
// A span that failed has the status Error with the message of the error object, or with the
// text of the error, of 1 KiB at most. The data of an error object are not in it. The
// conventions treat each error object as an error, on both ends, whoever is to blame. The
// error.type is its code, or for what fails on the way:
//
//	timeout          jsonrpc2.ErrTimeout
//	unavailable      jsonrpc2.ErrUnavailable
//	no_server        jsonrpc2.ErrNoServer
//	overloaded       jsonrpc2.ErrOverloaded
//	too_large        jsonrpc2.ErrTooLarge
//	reply_lost       jsonrpc2.ErrReplyLost
//	bad_reply        jsonrpc2.ErrBadReply
//	reply_too_large  jsonrpc2.ErrReplyTooLarge
//	canceled         context.Canceled
//	unconfirmed      jsonrpc2.ErrUnconfirmed
//	_OTHER           anything else, such as arguments that can't be encoded
//
// The client span of a notification ends when Notify returns. Its server span says how the
// method ended, which the client is never told.
//
// A server makes no span of what it refuses before Begin: methods that nobody serves, and
// params that don't fit. A client makes none of a call whose ctx is done before it begins.
//
// # Measurements
//
// The histograms are rpc.client.call.duration and rpc.server.call.duration, in seconds, with
// the buckets of the conventions. They have the attributes rpc.system.name, rpc.method,
// error.type and rpc.response.status_code, and those of the Options.
//
// Strangers can't make up values without end. A server measures only methods that are
// registered, since Begin is called for no others. Each end tells 1000 methods apart, and
// 50 kinds of failure of each; more are measured as _OTHER.
//
// # Cost
//
// What one end adds to a call, on a virtual machine of 2026, without exporting:
//
//	                                       client            server
//	providers that record nothing          0.2 µs, 2 allocs  0.4 µs, 2 allocs
//	otel's SDK, a trace that is not kept   3 µs, 16 allocs   1.2 µs, 6 allocs
//	otel's SDK, a trace that is kept       5 µs, 21 allocs   4 µs, 11 allocs
//
// Most of a client's are for the metadata.
package otelrpc
