package amqpconn

import (
	"context"
	"strconv"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/micromessaging/jsonrpc2/internal/link"
)

// A lane publishes answers over a connection of its own: if that ends, the server's other
// connections go on. The lane opens the connection for its first answer, and closes it when
// there was none for laneIdle. An answer is done with when the broker has confirmed it.
//
// A lane has one goroutine, its writer, which start starts. directLane and lateLane add what
// the writer does.
type lane struct {
	dialer  *dialer
	settler *settler
	outbox  *link.Outbox[reply]
	kick    chan struct{}                      // makes the writer try again now
	send    func(work []reply) (again []reply) // sends answers, and returns those to try again
	abandon func(left []reply)                 // drops the answers that were not sent before the end

	ctx     context.Context // done when the lane is stopped
	cancel  context.CancelFunc
	writing sync.WaitGroup

	// The writer's own.
	dials   int          // tries to connect so far
	session *laneSession // nil if there is no connection
}

// A laneSession is one connection of a lane.
type laneSession struct {
	conn    *amqp.Connection
	ch      *amqp.Channel    // in confirm mode
	returns chan amqp.Return // has room for a burst
	close   func()           // closes conn; another call waits until it is closed
	idle    *time.Timer      // calls close
}

const (
	// laneIdle is how long an unused connection is kept.
	laneIdle = time.Minute

	// laneBurst is how many answers the writer publishes before it waits for their
	// confirms.
	laneBurst = 256

	// lanePause is the longest time between two tries.
	lanePause = 50 * time.Millisecond

	// laneGrace is how long the writer tries to send the last answers, after Close.
	laneGrace = 500 * time.Millisecond

	// laneTimeout is how long the confirms of a burst may take.
	laneTimeout = 5 * time.Second
)

func (l *lane) init(d *dialer, s *settler) {
	l.dialer, l.settler = d, s
	l.outbox = link.NewOutbox[reply](nil) // the prefetch limits it, or lateLane.bounded
	l.kick = make(chan struct{}, 1)
	l.ctx, l.cancel = context.WithCancel(context.Background())
}

func (l *lane) start() {
	l.writing.Go(func() {
		l.abandon(l.outbox.Run(link.Writer[reply]{Send: l.send, Kick: l.kick, MaxPause: lanePause, Grace: laneGrace}))
		l.close()
	})
}

// put hands over an answer.
func (l *lane) put(r reply) error {
	defer link.Signal(l.kick)
	return l.outbox.Put(r, 0)
}

// flush closes the outbox, and waits until all answers are sent, or laneGrace is over.
func (l *lane) flush() {
	l.outbox.Close()
	l.writing.Wait()
}

func (l *lane) stop() { l.cancel() }
func (l *lane) wait() { l.writing.Wait() }

// open returns the connection, and opens one if there is none. It stays open for laneIdle
// from now.
func (l *lane) open() (_ *laneSession, err error) {
	if s := l.session; s != nil && !s.ch.IsClosed() && s.idle.Reset(laneIdle) {
		return s, nil
	}
	l.close()
	l.session, err = l.dial()
	return l.session, err
}

// dial opens a connection, to the next of the nodes. stop closes it.
func (l *lane) dial() (*laneSession, error) {
	l.dials++
	conn, _, err := l.dialer.dial(l.ctx, l.dials, func(*wire) {})
	if err != nil {
		return nil, err
	}
	closed := make(chan struct{})
	unwatch := context.AfterFunc(l.ctx, func() {
		defer close(closed)
		closeSoon(conn)
	})
	s := &laneSession{conn: conn}
	s.close = sync.OnceFunc(func() {
		if unwatch() {
			closeSoon(conn)
		} else {
			<-closed
		}
	})
	if s.ch, err = conn.Channel(); err == nil {
		err = s.ch.Confirm(false)
	}
	if err != nil {
		s.close()
		return nil, err
	}
	s.returns = s.ch.NotifyReturn(make(chan amqp.Return, laneBurst))
	s.idle = time.AfterFunc(laneIdle, s.close)
	return s, nil
}

// close closes the connection, if there is one, or waits until its idle timer has done so.
func (l *lane) close() {
	if s := l.session; s != nil {
		s.idle.Stop()
		s.close()
		l.session = nil
	}
}

// publish publishes answers and returns the fate of each.
func (l *lane) publish(s *laneSession, work []reply, mandatory bool) (fates []fate[reply]) {
	for len(work) > 0 {
		n := min(len(work), laneBurst)
		fates = append(fates, l.publishSome(s, work[:n], mandatory)...)
		work = work[n:]
	}
	return fates
}

// publishSome publishes a burst of answers, waits for their confirms and returns their fates.
// The message id of an answer is its place in the burst: by that a return names it.
func (l *lane) publishSome(s *laneSession, work []reply, mandatory bool) []fate[reply] {
	ctx, cancel := context.WithTimeout(l.ctx, laneTimeout)
	defer cancel()
	fates := make([]fate[reply], len(work))
	confirms := make([]*amqp.DeferredConfirmation, len(work))
	for i, r := range work {
		msg := r.message()
		msg.MessageId = strconv.Itoa(i)
		confirms[i], fates[i].err = s.ch.PublishWithDeferredConfirmWithContext(ctx, "", r.queue, mandatory, false, msg)
		fates[i].item = r
	}
	for i, confirm := range confirms {
		if confirm == nil {
			fates[i].err = errUnconfirmed
			continue
		}
		switch confirmed, err := confirm.WaitContext(ctx); {
		case confirmed:
		case err != nil || s.ch.IsClosed():
			fates[i].err = errUnconfirmed
		default:
			fates[i].err = errRefused
		}
	}
	for len(s.returns) > 0 { // a return comes before the confirm: all have come
		r := <-s.returns
		if i, err := strconv.Atoi(r.MessageId); err == nil && i < len(fates) {
			fates[i].err = errReturned
		}
	}
	if ctx.Err() != nil { // a return that comes later would name an answer of the next burst
		s.close()
	}
	return fates
}

// count counts an answer that was confirmed, unless it was counted before it came back.
func (l *lane) count(r reply) {
	if !r.counted {
		l.settler.replies.Add(1)
	}
}
