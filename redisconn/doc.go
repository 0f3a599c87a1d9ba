// Package redisconn carries JSON-RPC 2.0 over Redis lists: a client pushes a
// request onto the list named after the queue, one of any number of servers
// takes it off the other end and pushes the answer onto a reply list.
//
//	rdb := redis.NewClient(&redis.Options{Addr: "localhost:6379"})
//
//	conn, err := redisconn.Listen(rdb, "calc", nil)
//	err = jsonrpc2.Serve(ctx, server, conn, &jsonrpc2.ServerOptions{Service: "Calc"})
//
//	conn, err := redisconn.Dial(rdb, "calc", nil)
//	client := jsonrpc2.NewClient(conn, &jsonrpc2.ClientOptions{Service: "Calc"})
//
// The caller brings the connected client (single, Sentinel or Cluster), keeps
// owning it, and closes it after the Conns. Redis 6.2 is the oldest that serves;
// 7.0 is faster, and jsonrpc2.AtLeastOnce needs it.
//
// # Setting up Redis
//
// Pool size: each Conn keeps one connection of its client's pool blocked in a pop
// and uses one more at times. A PoolSize of two for each Conn is enough. Where the
// pops have used the pool up, errors say so. With AtLeastOnce a server has two small
// clients of its own beside, for the wait and for the lease, with two connections
// each at most. They have your client's options and none of its hooks.
//
// Memory: set maxmemory-policy noeviction. Other policies evict queues and
// requests that are held as if they were a cache's.
//
// Message size: one longer than MaxMessageSize is fetched whole before it is
// refused. Set Redis's own limit, proto-max-bulk-len, where strangers may push.
//
// Log: go-redis logs by itself, to stderr, when it can't dial or drops a
// connection. redis.SetLogger redirects that, for the whole program. What a Conn
// logs goes to the Logger of its options.
//
// Rights: for the queue calc and our clients these are enough, as arguments of ACL
// SETUSER. Of a client:
//
//	~calc ~jsonrpc2:reply:* +lpush +llen +lrem +blmpop +rpush +pexpire +del +time
//
// Of a server:
//
//	~calc ~{calc}:* ~jsonrpc2:reply:* +blmpop +rpush +pexpire +del +time
//	+evalsha +eval +pttl +lrem +llen +lrange +persist
//
// Of a server with AtLeastOnce:
//
//	~calc ~{calc}:* ~jsonrpc2:reply:* +blmove +rpush +pexpire +del +time
//	+evalsha +eval +pttl +lrem +llen +lrange +persist +client|id +client|unblock +rpop +lpush
//	+lpop +hset +hget +hmget +hdel +hexists +hlen +hgetall +hkeys
//
// A server also needs the keys on which other clients want their answers. A client
// with ReplyPerCall needs +lpop, and the keys named by its ids. Where BLMPOP, TIME,
// PEXPIRE, a pop with a count or, at most once, scripts are refused, in whatever
// words, BRPOP or BLPOP with RPOP or LPOP, a script, EXPIRE, single pops and plain
// commands take their places. Without the rights to CLIENT ID and CLIENT UNBLOCK the
// drain of a server with AtLeastOnce takes up to a second longer.
//
// # Delivery semantics
//
// A request is sent when Redis has answered its push, and sent at most once: where
// it is not known whether a push arrived, it is not repeated. A call then waits for
// its answer until its timeout, and a notification fails with
// jsonrpc2.ErrUnconfirmed. Requests run in the order they were pushed, as far as
// many servers and many goroutines have one. Answers are repeated until they arrive
// or ReplyTTL is over; one may therefore arrive twice, which clients tell by its id.
//
// By default requests are taken at most once, too: those that a server has taken
// when it crashes are lost, at most Prefetch of them, as are those that Redis has
// sent when a connection is cut.
//
//	event                               requests                  answers
//	server drained (ctx done)           given back, none lost     none lost
//	server killed                       up to Prefetch lost       with them
//	server's connection cut             up to Prefetch lost       late, maybe twice
//	client's connection cut             late, or not sent         up to 256 lost
//	Redis down, with its data kept      wait                      late
//	Redis down, its data lost           those waiting are lost    those waiting are lost
//	Redis restored from a snapshot      those since are lost, or  those since are lost
//	                                    run a second time
//	a message over Redis' own limit     its call fails, not sent  its caller is told
//	Redis out of memory                 calls fail, not sent      late or, after ReplyTTL, lost
//	  and a server drained              up to Prefetch lost
//
// With the Guarantee jsonrpc2.AtLeastOnce Redis holds each request until it is
// settled: answered, or run where nobody wants an answer. In place of the lines above:
//
//	event                               requests                  answers
//	server killed, stopped or cut off   run again after Lease,    one: that of the server
//	  for longer than Lease             some a second time        that has the request then
//	server's connection cut             none lost, none twice     late, once
//	Redis stalls, for however long      none twice                late, once
//	Redis failed over                   those not replicated      those not replicated are
//	                                    run again or are lost     dropped or lost
//	Redis down, its data lost           those waiting and those   those waiting, and those
//	                                    held are lost             to requests held, are lost
//	Redis out of memory                 calls fail, not sent      none lost
//	  and a server drained              given back, none lost
//	on a Cluster, a server killed       not run again             lost, if it was killed
//	  while it answers                                            between settling and pushing
//	server dies of a request each time  MaxAttempts starts, then  an error
//	                                    to the DeadList
//
// A server tells of itself in a beat, and in each beat sees those of the others. One
// whose beats have not changed for the longer one of both leases is taken over. That
// is measured between two beats of the server that takes over, by its own monotonic
// clock: no step of any clock has an effect, and while Redis answers nobody, nobody is
// found silent. A server starts nothing unless its own last beat is younger than its
// lease, and its answers are pushed only with the requests that it still has.
//
// A request that was under way when its server died is a suspect: each server runs one
// of them at a time, so that the one which kills can be told from those beside it.
// Suspects run before other requests, in the order in which their servers died. How
// often a request was begun stands beside it, not in it: a method may ask for it, see
// jsonrpc2.Context. It should see to it that running twice does no harm.
//
// The keys of the servers with AtLeastOnce of a queue lie in its slot of a Cluster:
//
//	{calc}:ready      requests, still to be taken, which the wait of an idle server moved
//	{calc}:suspects   requests that were under way when their servers died
//	{calc}:held:…     the requests that one server has
//	{calc}:workers    the servers, and the layout of these keys
//	{calc}:dead       the DeadList, of MaxDead requests at most
//
// A server that serves at most once, or is a foreign one, sees the queue alone, not
// what is ready, and no suspects: if the last server with AtLeastOnce is killed, those
// wait until one is started again. What is ready is not counted by MaxBacklog, and is
// not taken out when its caller gives up.
//
// Servers of versions that lay out these keys in another way can't share a queue with
// AtLeastOnce: the one that comes later does not serve, and Serve returns an error that
// says so. End the others first: a drained server leaves nothing behind.
//
// # Deadlines
//
// A request travels with the time until which its caller waits, as a member
// deadline_ms by the broker's own clock. Both ends ask for that about once a minute
// of use; a client also checks it, once a second, beside what it pushes, and a
// server before it drops a request. Where Redis tells it neither by TIME nor by a
// script, and for callers that wait for more than 50 years, a request travels
// without. A server does not begin with one that is past.
//
// When the clock of Redis is set forward, calls pushed before their client checked
// it, in the second before or first after a pause, are dropped as late by servers
// that know the new time, if it was set by more than they wait for. When it is set
// back, servers may begin with calls that nobody waits for any more.
//
// When a call times out, or its context ends, its request is taken out of the
// queue again: the error is then a jsonrpc2.ErrNotRun, too. That is not done where
// more than 1,000 requests wait, since Redis would be long in looking for it, and
// not for the requests of a batch. The error tells how many wait.
//
// # Reply addresses
//
// A request names the list to answer on, and anybody may push one. A server
// answers on no queue's own keys and, with ListenOptions.ReplyPrefix, on no list
// whose name does not begin so; an answer to anything else is one entry more there.
//
// A list that an answer makes expires after ReplyTTL. Where its name says that it
// is a reply list, for it begins with "jsonrpc2:reply:" or ReplyPrefix, that is
// all. Any other may be another service's queue, empty for the moment: shortly
// before it expires the server looks at it again. One that holds nothing but
// answers is deleted then; one that holds anything else lasts, less our answers.
// That holds for the last 10,000 such lists of a server. A server that is closed
// looks at all of them a last time; one that is killed leaves them their expiry,
// and so does one that may not use scripts with what is pushed in the last moments.
//
// # Faults
//
// A Redis that stalls answers nobody: calls wait, and fail with
// jsonrpc2.ErrUnavailable or jsonrpc2.ErrTimeout; pops go on when it does.
//
// An answer that can't be delivered holds up no other. Where its list is of
// another type, or forbidden, it is dropped at once; where it fails alone, as one
// over Redis' own limit does, its caller gets an error in its place. It is logged
// and counted as Undelivered. On a Cluster the answers to one node wait for that
// node alone. Up to 16 MiB of answers that wait so hold no place of Prefetch.
//
// Both ends survive their broker: they try again with a backoff of 50 ms to
// 5 s, log one line when it begins to fail and one when it works again, and go
// on with what waited. Calls that can't be sent fail with
// jsonrpc2.ErrUnavailable after less than 2 s; for as long as a connection or
// go-redis's pool keeps a push waiting, they may take longer by go-redis's
// DialTimeout or ReadTimeout. Meanwhile Err tells the cause. A ServerConn that is
// closed before its answers could be sent says so: Close, and with it Serve, returns
// an error.
//
// # The way of a request
//
// At least once, on one node: the files that a request passes, and its answer, what of
// them it passes, and on whose goroutine.
//
//	client.go               WriteRequest                 a caller's
//	sending.go              push, pushTogether           the client's sender
//	  LPUSH                   the queue
//	mover.go                move                         the fetcher
//	  BLMOVE, take.lua        held
//	world.go                Do
//	internal/hold/fetch.go  Fetch
//	held.go                 take
//	fetch.go                hand, next                   net/rpc's, from next on
//	deliver.go              deliver
//	server.go               ReadRequest
//	  the method                                         one of its own
//	replier.go              reply, put
//	lane.go                 run                          the lane's
//	sender.go               send
//	pusher.go               push
//	held.go                 settling
//	internal/hold/settle.go SettleCommand
//	  settle.lua              the reply list
//	replylist.go            fetch                        the client's fetcher
//	inbox.go                hand, reply                  net/rpc's, from reply on
//	client.go               ReadReply
//
// At most once popped.go is in the place of held.go and of what stands above it, and
// RPUSH in that of settle.lua. What fails on the way out goes to retrier.go, which sends
// it again by sender.go; ledger.go keeps account of it.
package redisconn
