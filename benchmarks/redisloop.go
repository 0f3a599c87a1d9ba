package main

import (
	"context"
	"crypto/rand"
	"runtime"
	"time"

	"github.com/redis/go-redis/v9"
)

// maxLoop is how many messages a loop sends, or a client takes, by one command at most.
const maxLoop = 256

// A loopClient is the calling end of a loop that sends and takes all there is at once. One
// goroutine pushes all requests that wait, another pops all answers that are there.
type loopClient struct {
	rdb         *redis.Client
	queue, list string
	requests    chan []byte
	hand        func(answer string)
	ctx         context.Context // done when no more answers come
	end         func()
}

func newLoopClient(ctx context.Context, p *redisPair) *loopClient {
	c := &loopClient{rdb: p.here, queue: p.queue, list: "benchmarks:" + rand.Text(), requests: make(chan []byte, maxLoop)}
	c.ctx, c.end = context.WithCancel(ctx)
	return c
}

// start makes the client send and take until the target is closed.
func (c *loopClient) start(t *target) {
	t.onClose(c.end)
	t.start(c.write, func() { close(c.requests) })
	t.start(c.read, func() { c.rdb.RPush(context.Background(), c.list, "") })
}

// write sends all requests that wait by one push, again and again.
func (c *loopClient) write() {
	for text := range c.requests {
		texts := []any{text}
		for _, more := range drain(c.requests, maxLoop-1) {
			texts = append(texts, more)
		}
		if err := c.rdb.LPush(context.Background(), c.queue, texts...).Err(); err != nil {
			c.end()
		}
	}
}

// read takes all answers that are there, again and again, until it finds an empty text.
func (c *loopClient) read() {
	defer c.end()
	for {
		_, texts, err := c.rdb.BLMPop(context.Background(), time.Minute, "left", maxLoop, c.list).Result()
		if err != nil && err != redis.Nil {
			return
		}
		for _, text := range texts {
			if text == "" {
				return
			}
			c.hand(text)
		}
	}
}

// A loopServer is the serving end of such a loop. It takes as many requests at once as it has
// places.
type loopServer struct {
	rdb     *redis.Client
	queue   string
	serve   func(request string) // answers a request, perhaps later
	places  chan struct{}        // holds one for each request not yet answered
	answers chan loopAnswer
}

type loopAnswer struct {
	list string
	text []byte
}

func newLoopServer(p *redisPair, places int) *loopServer {
	return &loopServer{
		rdb: p.there, queue: p.queue,
		places:  make(chan struct{}, places),
		answers: make(chan loopAnswer, places),
	}
}

// start makes the server take requests and send answers until the target is closed. The server
// then calls wait, which returns when no request runs any more.
func (s *loopServer) start(t *target, wait func()) {
	t.start(s.write, func() { close(s.answers) })
	t.start(func() {
		s.fetch()
		wait()
	}, func() { s.rdb.LPush(context.Background(), s.queue, "") })
}

// fetch takes requests until it finds an empty text.
func (s *loopServer) fetch() {
	for {
		n := s.takePlaces()
		_, texts, err := s.rdb.BLMPop(context.Background(), time.Minute, "right", int64(n), s.queue).Result()
		if err != nil && err != redis.Nil {
			return
		}
		s.freePlaces(n - len(texts))
		for _, text := range texts {
			if text == "" {
				return
			}
			s.serve(text)
		}
	}
}

// takePlaces waits for a place, takes all that are free, and returns how many.
func (s *loopServer) takePlaces() int {
	s.places <- struct{}{}
	for n := 1; ; n++ {
		select {
		case s.places <- struct{}{}:
		default:
			return n
		}
	}
}

func (s *loopServer) freePlaces(n int) {
	for range n {
		<-s.places
	}
}

// write sends all answers that wait in one pipeline, with one push and one expiry for each
// list.
func (s *loopServer) write() {
	ctx := context.Background()
	for answer := range s.answers {
		answers := append(drain(s.answers, maxLoop-1), answer)
		lists := make(map[string][]any)
		for _, a := range answers {
			lists[a.list] = append(lists[a.list], a.text)
		}
		pipeline := s.rdb.Pipeline()
		for list, texts := range lists {
			pipeline.RPush(ctx, list, texts...)
			pipeline.PExpire(ctx, list, loopReplyTTL)
		}
		_, _ = pipeline.Exec(ctx) // the client sees by itself that Redis is gone
		s.freePlaces(len(answers))
	}
}

// drain takes what waits in a channel, at most n items. It yields first, so that goroutines
// that are about to send can do so.
func drain[T any](from <-chan T, n int) (items []T) {
	runtime.Gosched()
	for range n {
		select {
		case item, ok := <-from:
			if !ok {
				return items
			}
			items = append(items, item)
		default:
			return items
		}
	}
	return items
}
