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
// messages that it sends have little more than 3 MiB. It runs some tests again with
// jsonrpc2.Batch and jsonrpc2.Retry around the calling end.
func Run(t *testing.T, connect func(t *testing.T) Transport) {
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) { test.run(t, connect(t)) })
		if !test.wrapped {
			continue
		}
		for _, w := range wrappers {
			t.Run(test.name+"/"+w.name, func(t *testing.T) {
				transport := connect(t)
				dial := transport.Dial
				transport.Dial = func(t testing.TB) jsonrpc2.ClientConn { return w.wrap(dial(t)) }
				test.run(t, transport)
			})
		}
	}
}

var tests = []struct {
	name    string
	run     func(t *testing.T, transport Transport)
	wrapped bool // it needs nothing but a client and a server
}{
	{"Echo", testEcho, true},
	{"ConcurrentCalls", testConcurrentCalls, true},
	{"Deadline", testDeadline, true},
	{"Notification", testNotification, false},
	{"NotificationIsSent", testNotificationIsSent, false},
	{"RawBatch", testRawBatch, false},
	{"JoinedRequests", testJoinedRequests, false},
	{"Metadata", testMetadata, true},
	{"InterruptedRead", testInterruptedRead, false},
	{"DrainIdle", testDrainIdle, false},
	{"DrainFinishesCalls", testDrainFinishesCalls, true},
	{"DrainGivesBack", testDrainGivesBack, false},
	{"CloseWhileReading", testCloseWhileReading, false},
	{"CloseEndsCalls", testCloseEndsCalls, true},
	{"CloseBesideCalls", testCloseBesideCalls, true},
	{"ShutdownFinishesCalls", testShutdownFinishesCalls, true},
	{"WriteAfterClose", testWriteAfterClose, true},
	{"OpenedOnce", testOpenedOnce, true},
	{"Err", testErr, false},
	{"GivenUp", testGivenUp, false},
	{"Withdrawn", testWithdrawn, true},
	{"GiantMessages", testGiantMessages, false},
	{"BrokenMessages", testBrokenMessages, false},
	{"ReplyOnce", testReplyOnce, false},
	{"Limit", testLimit, false},
}

var wrappers = []struct {
	name string
	wrap func(jsonrpc2.ClientConn) jsonrpc2.ClientConn
}{
	{"Batch", func(conn jsonrpc2.ClientConn) jsonrpc2.ClientConn { return jsonrpc2.Batch(conn, nil) }},
	{"Retry", func(conn jsonrpc2.ClientConn) jsonrpc2.ClientConn { return jsonrpc2.Retry(conn, nil) }},
	{"RetryBatch", func(conn jsonrpc2.ClientConn) jsonrpc2.ClientConn {
		return jsonrpc2.Retry(jsonrpc2.Batch(conn, nil), nil)
	}},
}

const (
	patience = 30 * time.Second // for what has to happen
	soon     = 4 * time.Second  // for what has to happen at once: less than a pop may block
)
