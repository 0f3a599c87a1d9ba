package redisconn

import (
	"sync/atomic"

	"github.com/redis/go-redis/v9"

	"github.com/micromessaging/jsonrpc2/internal/link"
)

// A shared is what the parts of a ServerConn have in common.
type shared struct {
	*broker
	own       string                       // prefix of our own keys
	wakeList  string                       // a push onto it ends a blocked pop
	opts      ListenOptions                // Open lowers Prefetch; fixed from then on
	tellCodec func(body []byte, why error) // of a request or answer that is lost; set by Open
	places    *link.Places                 // for requests in flight; set by the first ReadRequest
	closed    chan struct{}                // closed by Close
	popping   atomic.Bool                  // a pop may be blocked
	counters

	// reconnects receives when the fetcher's connection fails, when it works again, and
	// when the lease is gone. Each time Redis may have lost the announcement of this server,
	// and the announcer, which alone receives, announces it again.
	reconnects chan struct{}
}

func newShared(rdb redis.UniversalClient, queue string, opts ListenOptions) *shared {
	return &shared{
		broker:    newBroker(rdb, queue, opts.Logger, "server"),
		own:       ownPrefix(queue),
		wakeList:  ownPrefix(queue) + "wake:" + link.NewName(),
		opts:      opts,
		tellCodec: func([]byte, error) {},
		closed:    make(chan struct{}),

		reconnects: make(chan struct{}, 1),
	}
}
