package main

import (
	"context"
	"encoding/json"
	"strconv"
	"sync"
	"sync/atomic"
)

// redisBest is the best that one can write by hand for this one method. Its loops send and take
// all there is at once. The server runs each request on a goroutine of its own, as many at once
// as redisconn runs.
func redisBest(env *environment, t *target) error {
	p, err := newRedisPair(env, t, 0)
	if err != nil {
		return err
	}
	s := &bestServer{loopServer: newLoopServer(p, redisPrefetch)}
	s.serve = func(request string) { s.running.Go(func() { s.answer(request) }) }
	s.start(t, s.running.Wait)
	c := &bestClient{loopClient: newLoopClient(env.ctx, p), waiting: make(map[string]chan loopResponse)}
	c.hand = c.give
	c.start(t)
	t.call = func(int) error { return c.call() }
	return nil
}

// A bestClient has many calls under way on one reply list.
type bestClient struct {
	*loopClient
	seq atomic.Int64

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

// give hands an answer to its caller.
func (c *bestClient) give(text string) {
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

// A bestServer runs each request on a goroutine of its own.
type bestServer struct {
	*loopServer
	running sync.WaitGroup
}

func (s *bestServer) answer(text string) {
	request, answer, err := answerLoop([]byte(text))
	if err != nil {
		s.freePlaces(1)
		return
	}
	s.answers <- loopAnswer{request.ReplyTo, answer}
}
