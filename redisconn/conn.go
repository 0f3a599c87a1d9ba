package redisconn

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/micromessaging/jsonrpc2"
)

// Defaults of the options.
const (
	DefaultPrefetch    = 64
	DefaultReplyTTL    = 30 * time.Second
	DefaultLease       = 30 * time.Second
	DefaultMaxAttempts = 5

	// DefaultReplyPrefix is what names of reply lists begin with, and those of
	// nothing else may: a server that is told to answer there lets expire what it
	// finds. Of a list of another name it first looks whether it is new or expires
	// anyway, by a script.
	DefaultReplyPrefix = "jsonrpc2:reply:"
)

const (
	// blockTime is how long a pop blocks: an idle Conn sends 12 commands a
	// minute. It is also how late a dead connection is found to be one, less
	// the 10 s that go-redis adds.
	blockTime = 5 * time.Second

	// sendPatience is how long a request waits for a broker that refuses it. A
	// try may take another 0.4 s, since go-redis dials five times.
	sendPatience = 1200 * time.Millisecond

	// closeGrace is how long Close tries to send what was handed over.
	closeGrace = 2 * time.Second

	// wakeTTL is when the value that ends a blocked pop expires, should nobody
	// be left to take it.
	wakeTTL = time.Minute

	// maxAddress is how long the name of a reply list may be.
	maxAddress = 255
)

// DialOptions are the options of Dial. The zero value is useful, and so is a
// nil pointer to it.
type DialOptions struct {
	// ReplyPrefix is what the name of the reply list begins with;
	// "jsonrpc2:reply:" if empty. A name that does not begin so takes servers a
	// little longer. They may restrict replies to a prefix.
	ReplyPrefix string

	// ReplyPerCall has each call answered on a list of its own, named by its
	// id: for servers that know no other way. It costs about two thirds of the
	// calls per second. ReplyPrefix plays no part in it.
	ReplyPerCall bool

	// MaxBacklog limits the requests that wait in the queue: a call that would
	// make them more fails with jsonrpc2.ErrOverloaded and is not sent. The
	// length of the queue is known as of 100 ms ago, so that many clients
	// together may exceed it somewhat. No limit if 0.
	MaxBacklog int

	// Logger is told when the connection fails and when it works again;
	// slog.Default() if nil.
	Logger *slog.Logger
}

// ListenOptions are the options of Listen. The zero value is useful, and so is
// a nil pointer to it.
type ListenOptions struct {
	// Prefetch limits the messages that are taken and not yet answered; 64 if
	// 0. The codec's MaxInFlight limits them, too: no more are taken than can
	// be started, so that none waits here while another server is idle.
	Prefetch int

	// ReplyTTL is when an answer that nobody took expires, and how long an
	// answer is tried to be sent; 30 s if 0, at least 1 ms.
	ReplyTTL time.Duration

	// ReplyPrefix, if set, is what the name of a reply list must begin with.
	// Requests with another one are not run.
	ReplyPrefix string

	// AtLeastOnce keeps each request until it is answered, so that it is not
	// lost with its server: another one takes it over. It may then run twice.
	// Servers with it and without may share a queue. It needs Redis 7.0, and a
	// *redis.Client (of a Sentinel, too) or *redis.ClusterClient.
	AtLeastOnce bool

	// Lease is, with AtLeastOnce, how long a server may be silent before others
	// take its requests over; 30 s if 0, at least 100 ms. It tells of itself
	// three times as often. A server that is slower loses them: its answers are
	// dropped.
	Lease time.Duration

	// MaxAttempts is, with AtLeastOnce, how often a request is started before
	// it is given up, when its server dies each time; 5 if 0. Its caller is then
	// answered with an error, and it is kept in the queue's DeadList.
	MaxAttempts int

	// Logger is told when the connection fails and when it works again;
	// slog.Default() if nil.
	Logger *slog.Logger
}

// Stats counts what a Conn did. All counters only rise.
type Stats struct {
	Requests   int64 // request messages sent, or taken
	Replies    int64 // answers taken, or sent
	Reconnects int64 // times the connection failed and worked again
	GivenBack  int64 // requests given back in a drain
	TakenOver  int64 // requests of servers that died, put back into the queue
	Withdrawn  int64 // requests taken out of the queue when their callers gave up

	// What was dropped, by reason.
	Unsent      int64 // requests that could not be sent
	Overloaded  int64 // requests not sent, for MaxBacklog
	Expired     int64 // requests whose caller had given up, answers after ReplyTTL
	NoAddress   int64 // requests without a usable reply list
	Refused     int64 // requests whose reply list is none to write to
	Undelivered int64 // answers that their list, or Redis, did not take
	LeaseLost   int64 // requests that were taken over, and their answers
	Dead        int64 // requests that were started too often
}

// A Conn is one end of a queue: a calling one from Dial or a serving one from
// Listen. It is a jsonrpc2.Conn, to be given to one codec.
type Conn struct {
	end end
}

