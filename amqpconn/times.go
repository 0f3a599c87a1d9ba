package amqpconn

import "time"

const (
	// sendPatience is how long a request waits for a connection.
	sendPatience = 1500 * time.Millisecond

	// reconnectPatience is how long servers have to reconnect after the client has
	// reconnected. Until then RequireServer fails no request.
	reconnectPatience = 15 * time.Second

	// replyPatience is how long an answer waits for a connection.
	replyPatience = 30 * time.Second

	// The sum of these bounds a Close.
	sendGrace  = time.Second            // to send what was handed over
	hangGrace  = 100 * time.Millisecond // for a write that hangs
	closeGrace = 500 * time.Millisecond // to close the connections in good order

	// maxPause is the longest time between two tries to send. A new connection is noticed
	// at once.
	maxPause = 250 * time.Millisecond
)
