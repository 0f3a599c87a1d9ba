// Package natsconn carries JSON-RPC 2.0 over core NATS: a client publishes a request to a
// subject, NATS hands it to one of the servers that are subscribed, and that server
// publishes the answer to the reply subject of the request.
//
//	conn, err := natsconn.Listen(nc, "calc")
//	err = jsonrpc2.Serve(ctx, server, conn, &jsonrpc2.ServerOptions{Service: "Calc"})
//
//	conn, err := natsconn.Dial(nc, "calc")
//	client := jsonrpc2.NewClient(conn, &jsonrpc2.ClientOptions{Service: "Calc"})
//
// It is an example of how to write a transport: natsconn.go has all of its code. The program
// that uses it makes the nats.Conn, sets its options, and closes it last. Many Conns may
// share one nats.Conn.
//
// # Delivery semantics
//
// Core NATS stores nothing, so a request is run at most once. Requests have no order.
//
//	event                   requests                        answers
//	nobody listens          not run: ErrNoServer
//	no connection           not sent: ErrUnavailable        kept by nats.go, up to its
//	                                                        ReconnectBufSize
//	connection lost         may be lost: calls wait until   may be lost
//	                        their deadline, notifications
//	                        end with ErrUnconfirmed
//	nats.Conn closed        may have run: ErrReplyLost      lost; Serve returns an error
//	more than max_payload   not sent: ErrTooLarge           lost: ErrReplyLost
//	server drained          run, if they had come           none lost
//	server killed           lost, if they had come          lost with them
//	server overloaded       not run: ErrNoServer
//
// A call that has no deadline, and whose answer is lost, waits until the client is closed.
// A notification counts as sent when the broker has answered a ping that followed it.
//
// NATS pushes requests to a server, whether the server has places for them or not. The
// server runs as many as MaxInFlight says, and 1,024 more wait for a place. It refuses any
// beyond these.
//
// NATS takes no request back, and a server that published one again would lose it if no
// other server listens. A drain therefore ends the subscription, and then runs the requests
// that have come. A call that NATS hands out at that moment may end with ErrNoServer. It
// was not run.
//
// A client chooses the reply subject of its requests. If clients may be strangers, allow the
// server to publish only to reply subjects: see allow_responses in the manual of NATS.
//
// # Deadlines
//
// A call has a header with the time that is left, in milliseconds. The server counts it from
// the arrival of the request, and does not run the request later. The clocks need not agree.
// The time on the way is not counted; it is short, since NATS keeps no message waiting.
package natsconn

import "time"

// TimeoutHeader is the NATS header with the time left until the deadline of a call: a decimal
// number of milliseconds below 2^32. A server ignores any other value. The header of package
// httpconn has the same name.
const TimeoutHeader = "Request-Timeout-Ms"

// Group is the queue group of the servers. A server in another language joins it, too: NATS
// hands each request to one server of every group, so a second group would run it again.
const Group = "jsonrpc2"

const (
	maxBytes   = 64 << 20        // of a Conn's unanswered requests, or of its unsent answers
	maxWaiting = 1024            // requests that wait for a place in a ServerConn
	grace      = 2 * time.Second // for one wait for the broker
)
