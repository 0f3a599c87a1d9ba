package redisconn

import (
	"context"
	"net"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// An ownClient is a client of our own to the node that has the queue. It has the options of
// the user's client, but not its hooks, retries and timeouts. Any goroutine may call its
// methods.
type ownClient struct {
	*shared
	timeout time.Duration // of each command

	mu     sync.Mutex    // protects following
	client *redis.Client // nil: the next get makes one
	closed bool
}

func newOwnClient(s *shared, timeout time.Duration) *ownClient {
	return &ownClient{shared: s, timeout: timeout}
}

// get returns the client. It makes one if there is none, to the node that has the queue now.
func (o *ownClient) get() (*redis.Client, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case o.closed:
		return nil, redis.ErrClosed
	case o.client != nil:
		return o.client, nil
	}
	node, err := nodeOf(o.rdb, o.queue)
	if err != nil {
		return nil, err
	}
	o.client = redis.NewClient(ownOptions(node.Options(), o.timeout))
	return o.client, nil
}

// nodeOf returns the client of the node that has a key.
func nodeOf(rdb redis.UniversalClient, key string) (*redis.Client, error) {
	if cluster, ok := rdb.(*redis.ClusterClient); ok {
		return cluster.MasterForKey(context.Background(), key)
	}
	return rdb.(*redis.Client), nil // as Listen has checked
}

// ownOptions returns the options of a client with two connections, on which a command takes
// no longer than timeout.
func ownOptions(users *redis.Options, timeout time.Duration) *redis.Options {
	opts := *users
	dial := users.Dialer
	patience := timeout
	if users.DialTimeout > 0 {
		patience = min(timeout, users.DialTimeout)
	}
	opts.Dialer = func(ctx context.Context, network, addr string) (net.Conn, error) {
		ctx, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		return dial(ctx, network, addr)
	}
	opts.DialTimeout, opts.DialerRetries = patience, 1
	opts.ReadTimeout, opts.WriteTimeout = timeout, timeout
	opts.MaxRetries = -1
	opts.PoolSize, opts.MinIdleConns, opts.MaxIdleConns, opts.MaxActiveConns = 2, 0, 0, 0
	opts.PoolTimeout = timeout
	opts.PipelinePoolSize, opts.AutoPipelineOptions = 0, nil
	opts.ClientSideCache, opts.ClientSideCacheConfig = nil, nil
	opts.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	return &opts
}

// drop closes the client, which ends the commands under way. The next get looks for the node
// again. If client is not nil, drop closes only that client, not one that was made since.
func (o *ownClient) drop(client *redis.Client) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.client != nil && (client == nil || client == o.client) {
		_ = o.client.Close()
		o.client = nil
	}
}

// close closes the client. No get makes another one.
func (o *ownClient) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed = true
	if o.client != nil {
		_ = o.client.Close()
		o.client = nil
	}
}
