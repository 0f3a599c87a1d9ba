package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/redisconn"
)

func redisRows() []row {
	rows := []row{
		timeRow("time per call vs naive loop", atMost(1.1), redisOurs.with(1), theirs(redisNaive, 1)),
		speedRow("calls/s vs naive loop", atLeast(4), redisOurs.with(64), theirs(redisNaive, 64)),
		speedRow("calls/s vs best loop", atLeast(0.9), redisOurs.with(64), theirs(redisBest, 64)),
		speedRow("calls/s vs best loop", atLeast(0.9), redisOurs.with(512), theirs(redisBest, 512)),
		timeRow("time per call vs at most once", atMost(1.35), redisAtLeastOnce.with(1), redisOurs.with(1)),
		timeRow("time per call vs at most once", atMost(1.5), redisTenIdle.with(1), redisOurs.with(1)),
		speedRow("calls/s vs at most once", atLeast(0.8), redisAtLeastOnce.with(64), redisOurs.with(64)),
	}
	for _, n := range []at{{64, 1.7}, {512, 3}} {
		rows = append(rows, timeRow("time per call vs wire floor", atMost(n.limit), redisOurs.with(n.callers), theirs(redisFloor, n.callers)))
	}
	for _, n := range []at{{1, 0.87}, {8, 1}, {64, 1.3}, {512, 1.2}, {4096, 1.2}} {
		rows = append(rows, speedRow("calls/s vs NATS micro", atLeast(n.limit), redisOurs.with(n.callers), natsMicro.with(n.callers)))
	}
	return append(rows,
		timeRow("time per call vs wire floor", bound{}, redisLoop.with(64), theirs(redisFloor, 64)),
		speedRow("calls/s vs NATS micro", bound{}, redisLoop.with(8), natsMicro.with(8)),
		speedRow("calls/s vs NATS micro", bound{}, transport{"Redis, the wire floor", redisFloor}.with(8), natsMicro.with(8)),
	)
}

var (
	redisLoop        = transport{"Redis, the best loop", redisBest}
	redisOurs        = transport{"Redis", openRedisOurs(asItIs, 1, nil)}
	redisBatch       = transport{"Redis with Batch", openRedisOurs(batch, 1, nil)}
	redisAtLeastOnce = transport{"Redis at least once", openRedisOurs(asItIs, 1, atLeastOnce)}
	redisTenIdle     = transport{"Redis at least once, ten more servers", openRedisOurs(asItIs, 11, atLeastOnce)}

	atLeastOnce = &redisconn.ListenOptions{Guarantee: jsonrpc2.AtLeastOnce}
)

// A redisPair is a queue of its own, and a Redis client for each end, as if the ends were on
// two machines.
type redisPair struct {
	here, there *redis.Client
	queue       string
}

// newRedisPair opens a pair. Each client has a pool of so many connections; 0 stands for
// go-redis's default.
func newRedisPair(env *environment, t *target, pool int) (*redisPair, error) {
	url, err := env.redisURL()
	if err != nil {
		return nil, err
	}
	opts, err := redis.ParseURL(url)
	if err != nil {
		return nil, err
	}
	opts.PoolSize = pool
	p := &redisPair{redis.NewClient(opts), redis.NewClient(opts), "benchmarks:" + rand.Text()}
	t.onClose(func() {
		_ = p.here.Del(context.Background(), p.queue).Err()
		_ = p.here.Close()
		_ = p.there.Close()
	})
	t.conns = func() int { return int(p.here.PoolStats().TotalConns + p.there.PoolStats().TotalConns) }
	return p, p.here.Ping(env.ctx).Err()
}

