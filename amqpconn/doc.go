// Package amqpconn carries JSON-RPC 2.0 over RabbitMQ queues: a client publishes
// a request to a queue, one of any number of servers consumes it and publishes
// the answer to the client's reply queue.
//
//	conn, err := amqpconn.Listen("amqp://localhost", "calc", nil)
//	err = jsonrpc2.Serve(ctx, server, conn, &jsonrpc2.ServerOptions{Service: "Calc"})
//
//	conn, err := amqpconn.Dial("amqp://localhost", "calc", nil)
//	client := jsonrpc2.NewClient(conn, &jsonrpc2.ClientOptions{Service: "Calc"})
//
// Each end owns its connections, two of them: one to publish and one to consume,
// so that a broker that blocks publishers does not keep answers and
// acknowledgements from passing. A server opens a third for answers to direct
// reply-to addresses, and a fourth for answers whose queue is not there yet, when
// it needs them.
//
// A message longer than MaxMessageSize is fetched whole before it is refused: set
// RabbitMQ's own limit, max_message_size, where strangers may publish.
//
// # Delivery semantics
//
// A request is published once, or once more where it came back since its queue was
// missing and Declare creates it. A server acknowledges it when its answer has been
// written to the connection or, with ConfirmReplies, when the broker has confirmed
// the answer. So it is run at least once: a request that a server held when it
// crashed, or when its connection ended, is delivered again, and a method may see
// it twice, but not twice at once in one process. With the Guarantee
// jsonrpc2.AtMostOnce it is acknowledged when it is handed to the codec, and lost if
// the server crashes then; it runs again only where that acknowledgement was lost on
// its way with the connection.
//
// A notification is sent when it is known that the broker has it in the queue: with
// Persistent when the broker has confirmed it, else when it has answered a question
// that came behind it. Where the connection ends before, the notification is a
// jsonrpc2.ErrUnconfirmed.
//
// Requests expire when their callers give up: in the queue by the broker, and by
// the same property, expiration, on the server, which counts from the delivery
// and does not run what it could not begin by then. RabbitMQ takes no expiration
// of more than 49 days: a request whose caller waits for longer does not expire. A
// method sees the deadline with a jsonrpc2.Context in its arguments. A request that
// waits in a durable queue survives a restart of the broker if it was sent with
// Persistent; it is accepted when the broker has confirmed it, which Stats counts.
//
//	event                      requests                    answers
//	server drained (ctx done)  given back, none lost       none lost
//	server killed              delivered again             with them
//	  with AtMostOnce          those running are lost      with them
//	server's connection ends   those running are held      late; lost if just
//	                           where they run, or run      written to it
//	                           again on another server
//	  with ConfirmReplies      the same                    late, maybe twice;
//	                                                       none lost
//	server may not write       run, not acknowledged: see  wait for 30 s
//	                           below
//	client's connection ends   run; those just written to  lost: ErrReplyLost
//	                           it, as along with one over
//	                           the broker's limit, may not
//	broker restarted           lost, unless Persistent in  lost: ErrReplyLost
//	                           a durable queue
//	queue deleted              those waiting are lost      none lost
//	memory or disk alarm       wait until their timeout    wait
//
// An answer that can't be published for 30 s is dropped, logged and counted, and
// its request acknowledged; with ConfirmReplies the request is given back in place
// of that. An answer that the broker returns, since nobody waits for it, or
// refuses, since its queue is full, is dropped with its request acknowledged. Where
// the reply queue is named by the request's id the answer is published again for
// 10 s before that, for clients that declare this queue last. Close returns an error
// if it could not send answers: their requests are delivered again, unless they are
// acknowledged.
//
// ConfirmReplies costs about a tenth of the calls per second.
//
// A request whose server dies of it is delivered to the next. Quorum queues count
// the deliveries: after MaxDeliveries, or the queue's own delivery limit, it goes
// to the queue's dead-letter exchange if it has one, and is logged. Queues that are
// created with Quorum have such a limit. Old versions of RabbitMQ count what a
// drain gives back, too. What else the server held when it died is counted with
// it: nothing if Prefetch is 1. Classic queues don't count: there such a request
// comes back until it expires. Give them a message-ttl by a policy, or purge the
// queue by hand.
//
// RabbitMQ waits for an acknowledgement for half an hour by default, its
// consumer_timeout. It then ends the channel and delivers everything again that
// was not acknowledged. A method may run for longer: what is delivered again while
// it runs is held and acknowledged with its answer, where it comes to the same
// process. Where several serve the queue it may come to another, and run there
// beside the first: set consumer_timeout to more than a method takes.
//
// # Rights
//
// RabbitMQ's rights are regular expressions for the names of what a user may
// configure, write and read. What each end needs, of a queue calc:
//
//	                        configure               write             read
//	client                  ^amq\.gen-              ^amq\.default$    ^amq\.gen-
//	  with Declare          ^(amq\.gen-.*|calc)$    the same          the same
//	  with ReplyPerCall     ^(amq\.gen-.*|[0-9a-z-]+)$ the same       as configure
//	server                  ^$                      ^amq\.default$    ^calc$
//	  that creates calc     ^calc$                  the same          the same
//	    with a dead-letter  ^calc$                  that exchange,    ^calc$
//	    exchange                                    too
//
// The other options need no more. An error or a log line names the right that is
// missing. A server that lacks the right to write goes on to take requests, as far
// as Prefetch lets it.
//
// # Faults
//
// Both ends survive their broker: they connect again with a backoff of 50 ms to
// 5 s, to each of the URLs in turn, log one line for each cause of an outage and
// one when all work again, and go on with what waited. A connection that is ended
// within 10 s for what came over it counts as an outage that goes on: the next is
// made after up to 15 s.
//
// Requests that can't be sent fail with jsonrpc2.ErrUnavailable within 2 s, or 4 s
// while a broker has not said yet whether it lets us in: RabbitMQ takes 3 s to
// refuse a password. A refusal for a missing right fails them at once. What Close
// can't send within 1 s fails, too. Calls that time out tell in their error what is
// wrong with the connection or, if nothing is, how many consumers the queue has, and
// if it has none or is missing. Calls whose reply queue died with its connection fail
// at once with jsonrpc2.ErrReplyLost, requests to a queue that does not exist with
// jsonrpc2.ErrNoServer. Each error names the queue, the address, and the last cause.
//
// A stranger's request does no harm to others: answers to addresses that are the
// broker's own to make sense of, for some of which RabbitMQ ends the connection,
// go over one of their own; headers that this package's AMQP library does not read
// are dropped.
//
// # The way of a request
//
// The files that a request passes, and its answer, what of them it passes, and on whose
// goroutine.
//
//	client.go    WriteRequest                            a caller's
//	request.go   publish, publishTo, publishOne          the client's sender
//	publisher.go publish
//	  basic.publish  the queue
//	consumer.go  next                                    net/rpc's
//	server.go    ReadRequest, accept, begin
//	address.go   replyQueue
//	running.go   begin
//	  the method                                         one of its own
//	reply.go     hand, send, sendOne                     the replier's, from send on
//	publisher.go publish
//	  basic.publish  the reply queue
//	receiver.go  next                                    net/rpc's
//	client.go    ReadReply, reply
//
// A notification, a batch, and with Persistent each request, is published by
// confirm.go's publishTracked. Answers to addresses of the broker's own go by direct.go,
// those whose queue is not there yet by late.go.
package amqpconn
