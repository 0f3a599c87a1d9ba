package redisconn

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/micromessaging/jsonrpc2/internal/link"
)

// connsEach is how many of go-redis's connections a Conn may need at once: one is
// blocked in a pop.
const connsEach = 2

// newState returns the State of one end of a queue.
func newState(rdb redis.UniversalClient, logger *slog.Logger, queue, role string) *link.State {
	state := link.NewState(logger, "redis", queue, role)
	state.Logger = state.Logger.With(slog.String("addr", addressOf(rdb)))
	return state
}

// addressOf returns where a client connects to: a Cluster's has many addresses.
func addressOf(rdb redis.UniversalClient) string {
	switch rdb := rdb.(type) {
	case *redis.Client:
		return rdb.Options().Addr // "FailoverClient" of a Sentinel's
	case *redis.ClusterClient:
		return strings.Join(rdb.Options().Addrs, ",")
	}
	return fmt.Sprintf("%T", rdb)
}

// impaired notes that an activity failed, and has the client of a Cluster look for
// another master: for a command that must not be sent again go-redis does so once
// a minute only, and goes on dialing one that is dead.
func impaired(state *link.State, rdb redis.UniversalClient, activity string, err error) {
	state.Failed(activity, explain(state, rdb, err))
	if cluster, ok := rdb.(interface{ ReloadState(context.Context) }); ok {
		cluster.ReloadState(context.Background()) // in the background, five times a second at most
	}
}

// explain returns an error with its cause, where go-redis says only that it had no
// connection in time.
func explain(state *link.State, rdb redis.UniversalClient, err error) error {
	switch {
	case !errors.Is(err, redis.ErrPoolTimeout) && !errors.Is(err, redis.ErrPoolExhausted) && !errors.Is(err, context.DeadlineExceeded):
		return err
	case isUsedUp(rdb):
		return fmt.Errorf("%s: %w", usedUp(rdb), err)
	}
	if cause := state.Cause(); cause != nil && !errors.Is(cause, err) {
		return fmt.Errorf("%w: %w", err, cause)
	}
	if client, ok := rdb.(*redis.Client); ok && client.Options().TLSConfig != nil {
		return fmt.Errorf("no TLS connection within %v: %w", sendPatience, err)
	}
	return fmt.Errorf("no connection within %v: %w", sendPatience, err)
}

// impairment returns what is wrong with one end of a queue, nil while it works.
func impairment(state *link.State, rdb redis.UniversalClient, queue string) error {
	cause := state.Cause()
	if cause == nil {
		return nil
	}
	return fmt.Errorf("redisconn: queue %q at %s: %w", queue, addressOf(rdb), cause)
}

// closeCause returns why something is left when a Conn is closed.
func closeCause(state *link.State) error {
	if cause := state.Cause(); cause != nil {
		return cause
	}
	return net.ErrClosed
}

// isUsedUp reports whether all connections of a client's pool are in use.
func isUsedUp(rdb redis.UniversalClient) bool {
	client, ok := rdb.(*redis.Client)
	if !ok {
		return false
	}
	stats := client.PoolStats()
	return int(stats.TotalConns)-int(stats.IdleConns) >= client.Options().PoolSize
}

func usedUp(rdb redis.UniversalClient) string {
	return fmt.Sprintf("no free connection: PoolSize is %d, each Conn needs %d", rdb.(*redis.Client).Options().PoolSize, connsEach)
}

// outlook says where Redis is and, if something fails there, why.
func outlook(state *link.State, rdb redis.UniversalClient) string {
	text := "Redis at " + addressOf(rdb)
	switch cause := state.Cause(); {
	case cause != nil:
		return text + " fails: " + cause.Error()
	case isUsedUp(rdb):
		return text + ": " + usedUp(rdb)
	}
	return text
}
