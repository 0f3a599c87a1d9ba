package jsonrpc2

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"

	"github.com/micromessaging/jsonrpc2/internal/link"
)

// A RetryPolicy says which calls may be sent again although they may have run.
type RetryPolicy struct {
	// Idempotent says that a request may run more than once. A call is then also sent
	// again after ErrReplyLost, and after an ErrTimeout of the Conn itself, such as that
	// of an http.Client. A notification is also sent again after ErrUnconfirmed.
	Idempotent bool

	// After, if more than 0, also sends an Idempotent call again each time that a try has
	// had no answer for so long. The try is withdrawn first if the Conn can do that. The
	// first answer counts. While conn's Err is not nil, the try goes on. If the budget of
	// Retry has nothing left, the try goes on for as long again. Without Idempotent, and
	// for a notification, After has no effect.
	After time.Duration
}

type policyKey struct{}

// WithRetryPolicy returns a ctx whose calls and notifications have this policy, in place of
// that in the RetryOptions. It has no effect on a client without [Retry].
func WithRetryPolicy(ctx context.Context, policy RetryPolicy) context.Context {
	return context.WithValue(ctx, policyKey{}, policy)
}

// RetryOptions are the options of Retry. The zero value is useful, and so is a nil pointer
// to it.
type RetryOptions struct {
	// RetryPolicy is that of all requests whose ctx has none.
	RetryPolicy

	// Stats, if set, counts what is sent again.
	Stats *RetryStats
}

// Retry returns a ClientConn around conn that sends again what certainly did not run:
// requests that fail with [ErrUnavailable], [ErrNoServer] or [ErrOverloaded]. A call that could
// not be sent then only waits for the broker or the server. One that was sent over RabbitMQ,
// HTTP or a stream before its connection ended fails with [ErrReplyLost], even if it has not
// begun. Closing the result closes conn.
//
// A request is sent again under the same id, after a delay of 50 ms that doubles up to 1 s,
// less up to a half at random. The tries end with the deadline or the Timeout of the request,
// and when its caller gives up. If the next try would come after the deadline or the Timeout,
// the request fails at once with the error of the last try. Without any limit, the tries go on
// until the client is closed. Requests may overtake each other.
//
// A request that may have run is sent again only if its [RetryPolicy] says that it is
// Idempotent. The server may then run it twice. The method can tell a repeat only by the ID
// of [CallFrom], which all tries of a call share: a service may remember the ids for longer
// than its callers wait. Notifications have no ID. Over a stream, and on RabbitMQ, all calls
// that wait for their answers may have run when the connection ends.
//
// So that retries don't add to an overload, each Retry has a budget: one try for every ten
// requests of about the last ten seconds, and besides ten tries a second, of which up to a
// hundred are saved. A try costs nothing if the one before it only lacked a connection: it
// failed with ErrUnavailable, and conn's Err is not nil, or a stream ended before it was
// written. A request for which the budget has nothing left waits for its next turn, and is
// counted as Withheld.
//
// If one of the tries may have run, and the last one did not, a call fails with
// [ErrReplyLost], and a notification with [ErrUnconfirmed].
//
// At most 16 MiB of requests wait to be sent again. A request beyond them fails with the
// error of its last try. A call costs about 1 µs more.
//
// Retry works with every Conn. With [Batch], write Retry(Batch(conn, nil), nil): then each
// request has its own tries. In the other order a batch is sent again as one message, without
// those of its requests that have ended, and is Idempotent if all its requests are.
func Retry(conn ClientConn, opts *RetryOptions) ClientConn {
	if opts == nil {
		opts = &RetryOptions{}
	}
	c := &retryConn{
		ClientConn: conn,
		policy:     opts.RetryPolicy,
		stats:      opts.Stats,
		wake:       make(chan struct{}, 1),
		sending:    make(chan struct{}, 1),
		inquiring:  make(chan struct{}, 1),
		budget:     newRetryBudget(),
	}
	if c.stats == nil {
		c.stats = new(RetryStats)
	}
	return c
}

