package redisconn

import (
	"log/slog"
	"time"

	"github.com/micromessaging/jsonrpc2"
)

const (
	defaultPrefetch    = 128
	defaultReplyTTL    = 30 * time.Second
	defaultLease       = 30 * time.Second
	defaultMaxAttempts = 5
	defaultMaxDead     = 10_000
)

// DefaultReplyPrefix begins the names of reply lists. Give no other key such a name: a
// server that answers on such a list may make it expire, whatever it holds. On a list of
// another name the server first checks that the list is new or expires anyway: by a script,
// or by plain commands if Redis runs no scripts.
const DefaultReplyPrefix = "jsonrpc2:reply:"

const (
	// blockTime is how long a pop blocks: an idle server pops 12 times a minute, and an
	// idle client rests after one pop. A dead connection is noticed 10 s after its pop
	// should have ended, since go-redis waits that much longer.
	blockTime = 5 * time.Second

	// sendPatience is how long a request waits for a broker that refuses it. A
	// try may take another 0.4 s, since go-redis dials five times.
	sendPatience = 1200 * time.Millisecond

	// closeGrace is how long Close tries to send the requests or answers that wait.
	closeGrace = 2 * time.Second

	// minLease is the shortest Lease.
	minLease = 100 * time.Millisecond

	// wakeTTL is when a list with the value that ends a blocked pop expires, if no pop
	// has taken the value.
	wakeTTL = time.Minute

	// maxAddress is how long the name of a reply list may be.
	maxAddress = 255
)

// DialOptions are the options of Dial. The zero value is useful, and so is a
// nil pointer to it.
type DialOptions struct {
	// ReplyPrefix begins the name of the client's reply list; DefaultReplyPrefix if
	// empty, at most 127 bytes. With another prefix servers with AtMostOnce take a
	// little longer to answer. Servers may require a prefix: see ListenOptions.ReplyPrefix.
	ReplyPrefix string

	// ReplyPerCall gives each call a reply list of its own, named by the call's id. It
	// is for servers that answer on no other list. A client with ReplyPerCall makes about
	// a third as many calls per second, and ReplyPrefix has no effect on it. If something
	// other than the answer is on the list, the call fails with jsonrpc2.ErrBadReply.
	ReplyPerCall bool

	// MaxBacklog limits the requests that wait in the queue; no limit if 0. A request
	// beyond it is not sent and fails with jsonrpc2.ErrOverloaded. The length
	// that a client knows is up to 100 ms old, so many clients together may exceed the
	// limit somewhat.
	MaxBacklog int

	// RequireServer makes a request fail with jsonrpc2.ErrNoServer if no server has
	// announced itself. The request is not sent then. Servers that are not of this package
	// do not announce themselves: so RequireServer is for queues that only servers of this
	// package serve. It costs one more round trip a second while requests are sent, and it
	// needs the rights that "Who serves" in the package's documentation lists.
	RequireServer bool

	// Logger gets a line when the connection fails and when it works again;
	// slog.Default() if nil.
	Logger *slog.Logger
}

// ListenOptions are the options of Listen. The zero value is useful, and so is
// a nil pointer to it.
type ListenOptions struct {
	// Prefetch limits the messages that a server has taken and whose methods have not
	// returned; 128 if 0. ServerOptions.MaxInFlight limits them, too: a server takes no
	// more messages than it can start, so that none waits in it while another server is
	// idle. With AtLeastOnce each beat lists all that is held: tens of thousands of
	// messages cost Redis much of its time.
	Prefetch int

	// ReplyTTL is how long a server tries to push an answer, and how long a reply list
	// lasts after its last answer; 30 s if 0, at least 1 ms.
	ReplyTTL time.Duration

	// ReplyPrefix, if set, must begin the name of each reply list. Calls with another
	// reply list are not run, and can't be answered.
	ReplyPrefix string

	// Guarantee is jsonrpc2.AtMostOnce by default. With jsonrpc2.AtLeastOnce Redis
	// keeps each request until it is settled. If the server dies before that, another one
	// takes the request over, and it may run twice. Servers with AtMostOnce and with
	// AtLeastOnce may share a queue, but see "Delivery semantics". AtLeastOnce needs Redis
	// 7.0 and a *redis.Client (also one of a Sentinel) or a *redis.ClusterClient.
	Guarantee jsonrpc2.Guarantee

	// Lease is, with AtLeastOnce, how long a server may be silent before others take
	// over its requests; 30 s if 0, at least 100 ms. The server beats at least four times
	// in a Lease, and at least once a second. A server that is alive but silent for longer
	// loses its requests, and its answers are dropped. So make Lease longer than delays of
	// the network or of a busy machine: otherwise work is done twice. However short a Lease
	// is, no request is lost. If two servers have different Leases, the longer one counts
	// between them.
	Lease time.Duration

	// MaxAttempts is, with AtLeastOnce, how often a request is started if its server
	// dies each time; 5 if 0. Then the request is given up: its caller gets an error with
	// jsonrpc2.CodeServer, and the request goes to the queue's DeadList. All requests that
	// a dead server had taken count as started, even those that were not. So if
	// MaxAttempts is 1, up to Prefetch harmless requests are given up together with the
	// one that kills.
	MaxAttempts int

	// MaxDead is, with AtLeastOnce, how many requests the queue's DeadList keeps; 10,000
	// if 0. When a server adds one more, it drops the oldest, logs that, and counts it as
	// DeadDropped. If servers of a queue have different limits, each enforces its own: the
	// list then has about as many as the lowest limit.
	MaxDead int

	// Logger gets a line when the connection fails and when it works again;
	// slog.Default() if nil.
	Logger *slog.Logger
}
