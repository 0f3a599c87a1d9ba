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

// A keeper keeps one connection to the broker, on a goroutine of its own, and replaces the
// connection when it fails. stop ends the goroutine, wait waits for its end.
type keeper struct {
	dialer *dialer
	state  *link.State
	doing  string // the activity of the connection in state, and in the log

	use useFunc

	cancel  func()
	running sync.WaitGroup

	dialing     atomic.Pointer[wire] // that of the connection in its handshake, or nil
	reconnected link.Recovery        // when a connection after the first was last set up
}

// A useFunc uses a connection until it fails or ctx is done. It calls up when it has set up
// all that it needs on the connection.
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

// run makes one connection after the other. Once a connection was ended soon, because of
// what came over it, the next ones count as working only when they have lived for steady:
// what was bad, such as a message that can't be read, may come again and again.
func (k *keeper) run(ctx context.Context) {
	var backoff link.Backoff
	var flaps flaps
	for n := 0; ctx.Err() == nil; n++ {
		var upSince time.Time
		works := func() {
			backoff.Reset()
			k.state.Worked(k.doing)
		}
		steadily := time.AfterFunc(steady, works)
		steadily.Stop()
		err := k.once(ctx, n, func() {
			upSince = time.Now()
			if n > 0 {
				k.reconnected.Note(upSince)
			}
			if flaps == 0 {
				works()
			} else {
				steadily.Reset(steady)
			}
		})
		steadily.Stop()
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

// flaps count the connections in a row that were ended soon because of what came over them.
type flaps int

// count counts a connection that err has ended. upSince is when it was up, zero if it never
// was: it then says nothing about the ones before.
func (f *flaps) count(upSince time.Time, err error) {
	switch {
	case upSince.IsZero():
	case time.Since(upSince) < steady && (isException(err) || isUnreadable(err)):
		*f++
	default:
		*f = 0
	}
}

// isUnreadable reports whether the library ended a connection because it could not read what
// came. Only the text tells this error from others of the library.
func isUnreadable(err error) bool {
	var e *amqp.Error
	return errors.As(err, &e) && !e.Server && strings.HasPrefix(e.Reason, "Exception (")
}

// pause returns how long to wait: four times as long as before, 50 ms to 15 s,
// less up to a half at random.
func (f flaps) pause() time.Duration {
	const first, last = 50 * time.Millisecond, 15 * time.Second
	pause := last
	if f < 6 { // from there on it would be more than last
		pause = min(first<<(2*(f-1)), last)
	}
	return pause - rand.N(pause/2)
}

// once makes the n'th try to connect, and uses the connection until it fails or ctx is done.
func (k *keeper) once(ctx context.Context, n int, up func()) error {
	conn, w, err := k.dialer.dial(ctx, n, k.dialing.Store)
	k.dialing.Store(nil)
	if err != nil {
		return k.dialer.located(n, err)
	}
	closed := make(chan struct{})
	unwatch := context.AfterFunc(ctx, func() { // the end of conn ends a use that waits for the broker
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

// isGreeted reports whether the broker has begun to answer in a handshake that has not ended
// yet.
func (k *keeper) isGreeted() bool {
	w := k.dialing.Load()
	return w != nil && w.isHeard()
}

// closeSoon closes a connection: in good order if the broker answers within closeGrace. All
// that waits for the broker on it then ends.
func closeSoon(conn *amqp.Connection) {
	_ = conn.CloseDeadline(time.Now().Add(closeGrace))
}

func (k *keeper) stop() { k.cancel() }
func (k *keeper) wait() { k.running.Wait() }

// A stopper has goroutines that end with their connection.
type stopper interface {
	stop() // closes the connection
	wait() // waits for the goroutines
}

// stopAll calls flush, which waits until the parts of a Conn have sent what they have. Then
// it stops the parts and waits for them. A write may hang when the broker no longer reads:
// after sendGrace and hangGrace stopAll stops the parts before flush has returned, and the
// end of their connections ends the write.
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

// awaitAnd is like await, and calls do at each tick.
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
