package redisconn

import (
	"log/slog"
	"time"

	"github.com/micromessaging/jsonrpc2"
)

const (
	defaultPrefetch    = 64
	defaultReplyTTL    = 30 * time.Second
	defaultLease       = 30 * time.Second
	defaultMaxAttempts = 5
)

const (
	// MaxDead is how many requests a DeadList has at most.
	MaxDead = 10_000

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

	// minLease is the shortest Lease.
	minLease = 100 * time.Millisecond

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
	// calls per second. ReplyPrefix plays no part in it. A call whose list brings
	// something else than its answer fails with jsonrpc2.ErrBadReply.
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
	// be started, so that none waits here while another server is idle. With
	// AtLeastOnce each beat lists what the server has: tens of thousands take up a
	// good part of Redis' time.
	Prefetch int

	// ReplyTTL is when an answer that nobody took expires, and how long an
	// answer is tried to be sent; 30 s if 0, at least 1 ms.
	ReplyTTL time.Duration

	// ReplyPrefix, if set, is what the name of a reply list must begin with.
	// Requests with another one are not run.
	ReplyPrefix string

	// Guarantee is jsonrpc2.AtMostOnce by default. With jsonrpc2.AtLeastOnce each
	// request is kept until it is answered, so that it is not lost with its server:
	// another one takes it over. It may then run twice. Servers with either may share
	// a queue, but see the package's documentation. AtLeastOnce needs Redis 7.0, and a *redis.Client (of a Sentinel, too)
	// or *redis.ClusterClient.
	Guarantee jsonrpc2.Guarantee

	// Lease is, with AtLeastOnce, how long a server may be silent before others
	// take its requests over; 30 s if 0, at least 100 ms. It tells of itself four
	// times as often, and once a second at least. A server that is slower loses
	// its requests, and its answers are dropped: a Lease that is longer than what
	// the network and a busy machine take up saves double work. No Lease loses a
	// request. Servers with different ones may share a queue; the longer one of
	// two counts.
	Lease time.Duration

	// MaxAttempts is, with AtLeastOnce, how often a request is started before
	// it is given up, when its server dies each time; 5 if 0. Its caller is then
	// answered with an error, and it is kept in the queue's DeadList. What a server
	// had taken when it died counts as started, though it may not have been: with 1,
	// up to Prefetch requests are given up that only stood beside the one that kills.
	MaxAttempts int

	// Logger is told when the connection fails and when it works again;
	// slog.Default() if nil.
	Logger *slog.Logger
}

// Stats counts what a ClientConn or a ServerConn did. All counters only rise.
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
	DeadDropped int64 // requests of the DeadList, the oldest of more than MaxDead
}
