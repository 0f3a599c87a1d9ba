// Package hold makes Redis hold the requests of a queue until they are answered. If a worker
// is silent for too long, others take over what it took and has not answered. So each request
// runs at least once.
//
// A [Worker] acts for one server. Each script in the folder lua is one step of the
// protocol, and happens in Redis as a whole or not at all. A [World] is all that a Worker
// knows of time, goroutines and Redis.
//
// # Keys
//
// All of them lie in one slot of a Cluster. [Keys] says what stands before these names.
//
//	queue     list  requests as clients pushed them, the oldest at the right
//	ready     list  the same, moved here for a worker that waited: for whoever comes first
//	suspects  list  "2 body": a request whose workers fell silent, and which was started
//	                twice; the next one at the left
//	workers   hash  of each generation its row: "17 15000", how often it has beaten and its
//	                lease in milliseconds, or "gone"; and of "layout" the layout
//	held:g    hash  what generation g holds
//	dead      list  requests that were given up, the newest at the left: a header in JSON,
//	                a line feed, the body
//
// A generation is one membership of a worker: its name and Redis' TIME when it joined. A
// worker that lost its generation joins again, as another one. In held:g stand
//
//	12.T      the body of a request that was queued
//	s12.T     the body of a suspect
//	nF        how often the suspect in field F was started: this time, too, once it is begun
//	cF        nothing: the request in F is settled, its answer goes to another slot
//	last      the first token of the last take that found something
//	next      the token that follows that take's
//	moment    T of that take
//
// Token 12 rises with each request that a generation takes, and T is the TIME of the
// take. A token alone would not do: after a failover next is lower, and a take from
// before, which comes late, would give another request a name that an old answer knows.
//
// Bodies are never parsed and never changed. So nothing in them can mean anything here,
// and the time of no script depends on what they contain.
//
// # Transitions
//
// A request is queued (in queue or ready), a suspect, held, settled or dead. A suspect
// that is held is begun before it runs. Other requests run as soon as they are held: to
// be taken over counts as their first start. What a client removes from queue again is
// withdrawn.
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
//	reap     held             suspects, dead   another worker, when this one is silent; none
//	                                           that has stopped
//	leave    held, ready      queue, suspects  a worker that ends
//
// Any of them may run twice, run late, or run without its answer being heard: networks do
// that, and go-redis does when it tries again.
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
// A generation without a row is gone, and one whose row says so is being reaped. Then take
// and beat say "gone", begin says 0, and leave does nothing. The worker forgets the
// generation at once, before it joins again, and begins nothing more of it. settle, claim, drop and
// release look at fields alone: where a request is not held any more, they do nothing.
//
// A begin that did not lead to a start is taken back by release, which says how often the
// request was really started.
//
// # Silence
//
// No clock is compared with another. TIME only makes names, so steps of clocks do nothing.
//
//   - A worker notes by its own monotonic clock when it first received a row of another.
//     If the same row stands in a beat that was sent the longer of both leases later, the
//     other one is silent. reap compares the row once more.
//   - What was received before a gap of more than half that lease between two of its own
//     beats does not count: Redis stood still, or it did itself. Nor does what was
//     received before it joined. A shorter gap, of more than two beats, is left out: each
//     beat of another worker may have met such a gap.
//   - It begins nothing unless its last good beat was sent less than a lease ago. Others
//     can't have taken over before, unless its clock stood still: that of a machine
//     does which was suspended.
//   - Beats have a path and a time-out of their own. A long take or a take-over delays
//     none.
//   - A beat returns what is held. Fields below the worker's token that it doesn't know are
//     orphans: the worker makes suspects of them. Fields from its token on are of a take
//     whose answer was lost.
//
// # Layout
//
// [Layout] is the version of all of this. join writes it into workers, and a worker that
// finds another one serves nothing and says so. The key goes with its last generation. So
// to change to another layout, end all servers of the queue, then start the new ones. The
// first layout had a sorted set in the place of workers; join calls it 0.
//
// # Invariants
//
// As long as Redis undoes no write:
//
//   - A request is in one place, or settled, or withdrawn.
//   - What is held is held by a generation that has a row.
//   - What is started was held at that moment, and not withdrawn. It is started
//     Options.MaxStarts times at most.
//   - An answer is pushed only with the settling of its own request, once. In another slot
//     it is pushed after that, and may get lost.
//   - A generation is taken over only after at least a lease without a beat.
//   - Nothing waits for more than some two leases beside a worker that is well and idle.
//   - When all is served, answers and dead requests are left, and nothing else.
//
// If a failover undoes writes, a request is still in one place at most, those from before
// vanish only by being settled, and an answer is still that of its request. But requests
// may run twice, more often than MaxStarts, or be answered twice.
//
// # Servers beside
//
// At-most-once servers and foreign ones may pop queue at any time. They see no suspects
// and nothing that is ready: these wait for a Worker. Nor does a client find them there
// when it withdraws a request. The client has to assume that they have started.
//
// # Simulator
//
// Package hold/sim runs the real loops and scripts through histories of faults, and checks
// the invariants after each step. It can run them because a Worker has no goroutine, no
// timer and no select of its own. The tests here do each transition in all its cases on a
// real Redis.
package hold
