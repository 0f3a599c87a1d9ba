package amqpconn

import (
	"context"
	"strconv"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/micromessaging/jsonrpc2/internal/link"
)

// A lane publishes answers over a connection of its own, whose loss costs none
// of the others. It is opened for the first answer and closed when there was none
// for a while. Each answer is confirmed before it is done with.
type lane struct {
	server *ServerConn
	dialer *dialer
	out    *link.Outbox[reply]
	kick   chan struct{} // holds one if there is something new
	send   func(work []reply) (again []reply)

	// dropped is told of what could not be sent before the end.
	dropped func(left []reply)

	ctx     context.Context // done when the lane is to end
	cancel  context.CancelFunc
	writing sync.WaitGroup
	dials   int // the writer's own

	mu      sync.Mutex // protects following
	session *laneSession
	idle    *time.Timer // closes session
}

// A laneSession is one connection of a lane.
type laneSession struct {
	conn    *amqp.Connection
	ch      *amqp.Channel
	returns chan amqp.Return
	end     func() // closes it
}

const (
	// laneIdle is how long an unused connection is kept.
	laneIdle = time.Minute

	// laneBurst is how many answers are published before their confirms are
	// waited for.
	laneBurst = 256

	// lanePause is between two looks at answers that are to be tried again.
	lanePause = 50 * time.Millisecond

	// laneGrace is for the last answers.
	laneGrace = 500 * time.Millisecond

	// laneTimeout is for the broker's answers.
	laneTimeout = 5 * time.Second
)

func (l *lane) init(s *ServerConn, d *dialer) {
	l.server, l.dialer = s, d
	l.out = link.NewOutbox[reply](false) // the prefetch limits it
	l.kick = make(chan struct{}, 1)
	l.ctx, l.cancel = context.WithCancel(context.Background())
}

func (l *lane) start() {
	l.writing.Go(func() {
		l.dropped(l.out.Run(link.Writer[reply]{Send: l.send, Kick: l.kick, MaxPause: lanePause, Grace: laneGrace}))
		l.close()
	})
}

// put hands over an answer.
func (l *lane) put(r reply) error {
	defer link.Signal(l.kick)
	return l.out.Put(r, 0)
}

// finish waits until all answers are sent, or there is no more time for that.
func (l *lane) finish() {
	l.out.Close()
	l.writing.Wait()
}

func (l *lane) end()  { l.cancel() }
func (l *lane) wait() { l.writing.Wait() }

// open returns the connection, which stays open for laneIdle from now.
func (l *lane) open() (*laneSession, error) {
	l.mu.Lock()
	s := l.session
	if s != nil && !s.ch.IsClosed() {
		l.idle.Reset(laneIdle)
		l.mu.Unlock()
		return s, nil
	}
	l.mu.Unlock()
	l.close()
	s, err := l.dial()
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.session = s
	l.idle = time.AfterFunc(laneIdle, l.close)
	return s, nil
}

func (l *lane) dial() (*laneSession, error) {
	l.dials++
	conn, _, err := l.dialer.dial(l.ctx, l.dials, func(*wire) {})
	if err != nil {
		return nil, err
	}
	closed := make(chan struct{})
	stop := context.AfterFunc(l.ctx, func() {
		defer close(closed)
		closeSoon(conn)
	})
	s := &laneSession{conn: conn}
	s.end = sync.OnceFunc(func() {
		if stop() {
			closeSoon(conn)
		} else {
			<-closed
		}
	})
	if s.ch, err = conn.Channel(); err == nil {
		err = s.ch.Confirm(false)
	}
	if err != nil {
		s.end()
		return nil, err
	}
	s.returns = s.ch.NotifyReturn(make(chan amqp.Return, laneBurst))
	return s, nil
}

// close closes the connection, if there is one.
func (l *lane) close() {
	l.mu.Lock()
	s, idle := l.session, l.idle
	l.session = nil
	l.mu.Unlock()
	if s != nil {
		idle.Stop()
		s.end()
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

func (l *lane) publishSome(s *laneSession, work []reply, mandatory bool) []fate[reply] {
	ctx, cancel := context.WithTimeout(l.ctx, laneTimeout)
	defer cancel()
	fates := make([]fate[reply], len(work))
	confirms := make([]*amqp.DeferredConfirmation, len(work))
	for i, r := range work {
		msg := r.publishing()
		msg.MessageId = strconv.Itoa(i)
		confirms[i], fates[i].err = s.ch.PublishWithDeferredConfirmWithContext(ctx, "", r.queue, mandatory, false, msg)
		fates[i].item = r
	}
	for i, confirm := range confirms {
		if confirm == nil {
			fates[i].err = errUnknown
			continue
		}
		switch taken, err := confirm.WaitContext(ctx); {
		case taken:
		case err != nil || s.ch.IsClosed():
			fates[i].err = errUnknown
		default:
			fates[i].err = errNotTaken
		}
	}
	for len(s.returns) > 0 { // each came before its confirm
		r := <-s.returns
		if i, err := strconv.Atoi(r.MessageId); err == nil && i < len(fates) {
			fates[i].err = errUnroutable
		}
	}
	if ctx.Err() != nil { // a late return would be taken for another's
		s.end()
	}
	return fates
}

// count counts an answer that the broker took.
func (l *lane) count(r reply) {
	if !r.counted {
		l.server.replies.Add(1)
	}
}
