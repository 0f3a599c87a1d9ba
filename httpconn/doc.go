// Package httpconn carries JSON-RPC 2.0 over HTTP. Each request message is the body of
// a POST, and its answer is the body of the response.
//
//	handler, err := httpconn.Listen(nil)
//	http.Handle("/calc", handler)
//	go jsonrpc2.Serve(ctx, server, handler, &jsonrpc2.ServerOptions{Service: "Calc"})
//
//	conn, err := httpconn.Dial("http://localhost:4567/calc", nil)
//	client := jsonrpc2.NewClient(conn, &jsonrpc2.ClientOptions{Service: "Calc"})
//
// A [Handler] answers a call with status 200 and the type application/json, even if the
// answer is a JSON-RPC error. It answers notifications, alone or in a batch of their own,
// with 204 and no body, when they have begun. Any other status is a refusal, without
// JSON-RPC:
//
//	400  the body broke off, or is malformed in HTTP's terms
//	403  a browser's request from a page of another origin
//	405  another method than POST
//	406  an Accept that admits no JSON
//	408  the body did not come in time, see ListenOptions.BodyTimeout
//	413  the body exceeds the codec's MaxMessageSize
//	415  a Content-Type other than application/json, text/json, application/json-rpc,
//	     application/jsonrequest, those that end in +json, the form type (which curl -d
//	     and others send unasked), and none; or a Content-Encoding
//	503  not begun: the Handler is drained, had no place in time or no room for the
//	     body, or nobody waits for the answer any more; with Retry-After
//	504  begun, but its context ended before it was answered
//
// A place is for one of the ServerOptions.MaxInFlight calls that may run at once. Each
// refusal but 504 has the header [NotBegunHeader].
//
// The context of a request ends when the client hangs up or closes its sending side, or
// when a handler around this one ends it. If the answer is ready then, it is still
// sent.
//
// # Delivery semantics
//
// A client sends a request once. net/http sends a request again only if nothing of it
// was sent before or, over HTTP/2, if it was not sent to its end. Requests on different
// connections have no order.
//
// The end of the ctx given to jsonrpc2.Serve drains a Handler: it refuses new requests
// and answers those that run.
//
//	event                                   requests                  answers
//	server drained (ctx done)               refused with 503          none lost
//	server killed                           those running are lost    lost with them
//	body comes late, or breaks off          not run                   408, 400
//	client hangs up before it was taken     not run                   none: 503
//	client of a call hangs up later         run to the end, unless    dropped: 504
//	                                        they look at their context
//	deadline over before it was begun       not run                   none: 503
//	no connection to the server             not sent: ErrUnavailable
//	MaxInFlight others have no answer,      waits; not sent if the deadline comes
//	                                        first: ErrTimeout and ErrNotRun
//	connection cut                          may have run: ErrReplyLost, of a
//	                                        notification ErrUnconfirmed
//
// # Statuses
//
// A client reads the body of a response first. A JSON-RPC response in it counts, whatever
// the status and the content type. A call without a JSON-RPC response fails with the error
// below. A proxy or another handler may send a status while the method runs, so the error
// says only what the status proves:
//
//	status                                       error           the call
//	with NotBegunHeader: 413                     ErrTooLarge     was not taken
//	                     503                     ErrOverloaded   was not taken
//	                     any other from 400      ErrUnavailable  was not taken
//	404, 410                                     ErrNoServer     was not taken
//	413                                          ErrTooLarge     was not taken
//	429                                          ErrOverloaded   was not taken
//	401, 403, 405, 407, 411, 414, 415, 417, 421, ErrUnavailable  was not taken
//	425, 426, 428, 431, 511, 3xx but 303
//	408, 444, 460, 499, 5xx but 500, 501, 511    ErrReplyLost    may have run
//	all others: 2xx, 303, 400, 500, 501 …        ErrBadReply     may have run
//
// The error's text has the status and the beginning of the body. Two bodies change the error
// in the lines with "may have run". If the body is cut off, it is ErrReplyLost. If the body
// exceeds the codec's MaxMessageSize, and is JSON or has a 2xx, it is ErrReplyTooLarge.
//
// A notification succeeds with any 2xx, unless the body is a JSON-RPC error. Else it
// fails with the same errors, but with ErrUnconfirmed in the lines with "may have run".
//
// # Traces
//
// A request may carry a trace in the headers traceparent, tracestate and baggage. A Handler
// adds them to the metadata of those items that have no trace there: see jsonrpc2.CallFrom.
// A ClientConn sends the trace that is in the metadata of a single call as these headers,
// too, so that proxies see it.
//
// # Deadlines
//
// A ClientConn sends the header [TimeoutHeader]: the milliseconds left until the call's
// deadline. A Handler does not start a call after its deadline. The header is an extension,
// and optional for both sides: a client may give up by hanging up alone, and other servers
// ignore the header.
//
// A ClientConn also hangs up when nobody waits for the answer: at the deadline, when
// the caller gives up, or when all calls of a batch have ended. It hangs up on a
// notification when the client's Timeout is over. A method that has started then runs
// on, unless it looks at its context.
//
// A method whose arguments embed a jsonrpc2.Context sees the context of the HTTP request,
// with the values that other handlers have put into it. This context ends when the client
// hangs up. For notifications, alone or in a batch of their own, the method's context has
// the values but not the end: they were answered when they began.
//
// The timeouts of an http.Server end no method. But the time that a method takes counts
// towards its WriteTimeout: make the WriteTimeout longer.
//
// # Shutting down
//
// First end the ctx of Serve. When Serve has returned, shut the http.Server down: its
// Shutdown waits until the answers are written.
//
// # The way of a request
//
// A request and its answer pass these files and functions. The right column names the
// goroutine that runs a line and those below it.
//
//	client.go   WriteRequest, work, exchange, post       a caller's; a worker's from work on
//	attempt.go  httpRequest
//	  POST
//	check.go    check                                    the http.Server's
//	body.go     read
//	handler.go  ServeHTTP, serve, hand, ReadRequest      net/rpc's from ReadRequest on
//	  the method                                         one of its own
//	handler.go  answer, await, ServeHTTP                 the http.Server's from await on
//	  the response
//	reply.go    read                                     the worker's
//	client.go   post, exchange, ReadReply                net/rpc's from ReadReply on
package httpconn

// TimeoutHeader says in how many milliseconds the client gives up, counted from when it
// sent the request: a decimal number from 0, for now, to 4294967295. A Handler ignores
// any other value.
const TimeoutHeader = "Request-Timeout-Ms"

// NotBegunHeader is "true" in a refusal, a status of 400 or more. It promises that nothing
// of the request has run or will run: the client can repeat the request. A Handler sends it
// with each refusal but 504. A 503 without the header promises nothing: an
// http.TimeoutHandler, or a proxy, may send one while the method runs.
const NotBegunHeader = "Jsonrpc2-Not-Begun"
