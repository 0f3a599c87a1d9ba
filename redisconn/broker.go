package redisconn

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/micromessaging/jsonrpc2/internal/link"
)

// connsEach is how many of go-redis's connections a Conn may need at once: a pop blocks one
// of them.
const connsEach = 2

// A broker is Redis as one Conn sees it. Any goroutine may call its methods.
type broker struct {
	rdb   redis.UniversalClient // the caller's, who closes it
	queue string
	state *link.State

	connected atomic.Bool   // Redis has answered once
	recovered link.Recovery // when Redis may last have come back without its data
}

func newBroker(rdb redis.UniversalClient, queue string, logger *slog.Logger, role string) *broker {
	state := link.NewState(logger, "redis", queue, role)
	state.Logger = state.Logger.With(slog.String("addr", addressOf(rdb)))
	return &broker{rdb: rdb, queue: queue, state: state}
}

// checkQueue checks the arguments that Dial, Listen, Servers and Look have in common.
func checkQueue(rdb redis.UniversalClient, queue string) error {
	switch {
	case rdb == nil:
		return fmt.Errorf("redisconn: queue %q: the client is nil", queue)
	case queue == "":
		return errors.New("redisconn: the queue has no name")
	}
	return nil
}

// addressOf returns where a client connects to. The client of a Cluster has many addresses.
func addressOf(rdb redis.UniversalClient) string {
	switch rdb := rdb.(type) {
	case *redis.Client:
		return rdb.Options().Addr // "FailoverClient" with a Sentinel
	case *redis.ClusterClient:
		return strings.Join(rdb.Options().Addrs, ",")
	}
	return fmt.Sprintf("%T", rdb)
}

// impaired notes that an activity failed, and makes the client look for another master.
func (b *broker) impaired(activity string, err error) {
	b.state.Failed(activity, b.explain(err))
	b.reload()
}

// reload makes the client of a Cluster look for another master. For commands that must not be
// sent again, go-redis itself looks only once a minute, and goes on dialing a dead master.
func (b *broker) reload() {
	if cluster, ok := b.rdb.(interface{ ReloadState(context.Context) }); ok {
		cluster.ReloadState(context.Background()) // in the background, five times a second at most
	}
}

// worked notes that an activity worked.
func (b *broker) worked(activity string) {
	if !b.connected.Load() {
		b.connected.Store(true)
	}
	if b.state.Cause() != nil { // before, too: whoever finds no cause any more must find the recovery noted
		b.recovered.Note(time.Now())
	}
	if b.state.Worked(activity) {
		b.recovered.Note(time.Now())
	}
}

// explain adds the likely cause to an error by which go-redis says only that it had no
// connection in time. It returns any other error as it is.
func (b *broker) explain(err error) error {
	switch {
	case !errors.Is(err, redis.ErrPoolTimeout) && !errors.Is(err, redis.ErrPoolExhausted) && !errors.Is(err, context.DeadlineExceeded):
		return err
	case b.isUsedUp():
		return fmt.Errorf("%s: %w", b.usedUp(), err)
	}
	if cause := b.state.Cause(); cause != nil && !errors.Is(cause, err) {
		return fmt.Errorf("%w: %w", err, cause)
	}
	if client, ok := b.rdb.(*redis.Client); ok && client.Options().TLSConfig != nil {
		return fmt.Errorf("no TLS connection within %v: %w", sendPatience, err)
	}
	return fmt.Errorf("no connection within %v: %w", sendPatience, err)
}

// greet asks Redis something, so that Err soon tells whether Redis answers. The first pop tells
// that only when it ends.
func (b *broker) greet() { _, _ = b.length() }

var errConnecting = errors.New("still connecting")

// impairment returns what is wrong with the connection, nil while it works.
func (b *broker) impairment() error {
	cause := b.state.Cause()
	switch {
	case cause == nil && b.connected.Load():
		return nil
	case cause == nil:
		cause = errConnecting
	}
	return fmt.Errorf("redisconn: queue %q at %s: %w", b.queue, addressOf(b.rdb), cause)
}

// closeCause returns why something is left when a Conn is closed: what is wrong with the
// connection or, if nothing is, that the Conn was closed.
func (b *broker) closeCause() error {
	if cause := b.state.Cause(); cause != nil {
		return cause
	}
	return net.ErrClosed
}

// isUsedUp reports whether all connections of a client's pool are in use. It reports false for a
// Cluster, which has many pools.
func (b *broker) isUsedUp() bool {
	client, ok := b.rdb.(*redis.Client)
	if !ok {
		return false
	}
	stats := client.PoolStats()
	return int(stats.TotalConns)-int(stats.IdleConns) >= client.Options().PoolSize
}

// usedUp returns the text for a pool of which isUsedUp reports true.
func (b *broker) usedUp() string {
	return fmt.Sprintf("no free connection: PoolSize is %d, each Conn needs %d", b.rdb.(*redis.Client).Options().PoolSize, connsEach)
}

// outlook returns where Redis is and what fails there, if anything. The texts of an inquiry end
// with it.
func (b *broker) outlook() string {
	text := "Redis at " + addressOf(b.rdb)
	switch cause := b.state.Cause(); {
	case cause != nil:
		return text + " fails: " + cause.Error()
	case b.isUsedUp():
		return text + ": " + b.usedUp()
	}
	return text
}

// failure returns the error of a request that did not get through.
func (b *broker) failure(sentinel, err error) error {
	return fmt.Errorf("%w: queue %q at %s: %w", sentinel, b.queue, addressOf(b.rdb), err)
}

// ask sends a command, and returns it with its result. It waits sendPatience for a connection.
func (b *broker) ask(args ...any) unrepeated {
	ctx, cancel := context.WithTimeout(context.Background(), sendPatience)
	defer cancel()
	cmd := newUnrepeated(ctx, args...)
	_ = b.rdb.Process(ctx, cmd)
	if cmd.Err() == nil || isRefused(cmd.Err()) {
		b.connected.Store(true)
	}
	return cmd
}

// length returns how many requests wait in the queue.
func (b *broker) length() (int64, error) { return b.ask("llen", b.queue).Int64() }
