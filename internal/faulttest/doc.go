// Package faulttest breaks real brokers, networks and processes under a load of
// calls, and counts what became of each call. It has nothing but tests.
//
// Every call carries a number of its own, and a service notes each run of a
// number before it answers, in a file that no fault reaches. So it is known of
// each call whether it was answered, failed, or was certainly not sent, and how
// often it ran. Each test holds that against the tables under "Delivery
// semantics" in the documentation of redisconn and amqpconn. In all of them a
// call that was answered ran, one that was certainly not sent did not, and the
// same client and servers work on when the fault is over.
//
// The faults of a single broker are made by every run of the tests. Those that
// take longer, of clusters, processes and floods, are made by
//
//	FAULTS=all go test ./internal/faulttest
//
// The figures of a run are noted in a table, in place of those of earlier runs
// of the same faults, by
//
//	FAULTS=all go test ./internal/faulttest -table FAULTS.md
package faulttest