// openRedisOurs returns an opener of a client of ours and so many servers. around wraps the
// client's Conn.
func openRedisOurs(around func(jsonrpc2.ClientConn) jsonrpc2.ClientConn, servers int, opts *redisconn.ListenOptions) opener {
	return func(env *environment, t *target) error {
		p, err := newRedisPair(env, t, 0)
		if err != nil {
			return err
		}
		server, err := newServer()
		if err != nil {
			return err
		}
		here, err := redisconn.Dial(p.here, p.queue, nil)
		if err != nil {
			return err
		}
		for range servers {
			there, err := redisconn.Listen(p.there, p.queue, opts)
			if err != nil {
				return err
			}
			serveOurs(t, server, there)
		}
		t.useClient(jsonrpc2.NewClient(around(here), nil))
		return nil
	}
}

// The messages of the loops.
type (
	loopRequest struct {
		Version string     `json:"jsonrpc"`
		ID      string     `json:"id"`
		Method  string     `json:"method"`
		Params  loopParams `json:"params"`
		ReplyTo string     `json:"reply_to,omitempty"`
	}
	loopParams   struct{ A, B float64 }
	loopResponse struct {
		Version string          `json:"jsonrpc"`
		ID      string          `json:"id"`
		Result  float64         `json:"result"`
		Error   json.RawMessage `json:"error,omitempty"`
	}
)

// newLoopRequest returns the request of one Add.
func newLoopRequest(id, replyTo string) ([]byte, error) {
	return json.Marshal(loopRequest{"2.0", id, "Calc.Add", loopParams{1, 5.1}, replyTo})
}

// check returns an error unless the response holds the sum.
func (r *loopResponse) check() error {
	if r.Error != nil {
		return fmt.Errorf("answered with %s", r.Error)
	}
	return checkSum(r.Result)
}

// answerLoop decodes a request, runs it, and returns the request and its answer.
func answerLoop(text []byte) (request loopRequest, answer []byte, err error) {
	if err := json.Unmarshal(text, &request); err != nil {
		return request, nil, err
	}
	if request.Method != "Calc.Add" {
		return request, nil, fmt.Errorf("no method %q", request.Method)
	}
	sum := request.Params.A + request.Params.B
	answer, err = json.Marshal(loopResponse{Version: "2.0", ID: request.ID, Result: sum})
	return request, answer, err
}

const loopReplyTTL = 30 * time.Second

// redisNaive is a loop as one writes it first. Each caller pushes and pops on a connection of
// the pool, with a reply list for each call. There are as many servers. Each pops a request,
// and then pushes the answer and sets the expiry in one pipeline.
func redisNaive(env *environment, t *target) error {
	p, err := newRedisPair(env, t, t.callers+1)
	if err != nil {
		return err
	}
	t.start(func() {
		var servers sync.WaitGroup
		for range t.callers {
			servers.Go(p.serveNaively)
		}
		servers.Wait()
	}, func() {
		for range t.callers {
			p.here.LPush(context.Background(), p.queue, "")
		}
	})
	t.call = p.callNaively
	return nil
}

// serveNaively serves until it pops an empty text.
func (p *redisPair) serveNaively() {
	ctx := context.Background()
	for {
		popped, err := p.there.BRPop(ctx, time.Minute, p.queue).Result()
		if err == redis.Nil {
			continue
		}
		if err != nil || popped[1] == "" {
			return
		}
		request, answer, err := answerLoop([]byte(popped[1]))
		if err != nil {
			return
		}
		pipeline := p.there.Pipeline()
		pipeline.RPush(ctx, request.ID, answer)
		pipeline.PExpire(ctx, request.ID, loopReplyTTL)
		if _, err := pipeline.Exec(ctx); err != nil {
			return
		}
	}
}

func (p *redisPair) callNaively(int) error {
	ctx, id := context.Background(), rand.Text()
	text, err := newLoopRequest(id, "")
	if err != nil {
		return err
	}
	if err := p.here.LPush(ctx, p.queue, text).Err(); err != nil {
		return err
	}
	popped, err := p.here.BRPop(ctx, loopReplyTTL, id).Result()
	if err != nil {
		return err
	}
	var response loopResponse
	if err := json.Unmarshal([]byte(popped[1]), &response); err != nil {
		return err
	}
	return response.check()
}
