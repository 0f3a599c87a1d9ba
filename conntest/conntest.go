package conntest

import (
	"testing"
	"time"

	"github.com/micromessaging/jsonrpc2"
)

// A Transport makes Conns that reach each other: they have one address, that
// nothing else uses. It states what they can; the suite tests each of that, and
// skips the tests of what they can't.
type Transport struct {
	// Dial returns a new calling end. The suite calls it before Listen, so that
	// a Dial of a transport without broker may make both ends and keep the other
	// one for Listen, and sends nothing before both are there.
	Dial func(t testing.TB) jsonrpc2.ClientConn

	// Listen returns a new serving end.
	Listen func(t testing.TB) jsonrpc2.ServerConn

	// Waits says that requests wait between the Conns, in a broker, for whoever
	// takes them: there may be any number of either end, at any time, and a serving
	// Conn takes no more than Settings.InFlight says.
	Waits bool

	// GivesBack says that a drain gives back what was taken and not begun, for
	// another serving end.
	GivesBack bool

	// Deadlines says that a call's deadline travels with its request.
	Deadlines bool

	// Withdraws says that Inquire withdraws a request that still waits: it is an
	// ErrNotRun then, and served by nobody. It goes with Waits.
	Withdraws bool
}

// Run runs the suite. connect makes the Transport of one test; what it sets up
// it has to clean up by t.Cleanup. The suite closes the Conns.
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
		{"InterruptedRead", testInterruptedRead},
		{"DrainIdle", testDrainIdle},
		{"DrainFinishesCalls", testDrainFinishesCalls},
		{"DrainGivesBack", testDrainGivesBack},
		{"CloseWhileReading", testCloseWhileReading},
		{"CloseEndsCalls", testCloseEndsCalls},
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
