package main

import (
	"context"
	"regexp"
	"runtime"
	"strconv"

	"github.com/redis/go-redis/v9"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/redisconn"
)

const (
	manyServers = 100
	manyClients = 1000

	// poolOfMany has two connections for each of manyClients, as redisconn advises.
	poolOfMany = 2 * manyClients
)

// idleMemoryRow returns the row that shows what an idle client adds to the heap and to the
// stacks in use. The clients share one redis.Client, and each blocks one of its connections
// in a pop. The buffers of that connection are not counted: they are go-redis's, and as long
// as its options say.
func idleMemoryRow() row {
	return row{
		name:  "Redis, idle client, KiB besides the buffers of its connection",
		bound: atMost(32),
		measure: func(env *environment) (outcome, error) {
			value, err := idleMemory(env)
			return outcome{value: value / 1024, note: strconv.Itoa(manyClients) + " clients"}, err
		},
	}
}

// idleMemory returns the bytes of an idle client.
func idleMemory(env *environment) (float64, error) {
	t := new(target)
	defer t.close()
	p, err := newRedisPair(env, t, poolOfMany)
	if err != nil {
		return 0, err
	}
	if err := p.serveBy(t, 1); err != nil {
		return 0, err
	}
	before := inUse() - buffers(p.here)
	if err := p.callFrom(t, manyClients); err != nil {
		return 0, err
	}
	after := inUse() - buffers(p.here)
	return float64(after-before) / manyClients, nil
}

// inUse returns the bytes of the heap and of the stacks.
func inUse() int64 {
	heap := liveHeap()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return heap + int64(m.StackInuse)
}

// buffers returns the bytes in the buffers of a client's connections.
func buffers(rdb *redis.Client) int64 {
	opts, stats := rdb.Options(), rdb.PoolStats()
	bytes := int64(stats.TotalConns) * int64(opts.ReadBufferSize+opts.WriteBufferSize)
	if stats.PipelineStats != nil {
		bytes += int64(stats.PipelineStats.TotalConns) * 2 * redis.DefaultPipelineBufferSize
	}
	return bytes
}

// serveBy opens servers of the queue.
func (p *redisPair) serveBy(t *target, servers int) error {
	service, err := newServer()
	if err != nil {
		return err
	}
	for range servers {
		conn, err := redisconn.Listen(p.there, p.queue, nil)
		if err != nil {
			return err
		}
		serveOurs(t, service, conn)
	}
	return nil
}

// callFrom opens clients of the queue, and makes one call with each.
func (p *redisPair) callFrom(t *target, clients int) error {
	for range clients {
		conn, err := redisconn.Dial(p.here, p.queue, nil)
		if err != nil {
			return err
		}
		t.useClient(jsonrpc2.NewClient(conn, nil))
		if err := t.call(0); err != nil {
			return err
		}
	}
	return nil
}

// idleCommands returns how many commands Redis runs while all is idle.
func idleCommands(env *environment) (int, error) {
	opts, err := redis.ParseURL(env.redis)
	if err != nil {
		return 0, err
	}
	rdb := redis.NewClient(opts)
	defer rdb.Close()
	before, err := commands(env.ctx, rdb)
	if err != nil {
		return 0, err
	}
	pause(env.ctx, env.effort.idle)
	after, err := commands(env.ctx, rdb)
	own := 1 // the INFO that returned before
	return after - before - own, err
}

// commands returns how many commands a Redis has run.
func commands(ctx context.Context, rdb *redis.Client) (n int, err error) {
	info, err := rdb.Info(ctx, "commandstats").Result()
	if err != nil {
		return 0, err
	}
	for _, match := range regexp.MustCompile(`:calls=(\d+)`).FindAllStringSubmatch(info, -1) {
		calls, err := strconv.Atoi(match[1])
		if err != nil {
			return 0, err
		}
		n += calls
	}
	return n, nil
}
