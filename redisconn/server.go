package redisconn

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"

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
type server struct {
	queue    string
	opts     ListenOptions
	own      string // prefix of our own keys
	wakeList string // a push onto it ends a blocked pop

	popper  popper
	places  *link.Places
	fetched chan struct{} // holds one if there may be a request
	state   *link.State
	notes   *link.Notes
	replier *replier

	body []byte // ReadMessage's own

	start    sync.Once   // runs the goroutines, unless closed first
	unwatch  func() bool // ends the watch of ReadMessage's context
	closing  sync.Once
	closed   chan struct{}
	fetching sync.WaitGroup
	replying sync.WaitGroup

	mu      sync.Mutex    // protects following
	popping bool          // the fetcher may be blocked
	taken   []string      // oldest first, not read yet
	drained bool          // nothing is taken any more
	stop    chan struct{} // closed when drained

	requests, noAddress, refused atomic.Int64
}

// maxNotes bounds the answers that could not be delivered and were not logged.
const maxNotes = 100

func newServer(rdb redis.UniversalClient, queue string, opts ListenOptions) *server {
	if opts.Prefetch == 0 {
		opts.Prefetch = DefaultPrefetch
	}
	if opts.ReplyTTL == 0 {
		opts.ReplyTTL = DefaultReplyTTL
	}
	s := &server{
		queue:   queue,
		opts:    opts,
		own:     ownPrefix(queue),
		popper:  popper{rdb: rdb, newest: true},
		fetched: make(chan struct{}, 1),
		state:   link.NewState(opts.Logger, "redis", queue, "server"),
		notes:   link.NewNotes(maxNotes),
		stop:    make(chan struct{}),
		closed:  make(chan struct{}),
	}
	s.wakeList = s.own + "wake:" + link.NewName()
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
	s.replying.Go(s.replier.run)
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
		list, values, err := s.popper.pop(free, s.wakeList, s.queue)
		s.endPop()
		switch {
		case err != nil:
			s.state.Failed("taking requests", err)
			link.Wait(backoff.Next(), s.stop)
			continue
		case list == s.wakeList:
			continue // and see that it is over
		}
		s.state.Worked("taking requests")
		backoff.Reset()
		if len(values) > 0 {
			s.hand(values)
		}
	}
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
func (s *server) hand(values []string) {
	s.places.Take(len(values))
	s.requests.Add(int64(len(values)))
	s.mu.Lock()
	s.taken = append(s.taken, values...)
	s.mu.Unlock()
	select {
	case s.fetched <- struct{}{}:
	default:
	}
}

func (s *server) giveBack() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.replier.giveBack(s.taken)
	s.taken = nil
}

func (s *server) ReadMessage(ctx context.Context) (jsonrpc2.Message, error) {
	s.start.Do(func() { s.run(ctx) })
	for {
		if err := ctx.Err(); err != nil {
			s.drain()
			return jsonrpc2.Message{}, err
		}
		if note, ok := s.notes.Next(); ok {
			return note, nil
		}
		if next, ok := s.next(); ok {
			return s.message(next), nil
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

func (s *server) next() (request string, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.drained || len(s.taken) == 0 {
		return "", false
	}
	request, s.taken = s.taken[0], s.taken[1:]
	return request, true
}

// message makes a message of a request.
func (s *server) message(request string) jsonrpc2.Message {
	s.body = append(s.body[:0], request...)
	header, _ := jsonrpc2.ScanHeader(s.body) // what is broken is for the codec
	list, err := s.replyList(header)
	if err != nil && header.Answer {
		return jsonrpc2.Message{Body: s.body, Err: err, Reply: s.settle}
	}
	return jsonrpc2.Message{Body: s.body, Reply: func(body []byte) error {
		if body == nil {
			return s.settle(nil)
		}
		if err != nil {
			_ = s.settle(nil)
			return err
		}
		return s.replier.reply(list, body)
	}}
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
	case list == s.queue || strings.HasPrefix(list, s.own):
		err = fmt.Errorf("redisconn: refused to reply to %q: it is the queue's own", list)
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

// settle frees the place of a request that needs no answer.
func (s *server) settle([]byte) error {
	s.places.Free(1)
	return nil
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
	if s.popping {
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
		s.fetching.Wait()
		s.replier.out.Close()
		s.replying.Wait()
	})
	return nil
}

func (s *server) stats() Stats {
	return Stats{
		Requests:    s.requests.Load(),
		Replies:     s.replier.replies.Load(),
		Reconnects:  s.state.Recoveries.Load(),
		GivenBack:   s.replier.givenBack.Load(),
		Expired:     s.replier.expired.Load(),
		NoAddress:   s.noAddress.Load(),
		Refused:     s.refused.Load(),
		Undelivered: s.replier.undelivered.Load(),
	}
}
