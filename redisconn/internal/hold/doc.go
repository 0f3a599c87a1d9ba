// Package hold makes Redis hold the requests of a queue until they are answered. If a worker
// is silent for too long, others take over the requests that it took and has not answered. So
// each request runs at least once.
//
// A [Worker] acts for one server. Each script in the folder lua is one step of the
// protocol, and happens in Redis as a whole or not at all. A [World] is all that a Worker
// knows of time, goroutines and Redis.
//
// # Keys
//
// All keys lie in one slot of a Cluster. [Keys] says what stands before these names.
//
//	queue     list  requests as clients pushed them, the oldest at the right
//	ready     list  the same, moved here by a worker that waited; any worker takes them
//	suspects  list  "2 body": a request that was started twice, each time by a worker that
//	                fell silent; the next one to take is at the left
//	workers   hash  a field for each generation, with its row: "17 15000", which is how often
//	                it has beaten and its lease in milliseconds, or "gone". The one other
//	                field is "layout", see below
//	held:g    hash  what generation g holds
//	dead      list  requests that were given up, the newest at the left: a header in JSON,
//	                a line feed, the body
//
// A generation is one membership of a worker. Its name is the worker's, and the TIME of Redis
// when the worker joined. A worker that has lost its generation joins again, as another one.
// The hash held:g has these fields:
//
//	12.T      the body of a request that was queued
//	s12.T     the body of a suspect
//	nF        how often the suspect in field F was started, with this time once it is begun
//	cF        an empty text: the request in F is settled, its answer goes to another slot
//	last      the first token of the last take that found something
//	next      the token after the last one of that take
//	moment    T of that take
//
// Here 12 is a token, which rises with each request that a generation takes, and T is the TIME
// of the take. A token alone would not do as a name. After a failover next is lower than
// before, and an old take that arrives late would give the old name to another request. An old
// answer would then settle that request.
//
// Bodies are never parsed and never changed. So no body can be taken for anything else here,
// and how long a script runs does not depend on what the bodies contain.
//
// # Transitions
//
// A request is queued (in queue or ready), a suspect, held, settled or dead. A suspect
// that is held is begun before it runs. Other requests run without that, once they are held:
// so the first take-over of a request counts as its first start. A request that a client
// removes from queue is withdrawn.
//
//	step     from             to               who, and when
//	move     queue            ready            a worker that finds nothing ready: it waits in a
//	                                           BLMOVE from the right to the left
//	join     -                a generation     a worker without one
//	take     queued, suspect  held             a worker with room: one suspect, if it tries none
//	                                           and has heard of some, then ready, then queue
//	begin    held             held, nF raised  a worker, before it starts a suspect
//	settle   held             settled          a worker that has run it: pushes the answer, too
//	claim    held             settled, cF      the same if the answer goes to another slot
//	drop     held, cF         settled          HDEL: no answer is wanted, or it is there
//	release  held             queue, suspects  a worker that has not run it; of an orphan
//	beat     a row            another row      a worker, four times a lease, at least each second
//	reap     held             suspects, dead   another worker that has not stopped, when this
//	                                           one is silent
//	leave    held, ready      queue, suspects  a worker that ends
//
// Any of these steps may run twice, run late, or run though its answer is lost: by the network,
// or because go-redis tries again.
//
//	step     again, or late               answer lost              undone by a failover
//	move     one more is ready            takes and beats look     it is in queue
//	                                      into ready
//	join     a row that nobody uses:      it joins again           told gone, it joins again
//	         it is reaped
//	take     last token: the same again.  a beat shows fields      all of it is queued, and may
//	         token < next: nothing, next  from its token on: it    run twice
//	                                      takes them again
//	begin    the same count; 0 if it is   it begins again          one start is not counted
//	         not held any more
//	settle   not held: no answer          it settles again         held and unknown: an orphan,
//	                                                               which runs again
//	claim    ours if cF is there          it claims again; when    as settle
//	                                      it dies, the answer
//	                                      is lost
//	drop     nothing                      it drops again           as settle; of cF nothing
//	release  nothing                      it releases again, at    held and unknown: an orphan
//	                                      last before it leaves
//	beat     a take-over comes up to a    it beats again           its row has changed anyhow
//	         lease later
//	reap     its row differs: nothing     a beat finds what is     found and reaped again
//	                                      left; the caller of a
//	                                      dead request waits
//	leave    nothing                      it leaves again          a silent row: it is reaped
//
// A generation without a row is gone. One whose row is "gone" is being reaped. In both cases
// take and beat return "gone", begin returns 0, and leave does nothing. The worker then forgets
// the generation at once, begins nothing more of it, and joins again. settle, claim, drop and
// release look only at fields: they do nothing to a request that is not held any more.
//
// If a begin did not lead to a start, release takes it back: it says how often the request was
// really started.
//
// # Silence
//
// No clock is compared with another. TIME only makes names, so steps of clocks do nothing.
//
//   - A worker notes by its own monotonic clock when it first received a row of another.
//     If a beat that was sent the longer of both leases later still shows the same row, the
//     other worker is silent. reap compares the row once more.
//   - A gap is a long time between two beats of the worker's own: Redis stood still, or the
//     worker did, and the beats of others may have met the same gap. After a gap of more than
//     half that lease, the time of silence begins anew, as it does after a join. A shorter
//     gap, of more than two pauses between beats, is left out of that time.
//   - A worker begins nothing unless its last good beat was sent less than a lease ago. Until
//     then others can't have taken over, unless the worker's clock stood still, as it does
//     while a machine is suspended.
//   - Beats have a path and a time-out of their own. So no long take and no take-over delays
//     them.
//   - A beat returns what is held. Fields with a token below the worker's next one that the
//     worker does not know are orphans: it makes suspects of them. Fields with its next token
//     or a later one are of a take whose answer was lost.
//
// # Layout
//
// [Layout] is the version of the keys and of what stands in them. join writes it into workers.
// A worker that finds another layout there serves nothing, and its error says so. The key
// workers is deleted with its last generation. So to change to another layout, end all servers
// of the queue, then start the new ones. The first layout had a sorted set in the place of
// workers; join calls it 0.
//
// # Invariants
//
// As long as Redis undoes no write, these hold:
//
//   - A request is in one place, or settled, or withdrawn.
//   - What is held is held by a generation that has a row.
//   - A request that is started is held at that moment, and not withdrawn. It is started
//     Options.MaxStarts times at most.
//   - An answer is pushed once, and only together with the settling of its own request. If the
//     answer goes to another slot, it is pushed after the settling, and may get lost.
//   - A generation is taken over only after at least a lease without a beat.
//   - No request waits for more than about two leases while a worker is well and idle.
//   - When all is served, only answers and dead requests are left.
//
// If a failover undoes writes, a request is still in one place at most, and an answer is still
// that of its request. Requests that Redis has kept vanish only by being settled. But requests
// may run twice, run more often than MaxStarts, or be answered twice.
//
// # Other servers
//
// Servers with AtMostOnce, and those that are not of redisconn, may pop from queue at any time.
// They do not see suspects and requests that are ready: these wait for a Worker. A client that
// withdraws a request looks only in queue, too. If the request is elsewhere, the client has to
// assume that it has started.
//
// # Simulator
//
// Package hold/sim runs the real loops and scripts through histories of faults, and checks
// the invariants after each step. It can run the loops because a Worker has no goroutine, no
// timer and no select except through its World. The tests of this package run each transition
// in all its cases on a real Redis.
package hold
