package amqpconn

// ClientStats are what a ClientConn has done. A batch is one message. All fields but Bytes
// only rise; Bytes is a gauge.
type ClientStats struct {
	Requests   int64 `json:"requests"`   // request messages that were published
	Confirmed  int64 `json:"confirmed"`  // of Requests, those that the broker has confirmed: notifications and, with Persistent, calls
	Replies    int64 `json:"replies"`    // answers that were taken
	Reconnects int64 `json:"reconnects"` // times a connection failed and all worked again

	// Requests that failed, or were not published. A batch of calls and notifications may
	// be counted twice.
	Unsent      int64 `json:"unsent"`      // could not be published, or were lost with their channel
	Unconfirmed int64 `json:"unconfirmed"` // notifications, and batches with some, that may have been published
	Overloaded  int64 `json:"overloaded"`  // not published because of MaxBacklog, or refused by the broker
	Expired     int64 `json:"expired"`     // their callers gave up before they were published
	NoServer    int64 `json:"no_server"`   // their queue is missing or, with RequireServer, not consumed
	Lost        int64 `json:"lost"`        // calls whose reply queue was lost

	Bytes int64 `json:"bytes"` // of requests that wait to be published, at most 16 MiB for calls and as many for notifications
}

// ServerStats are what a ServerConn has done. A batch is one message. All fields but Replies
// and InFlight only rise. Replies falls when answers turn out to be lost; InFlight is a gauge.
type ServerStats struct {
	Requests   int64 `json:"requests"`   // request messages that were taken
	Replies    int64 `json:"replies"`    // answers that were published and are not known to be lost
	Reconnects int64 `json:"reconnects"` // times a connection failed and all worked again
	GivenBack  int64 `json:"given_back"` // requests given back in a drain

	// Requests and answers that were dropped.
	NoAddress   int64 `json:"no_address"`  // calls that name no reply queue, or none that can be one
	Refused     int64 `json:"refused"`     // calls whose reply queue is the served queue, or makes the broker end a connection
	Poisoned    int64 `json:"poisoned"`    // requests dropped after MaxDeliveries
	Undelivered int64 `json:"undelivered"` // answers not published in time, refused or returned by the broker, or lost with their channel

	InFlight int64 `json:"in_flight"` // requests that were taken and are not answered, at most Prefetch
}
