// Package amqpconn carries JSON-RPC 2.0 over RabbitMQ queues. A client publishes a
// request to a queue. One of any number of servers consumes it and publishes the answer
// to the client's reply queue.
//
//	conn, err := amqpconn.Listen("amqp://localhost", "calc", nil)
//	err = jsonrpc2.Serve(ctx, server, conn, &jsonrpc2.ServerOptions{Service: "Calc"})
//
//	conn, err := amqpconn.Dial("amqp://localhost", "calc", nil)
//	client := jsonrpc2.NewClient(conn, &jsonrpc2.ClientOptions{Service: "Calc"})
//
// The end of the ctx given to jsonrpc2.Serve drains a server: it takes no more
// requests, gives back those that it has not started, and answers those that run.
//
// Each Conn opens two connections, one to publish and one to consume. So when the
// broker blocks publishers, answers and acknowledgements still arrive. A client has a
// second channel to publish on, for notifications. The first notification opens it. A
// server may open two more connections, and closes each when it was not used for a
// minute:
//
//   - one for answers to direct reply-to addresses (amq.rabbitmq.reply-to, a pseudo-queue
//     of RabbitMQ),
//   - one for answers whose reply queue does not exist yet.
//
// A message longer than the codec's MaxMessageSize is fetched whole before it is
// refused. If strangers may publish, set RabbitMQ's own limit, max_message_size.
//
// # Delivery semantics
//
// A client publishes a request once. It publishes the request a second time only if the
// broker returned it because the queue was missing, and [DialOptions.Declare] is set.
//
// By default a request runs at least once. A server acknowledges it when the answer has
// been written to the connection or, with [ListenOptions.ConfirmReplies], when the
// broker has confirmed the answer. If the server crashes before that, or its connection
// ends, the broker delivers the request again. So a method may run twice for one
// request, but never twice at the same time in one process. With the Guarantee
// jsonrpc2.AtMostOnce the server acknowledges a request before it runs. If the server
// crashes then, the request is lost. The request runs again only if the acknowledgement
// was lost with the connection.
//
// A notification counts as sent when the broker has confirmed it: then it is in the queue.
// Up to 4,096 notifications, or 16 MiB of them, wait for their confirms at once. Further
// ones are published when there is room again. jsonrpc2.Notify says what became of a
// notification:
//
//	nil             it is in the queue
//	ErrNoServer     there is no such queue, or, with RequireServer, no consumer
//	ErrOverloaded   the queue is full and has x-overflow reject-publish, or MaxBacklog
//	                is reached
//	ErrUnconfirmed  the connection ended, or Close gave up, before the confirm came: it
//	                may be in the queue, and may run twice if it is sent again
//	ErrUnavailable  it was never published
//
// With [DialOptions.Persistent] the broker confirms calls, too. A batch with a
// notification is one message, which the broker confirms as a whole. The calls in it wait
// for their answers only, not for the confirm.
//
// A call expires at its caller's deadline: its property expiration holds the milliseconds
// that are left. The broker drops an expired call from the queue. A server counts the time
// from the delivery, and does not start a call that has expired. RabbitMQ takes no
// expiration of more than 49 days, so a call with a longer deadline does not expire. A
// method sees the deadline if its arguments embed a jsonrpc2.Context.
//
// A request survives a restart of the broker if it was sent with Persistent and the
// queue is durable. This holds for notifications, too. Without Persistent a notification
// is lost if the broker restarts before a server has taken it, although Notify has
// returned nil. Stats.Confirmed counts the requests that the broker has confirmed.
//
//	event                      requests                    answers
//	server drained (ctx done)  given back, none lost       none lost
//	server killed              delivered again             from the next server
//	  with AtMostOnce          those running are lost      lost with them
//	server's connection ends   those running run on;       late; lost if just
//	                           delivered again, they may   written to it
//	                           run on another server, too
//	  with ConfirmReplies      the same                    late, maybe twice;
//	                                                       none lost
//	server may not write       run                         dropped after 30 s
//	client's connection ends   run, unless just written    lost: ErrReplyLost
//	                           to it
//	broker restarted           lost, unless Persistent in  lost: ErrReplyLost
//	                           a durable queue
//	queue deleted              those waiting are lost      none lost
//	memory or disk alarm       wait until their timeout    wait
//
// RabbitMQ closes the channel when a request exceeds its max_message_size. Then that
// request, and those published on the channel just before or after it, fail: calls with
// jsonrpc2.ErrReplyLost, notifications with jsonrpc2.ErrUnconfirmed.
//
// An answer that can't be published for 30 s is dropped, logged and counted as
// Undelivered, and its request is acknowledged. With ConfirmReplies the request is
// given back instead. An answer is also dropped, and its request acknowledged, if the
// reply queue does not exist or is full. If the reply queue is named by the request's
// id, the server first tries for 10 s: some clients declare that queue after they have
// published the request. The Close of a server returns an error if answers were not sent. The
// broker delivers the requests of these answers again, unless they are acknowledged.
//
// With ConfirmReplies a server answers about nine tenths as many calls per second.
//
// If a request kills its server, the broker delivers it to the next one. Quorum queues
// count the deliveries. After [ListenOptions.MaxDeliveries] of them a server logs the
// request and rejects it. At the delivery limit of the queue the broker removes the
// request, and this package logs nothing. "Dead requests" says what becomes of it then. A
// queue that this package creates with [Queue.Quorum] has such a limit.
//
// A quorum queue also counts the deliveries of all other requests that the dead server
// held; with a [ListenOptions.Prefetch] of 1 there are none. Old versions of RabbitMQ
// count what a drain gives back, too. A classic queue does not count: a request that kills
// servers comes back until it expires. Set a message-ttl by a policy there, or purge the
// queue by hand.
//
// RabbitMQ waits for an acknowledgement for its consumer_timeout, half an hour by
// default. Then it closes the channel and delivers again all that was not acknowledged.
// If a running request comes back to its own process, it is not started again: it is
// acknowledged with its answer. If it comes to another server, it runs there, too. So
// set consumer_timeout to more than a method takes.
//
// # Dead requests
//
// A dead request is one that left its queue because of the queue's delivery limit, or
// because a server rejected it, as the servers of this package do after MaxDeliveries. A
// request that expires is not one, nor is one that leaves because of an x-max-length.
//
// A queue with [Queue.DeadLetter], best together with [Queue.Quorum], keeps its dead
// requests. A [DeadList] shows them, deletes them, or queues them again. For a queue calc
// these are created before the queue itself:
//
//	calc.dead, a queue      durable and classic, for 10,000 requests; the oldest are
//	                        dropped when there are more
//	calc.dead, an exchange  of the type headers: it gets what leaves calc, and passes on
//	                        to the queue what left as rejected or by delivery_limit
//
// While a DeadList looks at calc.dead, it holds a queue calc.dead.look, so that no other
// DeadList looks at the same time.
//
// A queue that exists is used as it is, and nothing is created beside it. To change it, wait
// until it is empty and delete it: a running server notices that, and creates it again.
// RabbitMQ before 3.10 can't tell the reasons apart: a server that should create the queue
// there logs that, and does not serve.
//
// Nobody is told when a request dies. Its caller waits until the timeout. If the request is
// queued again before that, the caller gets the answer. RabbitMQ notes the second in which
// a request died, but not how often it was delivered.
//
// RabbitMQ moves a request to calc.dead without a confirm, so a request may be lost if the
// broker crashes in that moment. In calc.dead a request survives a restart of the broker if
// it was sent with Persistent. The exchange looks at the reason of the first death. So it
// drops a request that died in another queue before, as when it expired in one that delays
// requests.
//
// Only a DeadList should consume calc.dead: it does not see what another consumer has
// taken. A calc.dead that was created by hand must be a classic queue. A look at a quorum
// queue counts as a delivery, so a few looks would reach its delivery limit.
//
// # Traces
//
// A message may carry a trace in the headers traceparent, tracestate and baggage. A server
// adds them to the metadata of those items that have no trace there: see
// jsonrpc2.CallFrom. A client sends the trace that is in the metadata of a single call as
// these headers, too.
//
// # Rights
//
// A right of RabbitMQ is a regular expression: it matches the names that a user may
// configure, write or read. For a queue calc each end needs these:
//
//	client               configure  ^amq\.gen-
//	                     write      ^amq\.default$
//	                     read       ^amq\.gen-
//	  with Declare       configure  ^(amq\.gen-.*|calc)$
//	                     write      ^amq\.default$
//	                     read       ^amq\.gen-
//	  with ReplyPerCall  configure  ^(amq\.gen-.*|[0-9a-z-]+)$
//	                     write      ^amq\.default$
//	                     read       ^(amq\.gen-.*|[0-9a-z-]+)$
//	server               configure  ^$
//	                     write      ^amq\.default$
//	                     read       ^calc$
//	  that creates calc  configure  ^calc$
//	                     write      ^amq\.default$
//	                     read       ^calc$
//	    with a dead-     configure  ^calc$
//	    letter exchange  write      ^(amq\.default|name of the exchange)$
//	                     read       ^calc$
//	    with DeadLetter  configure  ^calc(\.dead)?$
//	                     write      ^(amq\.default|calc\.dead)$
//	                     read       ^calc(\.dead)?$
//	DeadList             configure  ^calc\.dead\.look$
//	                     write      ^$
//	                     read       ^calc\.dead$
//	  Requeue            configure  ^calc\.dead\.look$
//	                     write      ^amq\.default$
//	                     read       ^calc\.dead$
//
// A client whose Declare has DeadLetter also needs the rights of a server with DeadLetter.
// [Look], and Len of a DeadList, need no right. No other option needs more. An error or a
// log line names the right that is missing. A server without the right to write still takes
// requests, but no more than Prefetch in 30 s: it holds each answer for that long.
//
// # Faults
//
// Both ends reconnect by themselves, with a backoff of 50 ms to 5 s, to each of the
// URLs in turn, and go on with what waited. They log one line for each cause of an
// outage, ten at most, and one when all works again. If a connection ends within 10 s
// because of what was sent on it, the outage counts as not over, and the next
// connection is made after up to 15 s.
//
//	what is wrong                  what requests do
//	no connection                  fail with jsonrpc2.ErrUnavailable within 2 s
//	a right is missing             fail at once, with jsonrpc2.ErrUnavailable if it is
//	                               certain that they did not run
//	an alarm blocks publishers     wait until their timeout
//	no such queue                  fail with jsonrpc2.ErrNoServer
//	no consumer                    wait in the queue or, with [DialOptions.RequireServer],
//	                               fail with jsonrpc2.ErrNoServer
//	the reply queue is lost        calls fail at once with jsonrpc2.ErrReplyLost
//	the Conn is closed             have 1 s to be sent
//
// Each error names the queue, the address and the last cause. RabbitMQ takes 3 s to refuse
// a user name or a password: until then, errors say that it has not let the client in yet.
// The error of a call that times out says what is wrong with the connection. If nothing
// is, it says how many consumers the queue has, or that the queue is missing.
//
// A stranger's request can't harm the requests of others. RabbitMQ may end the connection
// of a server that answers to a forged direct reply-to address, so those answers have a
// connection of their own. The server drops headers that the AMQP library can't read.
//
// # The way of a request
//
// A request and its answer pass these files and functions. The right column names the
// goroutine that runs a line and those below it.
//
//	client.go     WriteRequest, outletFor                a caller's
//	outlet.go     publish, publishTo, publishOne         the outlet's
//	publishing.go publish
//	  basic.publish  the queue
//	consumer.go   run, keep, next                        the consumer's; net/rpc's from next on
//	server.go     ReadRequest
//	deliverer.go  deliver, begin
//	running.go    begin
//	address.go    destinationOf
//	  the method                                         one of its own
//	replier.go    put, send, sendOne                     the replier's from send on
//	publishing.go publish
//	  basic.publish  the reply queue
//	receiver.go   next                                   net/rpc's
//	client.go     ReadReply, reply
//
// These go another way:
//
//   - Notifications, batches with one and, with Persistent, all requests have an outlet whose
//     channel is in confirm mode. tracking.go keeps what is published there, listener.go
//     finds out what becomes of it, and outcomes.go tells the request.
//   - Answers to direct reply-to addresses pass direct.go in place of the replier's send.
//   - Answers whose queue does not exist yet come back, and pass late.go.
package amqpconn
