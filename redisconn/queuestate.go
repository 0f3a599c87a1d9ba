package redisconn

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/redisconn/internal/hold"
)

// A QueueState is what Redis knows of a queue at one time, as Look returns it. Redis does not
// know the requests that servers with AtMostOnce have.
type QueueState struct {
	Waiting int `json:"waiting"` // requests that no server has taken; batches count once
	Held    int `json:"held"`    // requests that servers with AtLeastOnce have
	Dead    int `json:"dead"`    // requests in the DeadList
	Servers int `json:"servers"` // that have announced themselves, see Servers

	// Deadline is that of the request that waits at the head of the queue, by the clock of
	// Redis. It is zero if none waits, or if it has none.
	Deadline time.Time `json:"deadline,omitzero"`
}

// Look returns the state of a queue. It changes nothing. It costs Redis the same however many
// requests wait: some quick commands, and for each server with AtLeastOnce a command that lists
// what that server has. It reads the whole request at the head of the queue, for its deadline.
// As with Servers, the error says that Redis did not answer, refused a command, or does not tell
// its time.
func Look(ctx context.Context, rdb redis.UniversalClient, queue string) (state QueueState, err error) {
	if err := checkQueue(rdb, queue); err != nil {
		return state, err
	}
	state, err = look(ctx, rdb, queue)
	if err != nil {
		return QueueState{}, fmt.Errorf("redisconn: a look at queue %q at %s: %w", queue, addressOf(rdb), err)
	}
	return state, nil
}

// look asks in two round trips after the time: the second one needs the names of the servers.
func look(ctx context.Context, rdb redis.UniversalClient, queue string) (state QueueState, err error) {
	now, err := brokerTime(ctx, rdb, queue)
	switch {
	case err != nil:
		return state, err
	case now.IsZero():
		return state, errNoTime
	}
	keys := hold.Keys{Queue: queue, Own: ownPrefix(queue)}
	pipeline := rdb.Pipeline()
	var lengths []*redis.IntCmd
	for _, key := range keys.Waiting() {
		lengths = append(lengths, pipeline.LLen(ctx, key))
	}
	dead := pipeline.LLen(ctx, keys.Dead())
	head := pipeline.LIndex(ctx, queue, -1)
	workers := pipeline.HKeys(ctx, keys.Workers())
	servers := pipeline.ZCount(ctx, serversKey(queue), lastingFrom(now.UnixMilli()), "+inf")
	if err := execute(ctx, pipeline); err != nil {
		return state, err
	}
	for _, length := range lengths {
		state.Waiting += int(length.Val())
	}
	state.Dead = int(dead.Val())
	state.Servers = int(servers.Val())
	state.Deadline = deadlineOf(head.Val())
	state.Held, err = countHeld(ctx, rdb, keys, workers.Val())
	return state, err
}

// execute runs the commands of a pipeline, and returns the error of the first one that failed. A
// command that has found nothing has not failed.
func execute(ctx context.Context, pipeline redis.Pipeliner) error {
	commands, err := pipeline.Exec(ctx)
	if err == nil || len(commands) == 0 {
		return err
	}
	for _, command := range commands {
		if err := command.Err(); err != nil && !errors.Is(err, redis.Nil) {
			return err
		}
	}
	return nil
}

// deadlineOf returns the deadline that a request carries, zero if it carries none.
func deadlineOf(request string) time.Time {
	var h jsonrpc2.Header
	h.Scan([]byte(request))
	if at := h.Deadline(); at > 0 {
		return time.UnixMilli(at)
	}
	return time.Time{}
}

// countHeld counts the requests that workers hold. workers are the fields of keys.Workers.
func countHeld(ctx context.Context, rdb redis.UniversalClient, keys hold.Keys, workers []string) (held int, err error) {
	if len(workers) == 0 {
		return 0, nil
	}
	pipeline := rdb.Pipeline()
	var fields []*redis.StringSliceCmd
	for _, worker := range workers {
		fields = append(fields, pipeline.HKeys(ctx, keys.HeldBy(worker)))
	}
	if err := execute(ctx, pipeline); err != nil {
		return 0, err
	}
	for _, each := range fields {
		held += hold.CountHeld(each.Val())
	}
	return held, nil
}
