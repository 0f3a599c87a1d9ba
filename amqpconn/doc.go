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
// broker blocks publishers, answers and acknowledgements still arrive. A client publishes
// notifications on a channel of their own, which the first one opens. A server may
// open two more. One is for answers to direct reply-to addresses
// (amq.rabbitmq.reply-to, a pseudo-queue of RabbitMQ). The other is for answers whose
// reply queue does not exist yet.
//
// A message longer than the codec's MaxMessageSize is fetched whole before it is
// refused. If strangers may publish, set RabbitMQ's own limit, max_message_size.
//
// # Delivery semantics
//
// A client publishes a request once. It publishes the request a second time only if the
// queue was missing and [DialOptions.Declare] has created it.
//
// By default a request runs at least once. A server acknowledges it when the answer has
// been written to the connection or, with [ListenOptions.ConfirmReplies], when the
// broker has confirmed the answer. If the server crashes before, or its connection
// ends, the broker delivers the request again. So a method may run twice for one
// request, but never twice at the same time in one process. With the Guarantee
// jsonrpc2.AtMostOnce the server acknowledges a request before it runs. If the server
// crashes then, the request is lost. The request runs again only if the acknowledgement
// was lost with the connection.
//
// A notification is sent when the broker has confirmed it: it is in the queue then. Many
// wait for their confirms at once, up to 4,096 or 16 MiB of them; others wait for those.
// jsonrpc2.Notify says what became of it:
//
//	nil             the broker has it in the queue
//	ErrNoServer     there is no such queue, or, with RequireServer, no consumer
//	ErrOverloaded   the broker refused it: the queue is full, and has x-overflow
//	                reject-publish; or MaxBacklog is reached
//	ErrUnconfirmed  the connection ended before the confirm, or Close waited for it for
//	                long enough: it may be in the queue, and run twice if it is sent again
//	ErrUnavailable  it was never published
//
// With [DialOptions.Persistent] the broker confirms calls, too. A batch that has a
// notification is one message, and is confirmed as a whole. Its calls don't wait for that,
// but only for their answers.
//
// A call expires at its caller's deadline, by the property expiration. The broker drops
// an expired call from the queue. A server counts the time from the delivery, and does
// not start a call that has expired. RabbitMQ takes no expiration of more than 49 days,
// so a call with a longer deadline does not expire. A method sees the deadline if its
// arguments embed a jsonrpc2.Context.
//
// A request survives a restart of the broker if it was sent with Persistent and the
// queue is durable. This holds for notifications, too: without Persistent, one for which
// Notify has returned nil is lost if the broker restarts before a server has taken it.
// Stats.Confirmed counts the requests that the broker has confirmed.
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
// RabbitMQ closes the channel for a request over its own size limit. Then that request,
// and those published on the channel just before or after it, fail: calls with
// jsonrpc2.ErrReplyLost, notifications with jsonrpc2.ErrUnconfirmed.
//
// An answer that can't be published for 30 s is dropped, logged and counted as
// Undelivered, and its request is acknowledged. With ConfirmReplies the request is
// given back instead. An answer is also dropped, and its request acknowledged, if the
// reply queue does not exist or is full. If the reply queue is named by the request's
// id, the server first tries for 10 s: some clients declare that queue after they have
// published. Close returns an error if answers were not sent; their requests are
// delivered again, unless they are acknowledged.
//
// With ConfirmReplies a server answers about nine tenths as many calls per second.
//
// If a request kills its server, the broker delivers it to the next one. Quorum queues
// count the deliveries. After [ListenOptions.MaxDeliveries] of them, or the queue's own
// delivery limit, the request is logged and leaves the queue: see "Dead requests". A queue
// that this package creates with [Queue.Quorum] has such a limit. All other requests that
// the dead server held are counted, too; with a [ListenOptions.Prefetch] of 1 there are
// none. Old versions of RabbitMQ also count what a drain gives back. Classic queues do not
// count: such a request comes back until it expires. Set a message-ttl by a policy there, or
// purge the queue by hand.
//
// RabbitMQ waits for an acknowledgement for its consumer_timeout, half an hour by
// default. Then it closes the channel and delivers again all that was not acknowledged.
// If a running request comes back to its own process, it is not started again: it is
// acknowledged with its answer. If it comes to another server, it runs there, too. So
// set consumer_timeout to more than a method takes.
//
// # Dead requests
//
// With [Queue.DeadLetter], best together with [Queue.Quorum], a queue keeps the requests that
// leave it because of the delivery limit, or because a server rejects them, as this package's
// servers do after MaxDeliveries. Requests that expire are not kept, nor are those that are
// too much for an x-max-length. A [DeadList] shows what is kept, deletes it, or has it queued
// again. For a queue calc these are created before the queue itself:
//
//	calc.dead, a queue      durable and classic, for 10,000 requests; of more the oldest
//	                        are dropped
//	calc.dead, an exchange  of the type headers: calc gives it what leaves, and it passes on
//	                        what left for the reason rejected or delivery_limit
//
// While a DeadList looks at calc.dead it has a queue calc.dead.look, so that no other one
// looks.
//
// A queue that exists is used as it is, and nothing is created beside it. To change it, wait
// until it is empty, delete it, and have it created again. RabbitMQ before 3.10 can't tell
// the reasons apart: a server that is to create the queue there logs that, and does not serve.
//
// Nobody is told when a request dies: its caller waits for his timeout. If it is queued again
// before that, its caller gets the answer. RabbitMQ tells of a dead request the second in
// which it died, and no number of attempts. It moves a request to calc.dead without a
// confirm, so that one may be lost if the broker crashes in that moment. There the request
// survives a restart of the broker if it was sent with Persistent. A request that has died
// elsewhere before, as by the expiry of a queue that delays it, keeps its first reason: it is
// dropped.
//
// Only a DeadList should consume calc.dead: what another consumer has taken is not seen. A
// calc.dead that was created by hand must be a classic queue. A look at a quorum queue counts
// as a delivery, so that some looks would end its requests.
//
// # Traces
//
// A server takes the trace of a message, the headers traceparent, tracestate and baggage,
// as metadata of those items that have none of their own: see jsonrpc2.CallFrom. A client
// sends the trace in the metadata of a single call as these headers, too.
//
// # Rights
//
// A right of RabbitMQ is a regular expression for names that a user may configure,
// write or read. For a queue calc each end needs these:
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
// A client whose Declare has DeadLetter needs the rights of such a server, too. [Look], and
// Len of a DeadList, need none. No other option needs more. An error or a log line names the
// right that is missing. A server without the right to write still takes requests, but no
// more than Prefetch in 30 s.
//
// # Faults
//
// Both ends reconnect by themselves, with a backoff of 50 ms to 5 s, to each of the
// URLs in turn, and go on with what waited. They log one line for each cause of an
// outage, and one when all works again. If the broker ends a connection within 10 s
// because of what was sent on it, the outage counts as not over, and the next
// connection is made after up to 15 s.
//
// Requests that can't be sent fail with jsonrpc2.ErrUnavailable within 2 s. RabbitMQ
// takes 3 s to refuse a user name or a password: before that, errors say that it has not
// let the client in yet. While an alarm blocks publishers, requests wait until their timeout. If a right is missing, requests fail at once. Close gives requests 1 s to be sent.
//
// The error of a call that times out says what is wrong with the connection. If nothing
// is, it says how many consumers the queue has, or that the queue is missing. If the
// connection of the reply queue ends, calls fail at once with jsonrpc2.ErrReplyLost.
// Requests to a missing queue fail with jsonrpc2.ErrNoServer, as do those to a queue
// without a consumer if [DialOptions.RequireServer] is set. Each error names the queue,
// the address and the last cause.
//
// A stranger's request harms no other. RabbitMQ may end the connection of a server that
// answers to a forged direct reply-to address, so those answers have a connection of
// their own. The server drops headers that the AMQP library can't read.
//
// # The way of a request
//
// The files and functions that a request and its answer pass. The right column names
// the goroutine that runs a line and those below it.
//
//	client.go     WriteRequest, outletFor                a caller's
//	outlet.go     publish, publishTo, publishOne         the outlet's
//	publishing.go publish
//	  basic.publish  the queue
//	consumer.go   next                                   net/rpc's
//	server.go     ReadRequest
//	deliverer.go  deliver, begin
//	running.go    begin
//	address.go    destinationOf
//	  the method                                         one of its own
//	replier.go    put, send, sendOne                     the replier's, from send on
//	publishing.go publish
//	  basic.publish  the reply queue
//	receiver.go   next                                   net/rpc's
//	client.go     ReadReply, reply
//
// Notifications, batches with one and, with Persistent, all requests have an outlet whose
// channel is in confirm mode. What is published there is tracked (tracking.go), listener.go
// finds out what becomes of it, and outcomes.go tells the request. Answers to direct
// reply-to addresses go by direct.go, and those whose queue does not exist yet by
// late.go.
package amqpconn
