package redisconn

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/internal/link"
)

// A server is the serving end. It has two goroutines, started by the first
// ReadMessage and awaited by Close:
//
//	fetch     wait for free places, pop as many requests
//	  ReadMessage   on the codec's goroutine: find the reply list
//	  Reply         on any: hand the answer to the replier
//	replier   push all answers that wait, free their places
//
// With a lease it has two more: one renews it, the other ends fetch's waits.
type server struct {
	queue    string
	opts     ListenOptions
	own      string // prefix of our own keys
	wakeList string // a push onto it ends a blocked pop

	popper  popper
	lease   *lease // nil: at most once
	places  *link.Places
	fetched chan struct{} // holds one if there may be a request
	read    chan struct{} // holds one if all that was taken may be read
	state   *link.State
	notes   *link.Notes
	replier *replier

	// ReadMessage's own.
	body  []byte
	clock *clock
	asker *link.Asker // of the clock

	start    sync.Once   // runs the goroutines, unless closed first
	unwatch  func() bool // ends the watch of ReadMessage's context
	closing  sync.Once
	closed   chan struct{}
	ended    chan struct{} // closed when the fetcher has ended
	fetching sync.WaitGroup
	beating  sync.WaitGroup
	endBeat  context.CancelFunc

	mu       sync.Mutex    // protects following
	popping  bool          // the fetcher may be blocked
	taken    []delivery    // oldest first, not read yet
	suspects []delivery    // the same of suspects
	trying   bool          // a suspect runs
	buried   []delivery    // to be answered with an error
	fatal    error         // that ended the fetcher
	drained  bool          // nothing is taken any more
	stop     chan struct{} // closed when drained

	requests, noAddress, refused atomic.Int64
}

// tryPause is between two tries to note that a suspect is started.
const tryPause = 50 * time.Millisecond

// maxNotes bounds the answers that could not be delivered and were not logged.
const maxNotes = 100

func newServer(rdb redis.UniversalClient, queue string, opts ListenOptions) *server {
	if opts.Prefetch == 0 {
		opts.Prefetch = DefaultPrefetch
	}
	if opts.ReplyTTL == 0 {
		opts.ReplyTTL = DefaultReplyTTL
	}
	if opts.Lease == 0 {
		opts.Lease = DefaultLease
	}
	if opts.MaxAttempts == 0 {
		opts.MaxAttempts = DefaultMaxAttempts
	}
	s := &server{
		queue:   queue,
		opts:    opts,
		own:     ownPrefix(queue),
		popper:  popper{rdb: rdb, newest: true},
		fetched: make(chan struct{}, 1),
		read:    make(chan struct{}, 1),
		state:   newState(rdb, opts.Logger, queue, "server"),
		notes:   link.NewNotes(maxNotes),
		stop:    make(chan struct{}),
		ended:   make(chan struct{}),
		closed:  make(chan struct{}),
		asker:   link.NewAsker(),
	}
	s.clock = &clock{ask: s.brokerTime, state: s.state}
	s.wakeList = s.own + "wake:" + link.NewName()
	if opts.AtLeastOnce {
		s.lease = newLease(rdb, queue, opts, s.state, s.stop)
	}
	s.replier = newReplier(rdb, s)
	return s
}

// SetLimits lets no more be fetched than can be started.
func (s *server) SetLimits(l jsonrpc2.Limits) {
	if l.InFlight > 0 {
		s.opts.Prefetch = min(s.opts.Prefetch, l.InFlight)
	}
}

func (s *server) run(ctx context.Context) {
	s.unwatch = context.AfterFunc(ctx, s.drain) // also while the codec does not read
	s.places = link.NewPlaces(s.opts.Prefetch)
	s.fetching.Go(s.fetch)
	s.replier.start()
	if s.lease != nil {
		s.fetching.Go(func() { s.lease.interrupt(s.ended) })
		var ctx context.Context
		ctx, s.endBeat = context.WithCancel(context.Background())
		s.beating.Go(func() { s.lease.beat(ctx, s.bury) })
	}
}

// fetch takes requests while there are places for them, until the drain. Then
// it gives back what was not read: all in one, for the newest go first.
func (s *server) fetch() {
	defer s.giveBack()
	var backoff link.Backoff
	for {
		free := s.places.Wait(s.stop)
		if !s.beginPop() {
			return
		}
		taken, err := s.take(free)
		s.endPop()
		switch {
		case errors.Is(err, errOld), errors.Is(err, errNoClient):
			s.fail(err)
			return
		case err != nil:
			impaired(s.state, s.popper.rdb, "taking requests", err)
			link.Wait(backoff.Next(), s.stop)
			continue
		}
		s.state.Worked("taking requests")
		backoff.Reset()
		if len(taken) > 0 {
			s.hand(taken)
		}
		if len(taken) == 1 {
			s.letRead()
		}
	}
}

