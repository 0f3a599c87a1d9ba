package amqpconn

import (
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/micromessaging/jsonrpc2/internal/link"
)

// A keeper keeps one connection to the broker on a goroutine of its own, and
// replaces it when it fails.
type keeper struct {
	dialer *dialer
	state  *link.State
	doing  string // for the log

	use useFunc

	cancel  func()
	running sync.WaitGroup

	dialing     atomic.Pointer[wire] // of the connection that is being made, or nil
	reconnected link.Recovery        // its second connection, and later ones
}

// A useFunc uses a connection until it fails or ctx is done. It calls up when all is
// set up.
type useFunc func(ctx context.Context, conn *amqp.Connection, w *wire, up func()) error

func newKeeper(d *dialer, state *link.State, doing string, use useFunc) *keeper {
	return &keeper{dialer: d, state: state, doing: doing, use: use}
}

func (k *keeper) start() {
	ctx, cancel := context.WithCancelCause(context.Background())
	k.cancel = func() { cancel(errClosed) }
	k.running.Go(func() { k.run(ctx) })
}

var (
	errClosed     = errors.New("the Conn was closed")
	errConnecting = errors.New("still connecting")
)

// run makes connections. One that the broker or the library ends soon for what
// came over it does not count as one that works: as with a message that can't be
// read, it would be ended again and again.
func (k *keeper) run(ctx context.Context) {
	var backoff link.Backoff
	var flaps flaps
	for n := 0; ctx.Err() == nil; n++ {
		var upSince time.Time
		works := func() {
			backoff.Reset()
			k.state.Worked(k.doing)
		}
		lasting := time.AfterFunc(steady, works)
		lasting.Stop()
		err := k.once(ctx, n, func() {
			upSince = time.Now()
			if n > 0 {
				k.reconnected.Note(upSince)
			}
			if flaps == 0 {
				works()
			} else {
				lasting.Reset(steady)
			}
		})
		lasting.Stop()
		if ctx.Err() != nil {
			return
		}
		k.state.Failed(k.doing, err)
		pause := backoff.Next()
		if flaps.count(upSince, err); flaps > 0 {
			pause = flaps.pause()
		}
		link.Wait(pause, ctx.Done())
	}
}

// steady is how long a connection has to live to count as one that works.
const steady = 10 * time.Second

// flaps are the connections in a row that were ended soon for what came over
// them.
type flaps int

// count counts a connection that has ended, and was set up at a time, zero if never.
func (f *flaps) count(upSince time.Time, err error) {
	switch {
	case upSince.IsZero():
	case time.Since(upSince) < steady && (isException(err) || isUnreadable(err)):
		*f++
	default:
		*f = 0
	}
}

// isUnreadable reports whether the library could not read what came.
func isUnreadable(err error) bool {
	var e *amqp.Error
	return errors.As(err, &e) && !e.Server && strings.HasPrefix(e.Reason, "Exception (")
}

// pause returns how long to wait: four times as long as before, 50 ms to 15 s,
// less up to a half at random.
func (f flaps) pause() time.Duration {
	const first, last = 50 * time.Millisecond, 15 * time.Second
	pause := last
	if f < 6 {
		pause = min(first<<(2*(f-1)), last)
	}
	return pause - rand.N(pause/2)
}

func (k *keeper) once(ctx context.Context, n int, up func()) error {
	conn, w, err := k.dialer.dial(ctx, n, k.dialing.Store)
	k.dialing.Store(nil)
	if err != nil {
		return k.dialer.located(n, err)
	}
	closed := make(chan struct{})
	unwatch := context.AfterFunc(ctx, func() { // use may be waiting for the broker
		defer close(closed)
		closeSoon(conn)
	})
	err = k.use(ctx, conn, w, up)
	if unwatch() {
		closeSoon(conn)
	} else {
		<-closed
	}
	return k.dialer.located(n, err)
}

// isGreeted reports whether a broker has begun to answer, and not ended, the
// handshake of a new connection.
func (k *keeper) isGreeted() bool {
	w := k.dialing.Load()
	return w != nil && w.isHeard()
}

// closeSoon closes a connection in good order if the broker answers soon. What
// waits for the broker then ends.
func closeSoon(conn *amqp.Connection) {
	_ = conn.CloseDeadline(time.Now().Add(closeGrace))
}

func (k *keeper) stop() { k.cancel() }
func (k *keeper) wait() { k.running.Wait() }

// A stopper has goroutines that end with their connection.
type stopper interface {
	stop() // closes the connection
	wait() // for the goroutines
}

// stopAll stops the parts of a Conn and waits for them. Before, it flushes what they
// write, which may hang on a connection whose other side does nothing any more: the
// end of the connection then ends it.
func stopAll(flush func(), parts ...stopper) {
	stop := func() {
		for _, p := range parts {
			p.stop()
		}
	}
	timer := time.AfterFunc(sendGrace+hangGrace, stop)
	flush()
	timer.Stop()
	stop()
	for _, p := range parts {
		p.wait()
	}
}

// await waits until the connection or the channel fails, or ctx is done.
func await(ctx context.Context, conn, ch <-chan *amqp.Error) error {
	return awaitAnd(ctx, conn, ch, nil, nil)
}

// awaitAnd is await, and calls do at each tick meanwhile.
func awaitAnd(ctx context.Context, conn, ch <-chan *amqp.Error, ticks <-chan time.Time, do func()) error {
	for {
		select {
		case <-ticks:
			do()
		case err := <-conn:
			return closeError(err)
		case err := <-ch:
			return closeError(err)
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
