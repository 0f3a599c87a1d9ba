package redisconn

import (
	"context"

	"github.com/redis/go-redis/v9"
)

// pipe sends the commands that add adds to a pipeline, and returns when all have results. It
// waits sendPatience for a connection.
func pipe(rdb redis.UniversalClient, add func(redis.Pipeliner)) {
	ctx, cancel := context.WithTimeout(context.Background(), sendPatience)
	defer cancel()
	pipeline := rdb.Pipeline()
	add(pipeline)
	if pipeline.Len() > 0 {
		_, _ = pipeline.Exec(ctx) // each command has its own error
	}
}

// process adds a command to a pipeline.
func process(pipeline redis.Pipeliner, args ...any) unrepeated {
	cmd := newUnrepeated(context.Background(), args...)
	_ = pipeline.Process(context.Background(), cmd)
	return cmd
}

// addWake adds the commands that end a pop which is blocked on a list: it pops an empty value.
func addWake(pipeline redis.Pipeliner, list string) {
	process(pipeline, "rpush", list, "")
	process(pipeline, "pexpire", list, wakeTTL.Milliseconds())
}
