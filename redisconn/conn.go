package redisconn

import (
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/micromessaging/jsonrpc2"
)

var (
	_ jsonrpc2.ClientConn = (*ClientConn)(nil)
	_ jsonrpc2.ServerConn = (*ServerConn)(nil)
)

// Dial returns a ClientConn that calls the servers of a queue. It does not wait for
// Redis: its error is about the arguments. The caller closes rdb, after the ClientConn.
func Dial(rdb redis.UniversalClient, queue string, opts *DialOptions) (*ClientConn, error) {
	if opts == nil {
		opts = &DialOptions{}
	}
	if err := checkQueue(rdb, queue); err != nil {
		return nil, err
	}
	switch {
	case len(opts.ReplyPrefix) > maxAddress/2:
		return nil, fmt.Errorf("redisconn: queue %q: ReplyPrefix is longer than %d bytes", queue, maxAddress/2)
	case opts.MaxBacklog < 0:
		return nil, fmt.Errorf("redisconn: queue %q: MaxBacklog is %d, less than 0", queue, opts.MaxBacklog)
	}
	return newClientConn(rdb, queue, *opts), nil
}

// Listen returns a ServerConn that serves a queue. It does not wait for Redis: its
// error is about the arguments. It takes no request before the first ReadRequest. The
// caller closes rdb, after the ServerConn.
func Listen(rdb redis.UniversalClient, queue string, opts *ListenOptions) (*ServerConn, error) {
	if opts == nil {
		opts = &ListenOptions{}
	}
	if err := checkQueue(rdb, queue); err != nil {
		return nil, err
	}
	switch {
	case opts.Prefetch < 0:
		return nil, fmt.Errorf("redisconn: queue %q: Prefetch is %d, less than 0", queue, opts.Prefetch)
	case opts.ReplyTTL != 0 && opts.ReplyTTL < time.Millisecond:
		return nil, fmt.Errorf("redisconn: queue %q: ReplyTTL is %v, less than 1ms", queue, opts.ReplyTTL)
	}
	if err := checkGuarantee(rdb, queue, opts); err != nil {
		return nil, err
	}
	return newServerConn(rdb, queue, *opts), nil
}

// checkGuarantee checks the Guarantee, and the options that AtLeastOnce alone uses.
func checkGuarantee(rdb redis.UniversalClient, queue string, opts *ListenOptions) error {
	switch opts.Guarantee {
	case jsonrpc2.BrokerDefault, jsonrpc2.AtMostOnce:
		return nil
	case jsonrpc2.AtLeastOnce:
		return checkLease(rdb, queue, opts)
	}
	return fmt.Errorf("redisconn: queue %q: Guarantee is %d, which is unknown", queue, opts.Guarantee)
}

// checkLease checks the client, which ownClient copies, and the options of AtLeastOnce.
func checkLease(rdb redis.UniversalClient, queue string, opts *ListenOptions) error {
	switch rdb.(type) {
	case *redis.Client, *redis.ClusterClient:
	default:
		return fmt.Errorf("redisconn: queue %q: AtLeastOnce with a %T, not a *redis.Client or *redis.ClusterClient", queue, rdb)
	}
	switch {
	case opts.Lease != 0 && opts.Lease < minLease:
		return fmt.Errorf("redisconn: queue %q: Lease is %v, less than %v", queue, opts.Lease, minLease)
	case opts.MaxAttempts < 0:
		return fmt.Errorf("redisconn: queue %q: MaxAttempts is %d, less than 0", queue, opts.MaxAttempts)
	case opts.MaxDead < 0:
		return fmt.Errorf("redisconn: queue %q: MaxDead is %d, less than 0", queue, opts.MaxDead)
	}
	return nil
}
