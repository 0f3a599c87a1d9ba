// Package redisconn carries JSON-RPC 2.0 over Redis lists. A queue is a list. A client
// pushes its request onto that list. One of any number of servers pops the request and
// pushes the answer onto the client's reply list.
//
//	rdb := redis.NewClient(&redis.Options{Addr: "localhost:6379"})
//
//	conn, err := redisconn.Listen(rdb, "calc", nil)
//	err = jsonrpc2.Serve(ctx, server, conn, &jsonrpc2.ServerOptions{Service: "Calc"})
//
//	conn, err := redisconn.Dial(rdb, "calc", nil)
//	client := jsonrpc2.NewClient(conn, &jsonrpc2.ClientOptions{Service: "Calc"})
//
// The caller makes the go-redis client (single, Sentinel or Cluster), owns it, and
// closes it after the Conns. Redis 6.2 is the oldest version that works. Redis 7.0 is
// faster, and jsonrpc2.AtLeastOnce needs it.
//
// The end of the ctx given to jsonrpc2.Serve drains a server: it takes no more
// requests, gives back those that it has not started, and answers those that run.
//
// # Setting up Redis
//
// Pool size: each Conn blocks one connection of its go-redis client in a pop, and at
// times uses a second one. Set PoolSize to at least twice the number of Conns on that
// client. If all connections are in use, errors say so.
//
// A server with AtLeastOnce also opens two go-redis clients of its own, with up to two
// connections each: one client waits for requests, the other renews the lease. They have
// your client's options, but not its hooks, retries and timeouts.
//
// Memory: set maxmemory-policy noeviction. With another policy Redis may evict queues,
// held requests or answers.
//
// Message size: a message longer than the codec's MaxMessageSize is fetched whole
// before it is refused. If strangers may push, set Redis's own limit,
// proto-max-bulk-len.
//
// Log: go-redis writes to stderr when it can't dial or drops a connection.
// redis.SetLogger redirects that for the whole program. A Conn logs to the Logger of
// its options.
//
// Rights: these arguments of ACL SETUSER are enough for the queue calc and clients of
// this package. If the queue's name has a hash tag, as {shop}calc has, ~{calc}:* becomes
// ~{shop}calc:*. If clients set [DialOptions.ReplyPrefix], it replaces
// jsonrpc2:reply: here, for both ends. Redis 6.2 has no BLMPOP: there write +brpop +blpop
// +rpop +lpop in place of +blmpop. A command that lacks a right fails, and its error or log
// line names the command.
// For a client:
//
//	~calc ~jsonrpc2:reply:* +lpush +llen +lrem +blmpop +rpush +pexpire +del +time
//
// For a server:
//
//	~calc ~{calc}:* ~jsonrpc2:reply:* +blmpop +rpush +pexpire +del +time
//	+evalsha +eval +pttl +lrem +llen +lrange +persist
//
// For a server with AtLeastOnce:
//
//	~calc ~{calc}:* ~jsonrpc2:reply:* +blmove +rpush +pexpire +del +time
//	+evalsha +eval +pttl +lrem +llen +lrange +persist +client|id +client|unblock +rpop +lpush
//	+lpop +hset +hget +hmget +hdel +hexists +hlen +hgetall +hkeys +memory|usage
//
// For a program that uses a [DeadList]; ~{calc}:dead +llen +lrange are enough to look at it:
//
//	~calc ~{calc}:dead +llen +lrange +lrem +lpush +evalsha +eval
//
// For [Look]:
//
//	~calc ~{calc}:* +time +llen +lindex +hkeys +zcount
//
// On a Cluster each user also needs +cluster|slots, by which go-redis finds the nodes, and
// +command, without which go-redis logs a line for each command. A client also needs +eval
// there, since it asks for the time by a script. Without +eval its calls carry no deadline.
//
// If clients that are not of this package name other reply lists, a server needs the right
// to these lists, too. A client with [DialOptions.ReplyPerCall] also needs +lpop, and the
// right to the lists named by the ids of its calls.
//
// Some Redis services refuse commands. If one of these is refused, whatever the text of the
// refusal, the package uses the one beside it:
//
//	refused                  in its place
//	BLMPOP                   BRPOP or BLPOP, then RPOP or LPOP
//	RPOP, LPOP with a count  RPOP, LPOP without one
//	TIME                     a script
//	PEXPIRE                  EXPIRE
//	scripts, at most once    plain commands
//	MEMORY USAGE             one RPOP for each request (only AtLeastOnce uses it)
//	CLIENT ID or UNBLOCK     none: with AtLeastOnce a drain takes up to 1 s longer
//
// # Delivery semantics
//
// A request counts as sent when Redis has answered its push. It is never pushed again if the
// first push may have arrived. In that case a call waits for its answer until its timeout,
// and a notification fails with jsonrpc2.ErrUnconfirmed. Servers take requests in the order of
// the pushes, but several servers, and several running methods, finish them in any order.
// A server pushes an answer again until it arrives or [ListenOptions.ReplyTTL] is over.
//
// By default requests run at most once: a pop removes them from Redis. A server that
// crashes loses the requests that it has taken, at most [ListenOptions.Prefetch], and the
// answers that it was about to push, at most as many. A connection that is cut loses the
// requests that Redis has sent on it. An answer may arrive twice: the client drops the
// second one.
//
//	event                               requests                  answers
//	server drained (ctx done)           given back, none lost     none lost
//	server killed                       up to Prefetch lost       lost with them
//	server's connection cut             up to Prefetch lost       late, maybe twice
//	client's connection cut             late, or not sent         up to 256 lost
//	Redis down, with its data kept      those in the queue wait,  late
//	                                    new ones are not sent
//	Redis down, its data lost           those waiting are lost    those waiting are lost
//	Redis restored from a snapshot      newer ones are lost,      newer ones are lost
//	                                    some run a second time
//	a message over Redis's own limit    ErrUnavailable, not sent  its caller gets an error
//	Redis out of memory                 calls fail, not sent      late or, after ReplyTTL, lost
//	  and a server drained              up to Prefetch lost       lost
//
// With the Guarantee jsonrpc2.AtLeastOnce Redis holds each request for the server that
// took it, until the server settles it. A server settles a request with its answer or,
// if no answer is wanted, after the method has run.
//
// Each of these servers has a lease, [ListenOptions.Lease], and renews it by a beat: a
// small script that runs at least four times in a lease, and at least once a second. A
// beat also shows the beats of the other servers. A server is silent if it does not
// beat for its lease. Then another server takes over its requests: they run again.
// These lines replace those above:
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
//	  and a server drained              given back, none lost     none lost
//	on a Cluster, a server killed       not run again             lost, if it was killed
//	  while it answers                                            between settling and pushing
//	server dies of a request each time  MaxAttempts starts, then  an error
//	                                    to the DeadList
//
// If two servers have different leases, the longer one counts between them. The server
// that takes over measures the silence from one of its own beats to another, by its
// monotonic clock. So changes to a clock have no effect. While Redis answers no server, no
// server counts as silent. A server starts a request only if its own last beat is younger than
// its lease, and pushes an answer only if it still holds the request. One script
// settles the request and pushes its answer. On a Cluster, where the reply list may be
// on another node, the server first settles and then pushes.
//
// A request that a silent server had taken becomes a suspect: it may have killed the
// server. Each server runs one suspect at a time, so that the one that kills can be
// told from the others. Suspects run before other requests, in the order in which their
// servers died. After [ListenOptions.MaxAttempts] starts a suspect is given up, and goes to
// the [DeadList]. It stays there until a program requeues or deletes it, or until it is the
// oldest of more than [ListenOptions.MaxDead]. A request that is requeued keeps its reply
// list and loses its deadline.
//
// Methods should be idempotent. A method learns from jsonrpc2.CallFrom how often its request
// was started. Redis keeps that number beside the request.
//
// The servers with AtLeastOnce keep these keys, in the queue's slot of a Cluster:
//
//	{calc}:ready      requests that the BLMOVE of an idle server moved from the queue;
//	                  any of the servers takes them
//	{calc}:suspects   suspects that no server has taken
//	{calc}:held:…     the requests that one server has
//	{calc}:workers    the servers, and the layout of these keys
//	{calc}:dead       the DeadList, of [ListenOptions.MaxDead] requests at most
//
// If the queue's name has a hash tag, as {shop}calc has, the keys begin with the name:
// {shop}calc:ready. A server with AtMostOnce keeps one key, and only in a drain:
// {calc}:wake:…, a list whose one empty value ends the server's pop.
//
// A server with AtMostOnce, or one that is not of this package, takes requests only from
// the queue. Ready requests and suspects wait until a server with AtLeastOnce runs.
// [DialOptions.MaxBacklog] does not count ready requests, and a client can't withdraw them.
//
// A later version of this package may lay out the keys in another way. Servers with
// different layouts can't share a queue with AtLeastOnce: Serve returns an error in the
// one that starts later. Drain the old servers before you start the new ones; a drained
// server leaves nothing of its own behind.
//
// # Deadlines
//
// A call carries its caller's deadline as the member deadline_ms: Unix milliseconds by
// the clock of Redis. A server does not start a call after its deadline. Both ends ask
// Redis for its time about once a minute while they are in use. Someone may set that
// clock: so a client checks it again beside a push, once a second at most, and a server
// checks it before it drops a call. A call carries no deadline if its caller waits for more
// than 50 years, or if Redis tells its time neither by TIME nor by a script. Notifications
// carry no deadline.
//
// If the clock of Redis is set forward, servers may drop calls that still have time.
// These are calls whose client had not seen the new time: those of the second before the
// step, and the first ones after a pause. They are dropped only if the step is longer than
// their callers wait. If the clock is set back, servers may start calls that nobody waits
// for.
//
// When a call times out, or its context ends, the client withdraws its request: it
// removes the request from the queue. A call that timed out waits for that, half a second
// at most. If the request was removed, its error also matches jsonrpc2.ErrNotRun, else the
// error says how many requests wait. A call that is canceled returns at once. A batch
// is withdrawn as a whole, and only when all its calls have ended. While more than 1,000
// requests wait, none is withdrawn, because the search would block Redis. At most 100 are
// withdrawn at once.
//
// # Reply addresses
//
// A request names its reply list in the member reply_to. Without that member, the name is
// the request's id. Anybody may push a request. So a server does not run a call whose reply
// list is the queue itself or a key of this package, or lacks [ListenOptions.ReplyPrefix].
// To any other list the server pushes the answer.
//
// A list that an answer creates expires ReplyTTL after the last answer. A list whose name
// begins with "jsonrpc2:reply:" may expire even if somebody else has created it. The server
// does no more for such a list, or for one whose name begins with its ReplyPrefix.
//
// Any other list may be the queue of another service, empty at the moment: its next entries
// would vanish with the answer. So the server looks at such a list again shortly before it
// expires. If the list holds only answers, the server deletes it. Otherwise the server
// removes its own answers and the expiry. It does so for the last 10,000 such lists, and
// Close looks at all of them once more. A server that is killed leaves the expiry in place.
// A server without the right to run scripts may lose entries that are pushed in the last
// moments.
//
// # Who serves
//
// A ServerConn announces itself while it serves: from its first ReadRequest until its
// drain begins or Close. The announcements of a queue are the members of one sorted set,
// {calc}:servers. A member is a small JSON object. Its score is when the announcement
// ends, in Unix milliseconds by the clock of Redis: 30 s after it was made. A server
// announces itself every 15 s, and at once after it has reconnected. So a server that was
// killed is gone after 30 s, and one that is drained is gone at once. No request, answer or
// drain waits for an announcement. A server asks Redis for its time once a minute: if that
// clock is set forward, servers may count as gone for up to a minute.
//
// [Servers] lists the announcements. The error of a call that timed out says how many there
// are. With [DialOptions.RequireServer] a request fails with jsonrpc2.ErrNoServer, and is
// not sent, if there is none. A client looks before it sends, unless it has found a server,
// or could not look, less than 1 s ago. So calls fail from about 1 s after the last server
// was drained, and from about 30 s after it was killed. Calls that were sent before wait for
// their timeout.
//
// A client that can't look sends. So does a client whose connection has failed in the last
// 20 s, since Redis may have lost the announcements. A client with ReplyPerCall that has no
// call under way does not notice a failed connection: its calls may fail with ErrNoServer
// until the servers have announced themselves again.
//
// Servers that are not of this package, and those of its older versions, do not announce
// themselves. Nor does a server whose Redis tells its time neither by TIME nor by a
// script. Anybody who may write to the set may announce servers that do not exist.
//
// To announce itself, a server needs these rights besides those above. Without them it
// logs a line and serves:
//
//	+zadd +zrem +zremrangebyscore
//
// With RequireServer a client needs these, and on a Cluster +eval. Without them it logs a
// line and sends. A client without RequireServer that has them counts the servers when a
// call times out:
//
//	~{calc}:servers +zcount
//
// A program that lists the servers needs these, and on a Cluster +eval and ~calc:
//
//	~{calc}:servers +zrangebyscore +time
//
// # Faults
//
// While Redis stalls, calls wait. They fail with jsonrpc2.ErrUnavailable if they could
// not be sent, else with jsonrpc2.ErrTimeout. Pops go on when Redis does.
//
// An answer that can't be delivered delays no other. If its list has another type, or
// is forbidden, the answer is dropped at once. If Redis refuses only this answer, for
// example because it is over Redis's own limit, the caller gets an error in place of the
// answer. Both are logged and counted as Undelivered. On a Cluster, answers to one node
// wait for that node alone.
//
// Answers that wait to be pushed, or for their list or node, do not count towards Prefetch
// while they have at most 16 MiB in all. Without a Cluster at most Prefetch answers that
// wait to be pushed are left out: if Redis gives requests and refuses answers, the server
// stops taking requests.
//
// Both ends reconnect by themselves, with a backoff of 50 ms to 5 s, and go on with
// what waited. They log one line when something begins to fail and one when it works
// again; in between, Err returns the cause. Calls that can't be sent fail with
// jsonrpc2.ErrUnavailable in less than 2 s, or up to DialTimeout or ReadTimeout later if
// go-redis waits on a connection or for its pool. If a ServerConn is closed before its
// answers are sent, Close returns an error, and so does Serve.
//
// # The way of a request
//
// These are the files and functions that a request and its answer pass, with AtLeastOnce
// and one Redis node. The right column names the goroutine that runs a line and the lines
// below it.
//
//	client.go               WriteRequest                 a caller's
//	outlet.go               push, pushTogether           the client's sender
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
// With AtMostOnce popped.go replaces the lines from mover.go to held.go on the way in, and
// RPUSH replaces those from held.go to settle.lua on the way out. Answers that can't be sent
// go to retrier.go, which sends them again by sender.go. ledger.go keeps account of them.
package redisconn
