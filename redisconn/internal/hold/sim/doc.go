// Package sim attacks the protocol of package hold. It runs histories: the real loops of
// the workers and the real scripts over a simulated Redis, while everything that can go
// wrong does. Tests alone use it.
//
// # To run it
//
//	go test ./redisconn/internal/hold/sim
//
// runs some thousand histories, half of them of fresh seeds. A million takes some 25
// minutes on two cores:
//
//	GOGC=2000 go test ./redisconn/internal/hold/sim -run TestHistories -v -timeout 0 -histories 1000000
//
// A violation names its seed. This prints what happened:
//
//	go test ./redisconn/internal/hold/sim -run TestSeed -seed 42
//
// With -theme late,late,failover all histories of both have these faults alone.
//
// # How it works
//
// A history is a schedule of events in virtual time, which depends on the seed alone.
// Servers, clients and poppers are processes, and their loops are coroutines that run one
// at a time: a worker's Do sends a call, which travels, takes effect at the node, and
// travels back.
//
//	history     chooses what happens: servers, requests, faults
//	  process     a server (server.go, reply.go), a client or a popper (client.go)
//	    world       its hold.World
//	      call        one try of a command (network.go)
//	        node        a Redis (redis.go): its data (store.go), its scripts (lua.go)
//	  checker     looks at each step (check.go, place.go) and at the end (end.go)
//
// After twelve leases all faults end, and the history runs on until all is quiet.
//
// # What must hold
//
// In every history:
//   - A request is in one place at most, and is moved by those commands alone that move
//     requests so. None vanishes, none comes back.
//   - What is settled is the request whose answer it is. Both happen or neither.
//   - A generation that holds requests has a row, and nothing in its hash belongs to no
//     request.
//   - Nothing waits for more than two leases beside a server that is well and idle.
//   - In the end dead requests and answers are left, and nothing else.
//
// Where no write was undone, besides:
//   - What is started is held at that moment, and was not withdrawn.
//   - It is started as often as hold says, and not more often than Options.MaxStarts.
//     It is given up only after so many take-overs.
//   - It is answered once, unless the answers are on another node.
//   - A generation is taken over only after a lease without a beat, and only if something
//     happened to its server. What happens to Redis does not count.
//
// Flaws are old behaviours. TestFlaws puts back one at a time, and shows that it breaks
// the invariant that it should. TestRealRedis shows that the simulated Redis answers as a
// real one does.
//
// # What it leaves out
//
// A process is never stopped between a check of its lease and the start that follows.
// Clocks of processes run at the same rate. After a failover nobody talks to the old
// node. Other layouts, access rights but that of CLIENT, and the size of requests are for
// other tests.
package sim
