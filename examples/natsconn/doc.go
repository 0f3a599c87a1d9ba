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
// It is an example of how to write a transport: natsconn.go is all of it. The nats.Conn
// is the user's, who sets its options and closes it last. Many Conns may share it.
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
// A notification is sent when the broker has answered a ping behind it.
//
// NATS pushes requests to a server whether it has places for them or not. It runs as many
// as MaxInFlight says. 1,024 more wait for a place; others are refused. NATS takes none of
// them back, and one that is published again is lost where no other server listens. A drain
// therefore ends the subscription, and then runs what has come. A call that NATS is just
// handing out meanwhile may end with ErrNoServer, and was not run.
//
// Reply subjects are the clients' choice. Where those may be strangers, let the server
// publish to nothing else: see allow_responses in the manual of NATS.
//
// # Deadlines
//
// A call has a header with the milliseconds that are left. The server counts them from
// when the request came, and does not begin it later. A moment in time would need clocks
// that agree. What the count leaves out is the way, for NATS keeps no message waiting.
package natsconn

import "time"

// TimeoutHeader is the NATS header with the milliseconds that are left until the deadline of
// a call: a decimal number below 2^32. What is none is ignored. Its name is that over HTTP.
const TimeoutHeader = "Request-Timeout-Ms"

// Group is the queue group of the servers. One in another language has to join it: NATS
// hands each request to every group.
const Group = "jsonrpc2"

const (
	maxBytes   = 64 << 20 // of messages under way; beyond it there is ErrOverloaded
	maxWaiting = 1024     // requests in a ServerConn
	grace      = 2 * time.Second
)
