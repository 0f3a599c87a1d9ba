package amqpconn

import "time"

const (
	// sendPatience is how long a request waits for a connection.
	sendPatience = 1500 * time.Millisecond

	// reconnectPatience is how long consumers have, after a reconnect of the client, to
	// reconnect, too.
	reconnectPatience = 15 * time.Second

	// replyPatience is how long an answer waits for a connection.
	replyPatience = 30 * time.Second

	// sendGrace, hangGrace and closeGrace bound Close together: for what was
	// handed over to be sent, for a write that hangs, and for the connections
	// to be closed in good order.
	sendGrace  = time.Second
	hangGrace  = 100 * time.Millisecond
	closeGrace = 500 * time.Millisecond

	// maxPause is between two looks whether there is a connection; a new one is
	// noticed at once.
	maxPause = 250 * time.Millisecond
)
