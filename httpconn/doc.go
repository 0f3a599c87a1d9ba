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
//	client hangs up later                   run                       dropped
//	connection refused                      not sent: ErrUnavailable
//	connection cut                          may have run: ErrReplyLost
//
// A request is sent once; net/http repeats one only where it knows that nothing
// of it was sent. Requests on many connections have no order.
//
// # Shutting down
//
// End the ctx of Serve, wait for it to return, and then shut the http.Server
// down: it waits for the answers to be written.
package httpconn
