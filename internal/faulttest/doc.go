// Package faulttest breaks real brokers, networks and processes under a load of calls, and
// counts what became of each call. It has only tests.
//
// Every call has a number of its own. Before a service answers it, it notes the number in a
// file that no fault reaches. The tests thus know of each call whether it was answered, failed,
// or was certainly not sent, and how often it ran. They compare that with the tables under
// "Delivery semantics" in the documentation of redisconn and amqpconn. In all tests:
//
//   - a call that was answered has run;
//   - a call that was certainly not sent has not run;
//   - the same client and servers work on when the fault is over.
//
// Every run of the tests makes most faults of a single broker. This makes all, also the slow
// ones, such as those of clusters, processes and floods:
//
//	FAULTS=all go test ./internal/faulttest
//
// And this also writes the figures into a table. They replace those of earlier runs of the same
// faults:
//
//	FAULTS=all go test ./internal/faulttest -table FAULTS.md
package faulttest
