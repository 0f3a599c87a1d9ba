package main

import (
	"context"
	"encoding/json"
)

// redisFloor is the wire alone: the loops of redisBest carry messages that are made once.
// Nothing is encoded, decoded or looked up, and no request has a goroutine of its own. All
// answers are the same, so the next one is for the caller that has waited longest. What
// jsonrpc2 and net/rpc do for a call is not in it.
func redisFloor(env *environment, t *target) error {
	p, err := newRedisPair(env, t, 0)
	if err != nil {
		return err
	}
	c := newLoopClient(env.ctx, p)
	request, err := newLoopRequest(c.list, c.list) // as long as those of redisBest
	if err != nil {
		return err
	}
	answer, err := json.Marshal(loopResponse{Version: "2.0", ID: c.list, Result: 6.1})
	if err != nil {
		return err
	}
	s := newLoopServer(p, maxLoop)
	s.serve = func(string) { s.answers <- loopAnswer{c.list, answer} }
	s.start(t, func() {})
	answered := make(chan struct{}, maxLoop)
	c.hand = func(string) {
		select {
		case answered <- struct{}{}:
		case <-c.ctx.Done(): // and no caller waits any more
		}
	}
	c.start(t)
	t.call = func(int) error {
		c.requests <- request
		select {
		case <-answered:
			return nil
		case <-c.ctx.Done():
			return context.Cause(c.ctx)
		}
	}
	return nil
}
