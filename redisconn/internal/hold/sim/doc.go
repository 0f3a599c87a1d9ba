// Package sim attacks the protocol of package hold. It runs histories: the real loops of
// the workers and the real scripts over a simulated Redis, with faults of all kinds. Only
// tests use it.
//
// # To run it
//
// This runs some thousand histories, half of them of fresh seeds:
//
//	go test ./redisconn/internal/hold/sim
//
// A million histories take about 25 minutes on two cores:
//
//	GOGC=2000 go test ./redisconn/internal/hold/sim -run TestHistories -v -timeout 0 \
//		-histories 1000000
//
// A violation names its seed. This prints what happened in the history of a seed:
//
//	go test ./redisconn/internal/hold/sim -run TestSeed -seed 42
//
// With -theme late,late,failover the histories of either test have only these faults. A fault
// that is named twice is twice as frequent.
//
// # How it works
//
// A history is a schedule of events in virtual time, which depends on the seed alone.
// Servers, clients and poppers are processes. Their loops are tasks: coroutines that run one
// at a time, so nothing here needs a lock. A worker's Do sends a call, which travels to the
// node, takes effect there, and travels back.
//
//	history     chooses what happens: servers, requests, faults
//	  process     a server (server.go, reply.go), a client or a popper (client.go)
//	    world       its hold.World
//	      call        one try of a command (network.go)
//	        node        a Redis (redis.go): its data (store.go), its scripts (lua.go)
//	  checker     looks at each step (check.go, place.go) and at the end (end.go)
//
// After twelve leases all faults end, and the history runs on until nothing is left to do.
//
// # What must hold
//
// In every history:
//   - A request is in one place at most. Only the commands in moves move it, each only as moves
//     says. No request vanishes, and none comes back.
//   - An answer settles its own request. It is pushed and the request is settled, or neither.
//   - A generation that holds requests has a row. Each field of its hash belongs to a request,
//     or is last, next or moment.
//   - No request waits for more than about two leases while a server is well and idle.
//   - At the end only dead requests and answers are left.
//
// In a history in which no write was undone, also:
//   - A request that is started is held at that moment, and was not withdrawn.
//   - It is started as often as hold says, and at most Options.MaxStarts times. It is given up
//     only after so many take-overs.
//   - It is answered once, unless the answers are on another node.
//   - A generation is taken over only after a lease without a beat, and only if something
//     happened to its server. Faults of Redis do not count.
//
// Flaws are earlier behaviours that were wrong. TestFlaws puts back one at a time, and shows
// that it breaks an invariant that it should break. TestRealRedis shows that the simulated
// Redis answers as a real one does.
//
// # What it leaves out
//
// A process is never stopped between a check of its lease and the start that follows. The
// clocks of all processes run at the same rate. After a failover nobody talks to the old
// node. If a move is refused for want of memory, Do always returns that error. Other tests are
// for other layouts, for access rights other than that to CLIENT, and for the size of requests.
package sim