// letRead waits until all that was taken is read, for to send the next pop would
// keep a lone call waiting for longer.
func (s *server) letRead() {
	for s.isUnread() {
		select {
		case <-s.read:
		case <-s.stop:
			return
		}
	}
}

func (s *server) isUnread() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.taken) > 0
}

// take waits for requests, for blockTime at most, and takes up to n.
func (s *server) take(n int) ([]delivery, error) {
	if s.lease != nil {
		return s.lease.take(n)
	}
	list, values, err := s.popper.pop(n, s.wakeList, s.queue)
	if err != nil || list == s.wakeList {
		return nil, err
	}
	taken := make([]delivery, len(values))
	for i, value := range values {
		taken[i].body = value
	}
	return taken, nil
}

// beginPop notes that a drain has to wake the fetcher. It is false when there is
// one already.
func (s *server) beginPop() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.popping = !s.drained
	return s.popping
}

func (s *server) endPop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.popping = false
}

// hand hands requests to ReadMessage.
func (s *server) hand(taken []delivery) {
	s.places.Take(len(taken))
	s.requests.Add(int64(len(taken)))
	s.mu.Lock()
	defer s.mu.Unlock()
	defer link.Signal(s.fetched)
	if len(s.taken) == 0 && s.lease == nil { // most often
		s.taken = taken
		return
	}
	for _, d := range taken {
		if d.isSuspect() {
			s.suspects = append(s.suspects, d)
		} else {
			s.taken = append(s.taken, d)
		}
	}
}

// bury has the caller of a request that is dead told so.
func (s *server) bury(request string, attempts int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.buried = append(s.buried, delivery{body: request, attempt: attempts, dead: true})
	s.places.Take(1)
	link.Signal(s.fetched)
}

func (s *server) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fatal = err
	link.Signal(s.fetched)
}

// giveBack gives back what was taken and not read.
func (s *server) giveBack() {
	defer close(s.ended)
	s.mu.Lock()
	back := append(s.suspects, s.taken...)
	s.taken, s.suspects = nil, nil
	s.mu.Unlock()
	s.replier.giveBack(back)
	if s.lease != nil {
		s.lease.disconnect()
		s.lease.unstage()
	}
}

func (s *server) ReadMessage(ctx context.Context) (jsonrpc2.Message, error) {
	s.start.Do(func() { s.run(ctx) })
	s.body = keep(s.body)
	for {
		if err := ctx.Err(); err != nil {
			s.drain()
			return jsonrpc2.Message{}, err
		}
		if note, ok := s.notes.Next(); ok {
			return note, nil
		}
		d, ok, err := s.next()
		switch {
		case err != nil:
			return jsonrpc2.Message{}, err
		case ok && d.isSuspect() && !s.try(ctx, d):
			continue
		case ok:
			return s.message(d), nil
		}
		select {
		case <-s.fetched:
		case <-s.notes.Ready():
		case <-ctx.Done():
		case <-s.closed:
			return jsonrpc2.Message{}, io.EOF
		}
	}
}

// next takes the next request that may be returned.
func (s *server) next() (d delivery, ok bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.fatal != nil:
		return d, false, s.fatal
	case s.drained:
		return d, false, nil
	case len(s.buried) > 0:
		d = shift(&s.buried)
	case len(s.suspects) > 0 && !s.trying:
		d = shift(&s.suspects)
		s.trying = true
	case len(s.taken) > 0:
		d = shift(&s.taken)
		if len(s.taken) == 0 {
			link.Signal(s.read)
		}
	default:
		return d, false, nil
	}
	return d, true, nil
}

// shift takes the first of the deliveries, which are then without its body in
// memory, too.
func shift(deliveries *[]delivery) delivery {
	all := *deliveries
	first := all[0]
	all[0] = delivery{}
	*deliveries = all[1:]
	return first
}

// try notes that a suspect is started, and reports whether it may be.
func (s *server) try(ctx context.Context, d delivery) bool {
	held, err := s.lease.begin(d)
	if held && err == nil && ctx.Err() == nil {
		return true
	}
	if err != nil {
		impaired(s.state, s.replier.rdb, "taking requests", err)
		link.Wait(tryPause, ctx.Done())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.trying = false
	switch {
	case !held && err == nil:
		s.lease.lost.Add(1)
		s.lease.settled(d.token)
		s.places.Free(1)
	case s.drained:
		s.replier.giveBack([]delivery{d})
	default:
		s.suspects = append([]delivery{d}, s.suspects...)
	}
	return false
}

// tried lets the next suspect be started.
func (s *server) tried() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.trying = false
	link.Signal(s.fetched)
}

