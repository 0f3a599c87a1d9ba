package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	// maxLoop is the most a best loop sends, or a client takes, in one command.
	maxLoop = 256

	// maxRunning is how many requests a best loop runs at once: as many as redisconn.
	maxRunning = 64
)

// redisBest is the best that one writes by hand for this one method: on either
// end a writer that sends all that waits in one go, and pops that take all that
// is there; on the server each request on a goroutine of its own, and so many at once as
// redisconn runs.
func redisBest(env *environment, t *target) error {
	p, err := newRedisPair(env, t, 0)
	if err != nil {
		return err
	}
	ctx := context.Background()
	s := &bestServer{
		rdb: p.there, queue: p.queue,
		places:  make(chan struct{}, maxRunning),
		answers: make(chan bestAnswer, maxRunning),
	}
	t.start(s.write, func() { close(s.answers) })
	t.start(s.fetch, func() { p.here.LPush(ctx, p.queue, "") })
	c := &bestClient{
		rdb: p.here, queue: p.queue, list: "benchmarks:" + rand.Text(),
		requests: make(chan []byte, maxLoop),
		waiting:  make(map[string]chan loopResponse),
	}
	c.ctx, c.end = context.WithCancel(env.ctx)
	t.onClose(c.end)
	t.start(c.write, func() { close(c.requests) })
	t.start(c.read, func() { p.here.RPush(ctx, c.list, "") })
	t.call = func(int) error { return c.call() }
	return nil
}

// A bestClient has many calls under way on one reply list.
type bestClient struct {
	rdb         *redis.Client
	queue, list string
	seq         atomic.Int64
	requests    chan []byte
	ctx         context.Context // done when no more answers come
	end         func()

	mu      sync.Mutex // protects following
	waiting map[string]chan loopResponse
}

func (c *bestClient) call() error {
	id := c.list + strconv.FormatInt(c.seq.Add(1), 10)
	text, err := newLoopRequest(id, c.list)
	if err != nil {
		return err
	}
	response := make(chan loopResponse, 1)
	c.mu.Lock()
	c.waiting[id] = response
	c.mu.Unlock()
	c.requests <- text
	select {
	case r := <-response:
		return r.check()
	case <-c.ctx.Done():
		return context.Cause(c.ctx)
	}
}

// write sends all requests that wait, in one push.
func (c *bestClient) write() {
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

// read takes all answers that are there, until it finds an empty text.
func (c *bestClient) read() {
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

// hand gives an answer to its caller.
func (c *bestClient) hand(text string) {
	var r loopResponse
	if err := json.Unmarshal([]byte(text), &r); err != nil {
		return
	}
	c.mu.Lock()
	response := c.waiting[r.ID]
	delete(c.waiting, r.ID)
	c.mu.Unlock()
	if response != nil {
		response <- r
	}
}

// A bestServer serves as many requests at once as it has places.
type bestServer struct {
	rdb     *redis.Client
	queue   string
	places  chan struct{} // holds one for each request not yet answered
	answers chan bestAnswer
}

type bestAnswer struct {
	list string
	text []byte
}

// fetch takes requests until it finds an empty text.
func (s *bestServer) fetch() {
	var running sync.WaitGroup
	defer running.Wait()
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
			running.Go(func() { s.answer(text) })
		}
	}
}

// takePlaces waits for a place and takes all there are.
func (s *bestServer) takePlaces() int {
	s.places <- struct{}{}
	for n := 1; ; n++ {
		select {
		case s.places <- struct{}{}:
		default:
			return n
		}
	}
}

func (s *bestServer) freePlaces(n int) {
	for range n {
		<-s.places
	}
}

func (s *bestServer) answer(text string) {
	request, answer, err := answerLoop([]byte(text))
	if err != nil {
		s.freePlaces(1)
		return
	}
	s.answers <- bestAnswer{request.ReplyTo, answer}
}

// write sends all answers that wait, with one push and one expiry for each list.
func (s *bestServer) write() {
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

// drain takes what waits in a channel, at most n. It first lets those who are
// about to send do so.
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