// A retryConn has a goroutine, run, which decides about the tries that have failed, and makes
// the next ones. Another one, withdraw, runs while tries are withdrawn. Close waits for both.
// See retried for the states of a request.
type retryConn struct {
	ClientConn
	policy RetryPolicy
	stats  *RetryStats

	wake       chan struct{}  // receives if there may be something to do
	running    sync.WaitGroup // for the goroutine, which Open starts
	sending    chan struct{}  // full while requests are sent again, see Inquire
	inquiring  chan struct{}  // full while an Inquire of ClientConn runs
	withdrawal sync.WaitGroup // for the goroutine that withdraws

	mu          sync.Mutex // protects following
	due         dueRequests
	failed      []*retried // to be decided about
	overdue     []*retried // to be withdrawn
	withdrawing bool       // the goroutine that withdraws runs
	bytes       int        // of those that wait
	budget      retryBudget
	closed      bool
}

// Open implements ClientConn.
func (c *retryConn) Open(s Settings) error {
	err := c.ClientConn.Open(s)
	if err == nil {
		c.running.Go(c.run)
	}
	return err
}

// WriteRequest implements ClientConn.
func (c *retryConn) WriteRequest(r *Request) error {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return net.ErrClosed
	}
	c.budget.deposit(time.Now())
	c.mu.Unlock()
	c.stats.requests.Add(1)
	r.Keep()
	rt := newRetried(c, r)
	r.Handle = rt
	c.send(rt, r.Body)
	return nil
}

// send makes a try. It is called by WriteRequest for the first one, and by run for the others.
func (c *retryConn) send(rt *retried, body []byte) {
	a := &try{of: rt}
	a.owner, a.ctx, a.deadline = a, rt.request.ctx, rt.request.deadline
	a.Body, a.kept = body, true
	c.mu.Lock()
	rt.state, rt.attempt = trying, a
	c.mu.Unlock()
	rt.request.join(a)
	if a.GivenUp() {
		c.mu.Lock()
		rt.state = waiting // so that inquired says that it was not sent
		c.mu.Unlock()
		return
	}
	if err := c.ClientConn.WriteRequest(&a.Request); err != nil {
		a.fail(withSentinel(err, ErrUnavailable))
		return
	}
	if rt.policy.After > 0 && !a.IsNotification() {
		c.watch(rt, a, time.Now().Add(rt.policy.After))
	}
}

// watch makes run look at a try at a time, unless the try has ended.
func (c *retryConn) watch(rt *retried, a *try, at time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if rt.attempt != a || rt.state != trying || a.GivenUp() || c.closed {
		return
	}
	rt.at = at
	c.push(rt)
}

// Inquire implements ClientConn. A request that waits for its next try has not run, unless
// an earlier try may have. A request with a try under way is asked about by that.
func (c *retryConn) Inquire(ctx context.Context, requests []*Request) []error {
	c.sending <- struct{}{} // wait for makeDue: WriteRequest has returned for each try then
	<-c.sending
	found := make([]error, len(requests))
	asked := make([]*Request, len(requests))
	for i, r := range requests {
		asked[i] = r
		if rt, ok := r.Handle.(*retried); ok {
			asked[i], found[i] = rt.inquired()
		}
	}
	answers := c.inquire(ctx, asked)
	for i, r := range requests {
		if asked[i] == nil || i >= len(answers) {
			continue
		}
		found[i] = answers[i]
		if rt, ok := r.Handle.(*retried); ok && rt.ranPerhaps() && errors.Is(found[i], ErrNotRun) {
			found[i] = errEarlierTry
		}
	}
	return found
}

var errEarlierTry = errors.New("the last try was withdrawn, but an earlier one may have run")

// inquire asks the Conn about requests, but for those that are nil. One goroutine at a time may
// call the Conn's Inquire: the codec's and withdraw take turns.
func (c *retryConn) inquire(ctx context.Context, requests []*Request) []error {
	var asked []*Request
	for _, r := range requests {
		if r != nil {
			asked = append(asked, r)
		}
	}
	if len(asked) == 0 {
		return nil
	}
	select {
	case c.inquiring <- struct{}{}:
	case <-ctx.Done():
		return nil
	}
	answers := c.ClientConn.Inquire(ctx, asked)
	<-c.inquiring
	found, next := make([]error, len(requests)), 0
	for i, r := range requests {
		if r != nil && next < len(answers) {
			found[i] = answers[next]
			next++
		}
	}
	return found
}

// Close fails the requests that wait for their next try, and closes the Conn.
func (c *retryConn) Close() error {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	link.Signal(c.wake)
	c.running.Wait()
	c.withdrawal.Wait()
	return c.ClientConn.Close()
}