// message makes a message of a request.
func (s *server) message(d delivery) jsonrpc2.Message {
	s.body = append(s.body[:0], d.body...)
	header, _ := jsonrpc2.ScanHeader(s.body) // what is broken is for the codec
	list, err := s.replyList(header)
	msg := jsonrpc2.Message{Body: s.body, Deadline: s.clock.deadline(header.Deadline)}
	switch {
	case err != nil && header.Answer:
		msg.Err = err
	case d.dead:
		msg.Err = errDead(d.attempt)
	}
	token, suspect := d.token, d.isSuspect()
	msg.Reply = func(body []byte) error {
		if suspect {
			defer s.tried()
		}
		switch {
		case body == nil:
			s.settle(token)
			return nil
		case err != nil:
			s.settle(token)
			return err
		}
		return s.replier.reply(token, list, body)
	}
	return msg
}

// errDead is what the caller of a dead request is answered with.
func errDead(attempts int) *jsonrpc2.Error {
	return &jsonrpc2.Error{
		Code:    jsonrpc2.CodeServer,
		Message: fmt.Sprintf("given up: its server died each of the %d times that it was started", attempts),
	}
}

var (
	errNoAddress = errors.New("redisconn: no reply list: neither a string reply_to nor a string id")
	errTooLong   = fmt.Errorf("redisconn: the reply list's name is longer than %d bytes", maxAddress)
)

// replyList returns the list to answer on. It comes from a stranger.
func (s *server) replyList(h jsonrpc2.Header) (string, error) {
	list := h.ReplyTo
	if list == "" {
		list = h.ID
	}
	var err error
	switch {
	case list == "":
		err = errNoAddress
	case len(list) > maxAddress:
		err = errTooLong
	case list == s.queue || strings.HasPrefix(list, s.own) || isOwnKey(list):
		err = fmt.Errorf("redisconn: refused to reply to %q: it is a queue's own", list)
	case !strings.HasPrefix(list, s.opts.ReplyPrefix):
		err = fmt.Errorf("redisconn: refused to reply to %q: it does not begin with %q", list, s.opts.ReplyPrefix)
	default:
		return list, nil
	}
	if !h.Answer {
		return "", err
	}
	if list == "" || len(list) > maxAddress {
		s.noAddress.Add(1)
	} else {
		s.refused.Add(1)
	}
	return "", err
}

// settle settles a request that needs no answer.
func (s *server) settle(token int64) {
	s.replier.settled(token)
	s.places.Free(1)
}

// drain stops the fetcher, at once even where it is blocked. It gives back what
// was taken and not read.
func (s *server) drain() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.drained {
		return
	}
	s.drained = true
	close(s.stop)
	if s.popping && s.lease == nil {
		s.replier.wake()
	}
}

func (s *server) isPopping() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.popping
}

func (s *server) WriteMessage(context.Context, []byte) error { return errors.ErrUnsupported }

func (s *server) Close() error {
	s.closing.Do(func() {
		s.start.Do(func() { s.unwatch = func() bool { return true } }) // or never
		s.unwatch()
		close(s.closed)
		s.drain()
		s.asker.Close()
		s.fetching.Wait()
		s.leave(s.replier.close())
	})
	return nil
}

// leave ends the lease, where one was begun.
func (s *server) leave(allSent bool) {
	if s.endBeat == nil {
		return
	}
	s.endBeat()
	s.beating.Wait()
	if s.fatal != nil { // there is none
		return
	}
	err := errUnsent
	if allSent {
		err = s.lease.leave()
	}
	if err != nil {
		s.state.Logger.Error("lease not ended: what is held is taken over when it runs out",
			slog.Duration("lease", s.opts.Lease), slog.Any("error", err))
	}
}

func (s *server) stats() Stats {
	stats := Stats{
		Requests:    s.requests.Load(),
		Replies:     s.replier.replies.Load(),
		Reconnects:  s.state.Recoveries.Load(),
		GivenBack:   s.replier.givenBack.Load(),
		Expired:     s.replier.expired.Load(),
		NoAddress:   s.noAddress.Load(),
		Refused:     s.refused.Load(),
		Undelivered: s.replier.undelivered.Load(),
	}
	if s.lease != nil {
		stats.TakenOver = s.lease.takenOver.Load()
		stats.Dead = s.lease.dead.Load()
		stats.LeaseLost = s.lease.lost.Load()
	}
	return stats
}
