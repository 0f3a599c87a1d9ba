// Package httpconn carries JSON-RPC 2.0 over HTTP: each request message is the
// body of a POST, and its answer the body of the response.
//
//	handler, err := httpconn.Listen(nil)
//	http.Handle("/calc", handler)
//	go jsonrpc2.Serve(ctx, server, handler, &jsonrpc2.ServerOptions{Service: "Calc"})
//
//	conn, err := httpconn.Dial("http://localhost:4567/calc", nil)
//	client := jsonrpc2.NewClient(conn, &jsonrpc2.ClientOptions{Service: "Calc"})
//
// An answer has the status 200, whatever it says, and the type application/json;
// notifications are answered with 204 and no body, when they are done. Other
// statuses say that no JSON-RPC was spoken:
//
//	400  the body broke off, or is malformed in HTTP's terms
//	403  a browser's request from a page of another origin
//	405  another method than POST
//	406  an Accept that admits no JSON
//	408  the body did not come in time, see ListenOptions.BodyTimeout
//	413  the body exceeds the size limit
//	415  a body that says it is something else than JSON (the form type, which
//	     curl -d and others send unasked, is served)
//	503  not begun: the Handler is drained, or has had no place for a while, or
//	     nobody waits for the answer any more; with Retry-After
//	504  begun, but its context ended before it was answered
//
// Each but 504 has the header [NotBegunHeader]. A context ends when the client
// hangs up, or closes its sending side, and as handlers around have it. An answer
// that is ready then is sent.
//
// # Delivery semantics
//
//	event                                   requests                  answers
//	server drained (ctx done)               refused with 503          none lost
//	server killed                           those running are lost    with them
//	body comes late, or breaks off          not run                   408, 400
//	client hangs up before it was taken     not run                   none: 503
//	client hangs up later                   run to the end, unless    dropped: 504
//	                                        they look at their context
//	deadline over before it was begun       not run                   none: 503
//	no connection to the server             not sent: ErrUnavailable
//	connection cut                          may have run: ErrReplyLost, of a
//	                                        notification ErrUnconfirmed
//
// A request is sent once; net/http repeats one only where it knows that nothing
// of it was sent. Requests on many connections have no order.
//
// # Statuses
//
// A client tries the body first: a JSON-RPC response counts whatever the status
// and the content type. A call that is not answered fails with what the status
// says, and no more than it says, for a proxy or a handler around may have sent it
// while the method runs:
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
//	408, 444, 460, 499, 5xx but 500 and 501      ErrReplyLost    may have run
//	all others: 2xx, 303, 400, 500, 501 …        ErrBadReply     may have run
//
// The error's text has the status and the beginning of the body. A body over the limit
// is an ErrTooLarge where the call may have run, one that is cut off an ErrReplyLost.
//
// A notification is done with any 2xx, unless the body is a JSON-RPC error. Else it
// fails with what the status says, and with ErrUnconfirmed where it may have run.
//
// # Deadlines
//
// A ClientConn sends a header beside those of HTTP, [TimeoutHeader], with the
// milliseconds that are left until the call's deadline. A Handler runs no request
// that has not begun by then. It is an extension, optional for both sides: who
// does not send it gives up by hanging up, and who does not know it ignores it.
//
// A ClientConn hangs up, too, when nobody waits any more: at the deadline, when the
// caller gives up, when all calls of a batch have ended. For a notification that is
// when the client's Timeout is over: a method that takes longer runs on, unless it
// looks at its context.
//
// The context of the HTTP request, which ends when the client hangs up and has
// what handlers around have put into it, is the context that a method sees with
// a jsonrpc2.Context in its arguments.
//
// The timeouts of an http.Server are for requests and answers on their way: its
// ReadTimeout does not end a method, its WriteTimeout must be longer than any
// method takes.
//
// # Shutting down
//
// End the ctx of Serve, wait for it to return, and then shut the http.Server
// down: it waits for the answers to be written.
//
// # The way of a request
//
// The files that a request passes, and its answer, what of them it passes, and on whose
// goroutine.
//
//	client.go   WriteRequest, work, exchange, post       a worker's, from work on
//	attempt.go  httpRequest
//	  POST
//	check.go    check                                    the http.Server's
//	body.go     read
//	handler.go  ServeHTTP, serve, await, ReadRequest     net/rpc's, from ReadRequest on
//	  the method                                         one of its own
//	handler.go  answer, await, ServeHTTP                 the http.Server's, from await on
//	  the response
//	reply.go    read                                     the worker's
//	client.go   post, exchange, ReadReply                net/rpc's, from ReadReply on
package httpconn

// TimeoutHeader says how many milliseconds after the request was sent its client
// will have given up: a decimal number from 0, which says that it has, to
// 4294967295. What is no such number is ignored.
const TimeoutHeader = "Request-Timeout-Ms"

// NotBegunHeader is "true" where a refusal, a status of 400 or more, is certain:
// nothing of the request was begun, nor will be, and it can be repeated. A Handler
// says so with each of its refusals. Without it a 503 is no such promise: an
// http.TimeoutHandler, or a proxy, sends one while the method runs.
const NotBegunHeader = "Jsonrpc2-Not-Begun"
