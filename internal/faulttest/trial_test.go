package faulttest

import (
	"cmp"
	"context"
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/internal/servicetest"
)

// A site is a queue on a broker.
type site interface {
	dial(t *testing.T) jsonrpc2.ClientConn
	listen(t *testing.T) jsonrpc2.ServerConn
	// waiting returns how many requests wait in the queue.
	waiting() (int, error)
	// requireEmpty requires that nothing is left on the broker when all ends are closed.
	requireEmpty(t *testing.T)
	// noteVersion notes the broker's version in the table.
	noteVersion(t *testing.T)
	// config returns what another process needs to use the site.
	config() processConfig
}

// A trial is a load on a site, during which a fault is made.
type trial struct {
	name    string // of the fault, in the table
	site    site
	timeout time.Duration          // of calls; 2 s if 0
	codec   jsonrpc2.ServerOptions // of the server
	allow   allowed                // what the delivery tables allow
	note    func(sum tally) string // in the table, may be nil
	client  jsonrpc2.ClientOptions
	idle    bool                   // the service has nothing to do but to note the call
	retry   *jsonrpc2.RetryOptions // nil: the client has no Retry

	*load
	ledger *Ledger
	conn   jsonrpc2.ClientConn
	server server // nil: the test starts and ends the servers itself
}

// allowed says how many calls of a trial may at most go wrong in each way. No other way is
// allowed, see load.count.
type allowed struct {
	failed int // calls that failed or were not sent
	again  int // calls that ran twice or more
	lost   int // calls that may have been sent and did not run
	runs   int // of one call; 0: any number
}

const many = math.MaxInt

// enough is how many answered calls show that all works.
const enough = 200

// prepare makes the client, a load and, if servers is set, a server. The test's cleanup ends
// them.
func (tr *trial) prepare(t *testing.T, servers bool) {
	t.Helper()
	tr.site.noteVersion(t)
	tr.ledger = newLedger(t)
	if tr.idle {
		tr.ledger.work = 0
	}
	if servers {
		tr.server = serve(t, tr.site, tr.ledger, tr.codec)
		servicetest.Eventually(t, func() bool { _, err := tr.site.waiting(); return err == nil }, "no queue")
	}
	tr.conn = tr.site.dial(t)
	tr.client.Logger, tr.client.Timeout, tr.client.Stats = servicetest.Quiet, tr.timeout, new(jsonrpc2.ClientStats)
	if tr.timeout == 0 {
		tr.client.Timeout = 2 * time.Second
	}
	conn := tr.conn
	if tr.retry != nil {
		conn = jsonrpc2.Retry(conn, tr.retry)
	}
	client := jsonrpc2.NewClient(conn, &tr.client)
	tr.load = newLoad(client)
	if tr.retry != nil {
		tr.load.callers = retryCallers
	}
	t.Cleanup(func() {
		tr.stop()
		_ = client.Close()
	})
}

// run makes a fault under load, and requires what tr.allow says. When fault returns, the fault
// is over.
func (tr *trial) run(t *testing.T, fault func()) {
	t.Helper()
	tr.prepare(t, true)
	tr.start()
	tr.awaitAnswered(t, enough)
	fault()
	tr.awaitAnswered(t, enough)
	tr.finish(t)
}

// finish ends the load and both ends, and requires what tr.allow says.
func (tr *trial) finish(t *testing.T) {
	t.Helper()
	tr.end(t)
	tr.conclude(t)
}

// end ends the load, requires that the same client and servers still work, and ends them.
func (tr *trial) end(t *testing.T) {
	t.Helper()
	tr.stop()
	servicetest.Eventually(t, func() bool { n, err := tr.site.waiting(); return err == nil && n == 0 }, "requests wait")
	tr.requireWorks(t)
	if tr.server != nil {
		tr.server.end(t)
	}
	require.NoError(t, tr.load.client.Close())
}

// requireWorks requires that a final batch of calls is answered.
func (tr *trial) requireWorks(t *testing.T) {
	t.Helper()
	for range enough / 2 {
		// The timeout of a trial's calls is too short for a machine that stalls.
		ctx, cancel := context.WithTimeout(t.Context(), servicetest.Soon)
		_, err := tr.askFor(ctx, "")
		cancel()
		require.NoError(t, err, "after the fault")
	}
}

// conclude requires that nothing is left on the broker, counts what became of the calls, notes
// the figures, and requires what tr.allow says.
func (tr *trial) conclude(t *testing.T) {
	t.Helper()
	tr.site.requireEmpty(t)
	tr.requireAddsUp(t, tr.client.Stats)
	tr.ledger.requireAddsUp(t)
	runs := tr.ledger.runs(t)
	sum := tr.count(t, runs)
	note := ""
	if tr.note != nil {
		note = tr.note(sum)
	}
	t.Logf("%s: %+v %s", tr.name, sum, note)
	figures.note(tr.name, sum, note)
	require.LessOrEqual(t, sum.asked-sum.answered, tr.allow.failed, "calls failed")
	require.LessOrEqual(t, sum.again, tr.allow.again, "calls ran twice")
	require.LessOrEqual(t, sum.lost, tr.allow.lost, "calls were lost")
	for n, times := range runs {
		require.LessOrEqual(t, times, cmp.Or(tr.allow.runs, many), "call %d", n)
	}
}

// A server serves a site.
type server interface {
	// end drains it and waits until it is gone.
	end(t *testing.T)
}

// A worker is a server in this process.
type worker struct {
	*servicetest.Server
	conn   jsonrpc2.ServerConn
	ledger *Ledger
	stats  *jsonrpc2.ServerStats
}

// serve starts a worker, which the test's cleanup ends.
func serve(t *testing.T, s site, ledger *Ledger, codec jsonrpc2.ServerOptions) *worker {
	t.Helper()
	codec.Logger, codec.Stats = servicetest.Quiet, new(jsonrpc2.ServerStats)
	conn := s.listen(t)
	return &worker{servicetest.Serve(t, conn, codec, ledger), conn, ledger, codec.Stats}
}

func (w *worker) end(t *testing.T) {
	t.Helper()
	w.End(t)
	require.NoError(t, w.ledger.noteCounts(w.stats))
}
