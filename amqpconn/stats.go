package amqpconn

// Stats counts what a ClientConn or a ServerConn did. All counters but Replies only
// rise. A batch is one message. What a client or a server does not count stays 0.
type Stats struct {
	Requests   int64 // request messages that the client published, or the server took
	Confirmed  int64 // client: requests that the broker confirmed: notifications and, with Persistent, calls
	Replies    int64 // answers that the client took, or the server published and does not know to be lost
	Reconnects int64 // times a connection failed and all worked again
	GivenBack  int64 // server: requests given back in a drain

	// What was dropped, by reason.
	Unsent      int64 // client: requests that could not be published, or were lost with their channel
	Unconfirmed int64 // client: notifications, and batches with some, that may have been published
	Overloaded  int64 // client: requests not published because of MaxBacklog, or refused by the broker
	Expired     int64 // client: requests given up before they were published
	NoServer    int64 // client: requests to a queue that is missing or, with RequireServer, not consumed
	Lost        int64 // client: calls whose reply queue was lost
	NoAddress   int64 // server: calls that name no reply queue, or none that can be one
	Refused     int64 // server: calls whose reply queue is the served queue, or makes the broker end a connection
	Poisoned    int64 // server: requests dropped after MaxDeliveries
	Undelivered int64 // server: answers not published in time, refused or returned by the broker, or lost with their channel
}
