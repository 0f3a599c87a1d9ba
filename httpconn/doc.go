// Package httpconn carries JSON-RPC 2.0 over HTTP: each request message is the
// body of a POST, and its answer the body of the response.
//
//	handler := httpconn.NewHandler(nil)
//	http.Handle("/calc", handler)
//	go jsonrpc2.Serve(ctx, server, handler, &jsonrpc2.ServerOptions{Service: "Calc"})
//
//	conn := httpconn.Dial("http://localhost:4567/calc", nil)
//	client := jsonrpc2.NewClient(conn, &jsonrpc2.ClientOptions{Service: "Calc"})
//
// An answer has the status 200, whatever it says, and the type application/json;
// notifications are answered with 204 and no body, when they are done. Other
// statuses say that no JSON-RPC was spoken: 405 for other methods than POST, 413
// over the size limit, 415 for a body that says it is something else than JSON
// (the form type, which curl -d and others send unasked, is served), 406 for an
// Accept that admits no JSON, 403 for a browser's request from a page of another
// origin, 503 with Retry-After when the Handler is drained or has had no place
// for a while.
//
// # Delivery semantics
//
//	event                                   requests                  answers
//	server drained (ctx done)               refused with 503          none lost
//	server killed                           those running are lost    with them
//	client hangs up before it was taken     not run                   none
//	client hangs up later                   run to the end, unless    dropped
//	                                        they look at their context
//	deadline over before it was begun       not run                   none: 204
//	connection refused                      not sent: ErrUnavailable
//	connection cut                          may have run: ErrReplyLost
//
// A request is sent once; net/http repeats one only where it knows that nothing
// of it was sent. Requests on many connections have no order.
//
// # Deadlines
//
// A Conn sends a header beside those of HTTP, [TimeoutHeader], with the
// milliseconds that are left until the call's deadline. A Handler runs no request
// that has not begun by then. It is an extension, optional for both sides: who
// does not send it gives up by hanging up, and who does not know it ignores it.
//
// The context of the HTTP request, which ends when the client hangs up and has
// what handlers around have put into it, is the context that a method sees with
// a jsonrpc2.Context in its arguments.
//
// # Shutting down
//
// End the ctx of Serve, wait for it to return, and then shut the http.Server
// down: it waits for the answers to be written.
package httpconn

// TimeoutHeader says how many milliseconds after the request was sent its client
// will have given up: a decimal number from 0, which says that it has, to
// 4294967295. What is no such number is ignored.
const TimeoutHeader = "Request-Timeout-Ms"
