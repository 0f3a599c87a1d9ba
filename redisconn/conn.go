// Package redisconn carries JSON-RPC 2.0 over Redis lists: a client pushes a
// request onto the list named after the queue, one of any number of servers
// takes it off the other end and pushes the answer onto a reply list.
//
//	rdb := redis.NewClient(&redis.Options{Addr: "localhost:6379"})
//
//	conn := redisconn.Listen(rdb, "calc", nil)
//	err := jsonrpc2.Serve(ctx, server, conn, &jsonrpc2.ServerOptions{Service: "Calc"})
//
//	conn := redisconn.Dial(rdb, "calc", nil)
//	client := jsonrpc2.NewClient(conn, &jsonrpc2.ClientOptions{Service: "Calc"})
//
// The caller brings the connected client (single, Sentinel or Cluster), keeps
// owning it, and closes it after the Conns. Each Conn keeps one connection of
// its pool blocked in a pop and uses one more at times: a PoolSize of two for
// each Conn is enough. Redis 6.2 is the oldest that serves; 7.0 is faster.
//
// A message longer than MaxMessageSize is fetched whole before it is refused: set
// Redis's own limit, proto-max-bulk-len, where strangers may push.
//
// # Delivery semantics
//
// A request is sent at most once: where it is not known whether a push arrived,
// it is not repeated, and the call waits for its answer until its timeout.
// Requests run in the order they were pushed, as far as many servers and many
// goroutines have one. Answers are repeated until they arrive or ReplyTTL is
// over; one may therefore arrive twice, which clients tell by its id.
//
// By default requests are taken at most once, too: those that a server has taken
// when it crashes are lost, at most Prefetch of them, as are those that Redis has
// sent when a connection is cut.
//
//	event                               requests                  answers
//	server drained (ctx done)           given back, none lost     none lost
//	server killed                       up to Prefetch lost       with them
//	server's connection cut             up to Prefetch lost       late, maybe twice
//	client's connection cut             late, or not sent         up to 256 lost
//	Redis down, with its data kept      wait                      late
//	Redis down, its data lost           those waiting are lost    those waiting are lost
//	Redis restored from a snapshot      those since are lost, or  those since are lost
//	                                    run a second time
//	a message over Redis' own limit     its call fails, not sent  its caller is told
//	Redis out of memory                 calls fail, not sent      late or, after ReplyTTL, lost
//	  and a server drained              up to Prefetch lost
//
// With ListenOptions.AtLeastOnce a server keeps each request until it is
// answered, under a lease that it renews. In place of the lines above:
//
//	event                               requests                  answers
//	server killed, stopped or cut off   run again after Lease,    one: that of the server
//	  for longer than Lease             some a second time        that has the request then
//	server's connection cut             none lost, none twice     late, once
//	Redis failed over                   those not replicated      those not replicated are
//	                                    run again or are lost     dropped or lost
//	Redis down, its data lost           those waiting and those   those waiting, and those
//	                                    held are lost             to requests held, are lost
//	Redis out of memory                 calls fail, not sent      none lost
//	  and a server drained              given back, none lost
//	on a Cluster, a server killed       not run again             lost, if it was killed
//	  while it answers                                            between settling and pushing
//	server dies of a request each time  MaxAttempts starts, then  an error
//	                                    to the DeadList
//
// Requests that are run again come first, in their old order. Those that were
// under way when their server died are then run one at a time by each server, so
// that the one which kills can be told from those beside it. A method should
// see to it that running twice does no harm.
//
// # Deadlines
//
// A request travels with the time until which its caller waits, as a member
// deadline_ms by the broker's own clock. Both ends ask for that about once a minute
// of use; a client also checks it, once a second, beside what it pushes, and a
// server before it drops a request. Where Redis tells it neither by TIME nor by a
// script, and for callers that wait for more than 50 years, a request travels
// without. A server does not begin with one that is past.
//
// When the clock of Redis is set forward, calls pushed before their client checked
// it, in the second before or first after a pause, are dropped as late by servers
// that know the new time, if it was set by more than they wait for. When it is set
// back, servers may begin with calls that nobody waits for any more.
//
// When a call times out, or its context ends, its request is taken out of the
// queue again: the error is then a jsonrpc2.ErrNotRun, too. That is not done where
// more than 1,000 requests wait, since Redis would be long in looking for it, and
// not for the requests of a batch. The error tells how many wait.
//
// # Reply addresses
//
// A request names the list to answer on, and anybody may push one. A server
// answers on no queue's own keys and, with ListenOptions.ReplyPrefix, on no list
// whose name does not begin so; an answer to anything else is one entry more there.
//
// A list that an answer makes expires after ReplyTTL. Where its name says that it
// is a reply list, for it begins with "jsonrpc2:reply:" or ReplyPrefix, that is
// all. Any other may be another service's queue, empty for the moment: shortly
// before it expires the server looks at it again. One that holds nothing but
// answers is deleted then; one that holds anything else lasts, less our answers.
// That holds for the last 10,000 such lists of a server. A server that is closed
// looks at all of them a last time; one that is killed leaves them their expiry,
// and so does one that may not use scripts with what is pushed in the last moments.
//
// # Faults
//
// An answer that can't be delivered holds up no other. Where its list is of
// another type, or forbidden, it is dropped at once; where it fails alone, as one
// over Redis' own limit does, its caller gets an error in its place. It is logged
// and counted as Undelivered. On a Cluster the answers to one node wait for that
// node alone. Up to 16 MiB of answers that wait so hold no place of Prefetch.
//
// Both ends survive their broker: they try again with a backoff of 50 ms to
// 5 s, log one line when it begins to fail and one when it works again, and go
// on with what waited. Calls that can't be sent fail with
// jsonrpc2.ErrUnavailable after less than 2 s; for as long as a connection or
// go-redis's pool keeps a push waiting, they may take longer by go-redis's
// DialTimeout or ReadTimeout.
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
