package conntest

import (
	"testing"
	"time"

	"github.com/micromessaging/jsonrpc2"
)

// A Transport makes the Conns of one test, and states what they can do. The Conns of a
// Transport reach each other: they share one address, which nothing else uses. Run skips
// the tests of what is not stated.
type Transport struct {
	// Dial returns a new calling end. Unless Waits is set, a test calls Dial once, then
	// Listen once, and sends nothing before. So a transport without a broker may make
	// both ends in Dial, and keep one of them for Listen.
	Dial func(t testing.TB) jsonrpc2.ClientConn

	// Listen returns a new serving end.
	Listen func(t testing.TB) jsonrpc2.ServerConn

	// Waits says that requests wait in a broker until a server takes them. Any number
	// of Dials and Listens is then possible, in any order, and a ServerConn takes no
	// more than Settings.InFlight requests at once.
	Waits bool

	// GivesBack says that requests which a server has taken and not begun go to
	// another server when it is drained. It needs Waits.
	GivesBack bool

	// Deadlines says that the deadline of a call travels with its request.
	Deadlines bool

	// Withdraws says that Inquire withdraws a request that still waits. No server runs
	// it, and its call fails with ErrNotRun. It needs Waits.
	Withdraws bool
}

// Run runs the tests, one after the other, as subtests of t. For each it calls connect,
// which uses t.Cleanup to release what it has set up. Run closes the Conns. The longest
// messages that it sends have little more than 3 MiB.
func Run(t *testing.T, connect func(t *testing.T) Transport) {
	for _, test := range []struct {
		name string
		run  func(t *testing.T, transport Transport)
	}{
		{"Echo", testEcho},
		{"ConcurrentCalls", testConcurrentCalls},
		{"Deadline", testDeadline},
		{"Notification", testNotification},
		{"NotificationIsSent", testNotificationIsSent},
		{"RawBatch", testRawBatch},
		{"JoinedRequests", testJoinedRequests},
		{"Metadata", testMetadata},
		{"InterruptedRead", testInterruptedRead},
		{"DrainIdle", testDrainIdle},
		{"DrainFinishesCalls", testDrainFinishesCalls},
		{"DrainGivesBack", testDrainGivesBack},
		{"CloseWhileReading", testCloseWhileReading},
		{"CloseEndsCalls", testCloseEndsCalls},
		{"ShutdownFinishesCalls", testShutdownFinishesCalls},
		{"WriteAfterClose", testWriteAfterClose},
		{"OpenedOnce", testOpenedOnce},
		{"Err", testErr},
		{"GivenUp", testGivenUp},
		{"Withdrawn", testWithdrawn},
		{"GiantMessages", testGiantMessages},
		{"BrokenMessages", testBrokenMessages},
		{"ReplyOnce", testReplyOnce},
		{"Limit", testLimit},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, connect(t)) })
	}
}

const (
	patience = 30 * time.Second // for what has to happen
	soon     = 2 * time.Second  // for what has to happen at once
)