type end interface {
	jsonrpc2.Conn
	jsonrpc2.Limiter
	stats() Stats
}

var (
	_ jsonrpc2.Conn     = (*Conn)(nil)
	_ jsonrpc2.Limiter  = (*Conn)(nil)
	_ jsonrpc2.Inquirer = (*Conn)(nil)
)

// Dial returns a Conn that calls the servers of a queue. It does not wait for
// the broker. Bad options fail every call.
func Dial(rdb redis.UniversalClient, queue string, opts *DialOptions) *Conn {
	if opts == nil {
		opts = &DialOptions{}
	}
	err := checkQueue(rdb, queue)
	switch {
	case err != nil:
	case len(opts.ReplyPrefix) > maxAddress/2:
		err = fmt.Errorf("redisconn: queue %q: ReplyPrefix is longer than %d bytes", queue, maxAddress/2)
	case opts.MaxBacklog < 0:
		err = fmt.Errorf("redisconn: queue %q: MaxBacklog is %d, less than 0", queue, opts.MaxBacklog)
	}
	if err != nil {
		return &Conn{newBroken(nil, err)}
	}
	return &Conn{newCaller(rdb, queue, *opts)}
}

// Listen returns a Conn that serves a queue. It does not wait for the broker,
// and takes nothing before it is read from. Bad options fail Serve.
func Listen(rdb redis.UniversalClient, queue string, opts *ListenOptions) *Conn {
	if opts == nil {
		opts = &ListenOptions{}
	}
	err := checkQueue(rdb, queue)
	switch {
	case err != nil:
	case opts.Prefetch < 0:
		err = fmt.Errorf("redisconn: queue %q: Prefetch is %d, less than 0", queue, opts.Prefetch)
	case opts.ReplyTTL != 0 && opts.ReplyTTL < time.Millisecond:
		err = fmt.Errorf("redisconn: queue %q: ReplyTTL is %v, less than 1ms", queue, opts.ReplyTTL)
	case opts.AtLeastOnce:
		err = checkLease(rdb, queue, opts)
	}
	if err != nil {
		return &Conn{newBroken(err, err)}
	}
	return &Conn{newServer(rdb, queue, *opts)}
}

func checkQueue(rdb redis.UniversalClient, queue string) error {
	switch {
	case rdb == nil:
		return fmt.Errorf("redisconn: queue %q: the client is nil", queue)
	case queue == "":
		return errors.New("redisconn: the queue has no name")
	}
	return nil
}

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
	}
	return nil
}

// ReadMessage implements jsonrpc2.Conn.
func (c *Conn) ReadMessage(ctx context.Context) (jsonrpc2.Message, error) {
	return c.end.ReadMessage(ctx)
}

// WriteMessage implements jsonrpc2.Conn.
func (c *Conn) WriteMessage(ctx context.Context, body []byte) error {
	return c.end.WriteMessage(ctx, body)
}

// Close implements jsonrpc2.Conn. Where Redis answers or refuses connections it
// takes 2 s and a try or two at most, about 3 s. On a connection that does
// neither it takes until go-redis gives up: up to 15 s for the blocked pop and,
// with go-redis's default ReadTimeout, 6 s for what is tried then.
func (c *Conn) Close() error { return c.end.Close() }

// SetLimits implements jsonrpc2.Limiter.
func (c *Conn) SetLimits(l jsonrpc2.Limits) { c.end.SetLimits(l) }

// Inquire implements jsonrpc2.Inquirer: it tells how many requests wait and, if
// that is not more than 1,000, withdraws those it is asked of, at most 100 at
// once.
func (c *Conn) Inquire(ctx context.Context, requests []any) []error {
	if inquirer, ok := c.end.(jsonrpc2.Inquirer); ok {
		return inquirer.Inquire(ctx, requests)
	}
	return nil
}

// Stats returns what the Conn has done so far.
func (c *Conn) Stats() Stats { return c.end.stats() }

// A broken end has bad options.
type broken struct {
	readErr, writeErr error
	closing           sync.Once
	closed            chan struct{}
}

func newBroken(readErr, writeErr error) *broken {
	return &broken{readErr: readErr, writeErr: writeErr, closed: make(chan struct{})}
}

func (b *broken) ReadMessage(ctx context.Context) (jsonrpc2.Message, error) {
	if b.readErr != nil {
		return jsonrpc2.Message{}, b.readErr
	}
	select {
	case <-b.closed:
		return jsonrpc2.Message{}, io.EOF
	case <-ctx.Done():
		return jsonrpc2.Message{}, ctx.Err()
	}
}

func (b *broken) WriteMessage(context.Context, []byte) error { return b.writeErr }
func (b *broken) SetLimits(jsonrpc2.Limits)                  {}
func (b *broken) stats() Stats                               { return Stats{} }

func (b *broken) Close() error {
	b.closing.Do(func() { close(b.closed) })
	return nil
}
