package redisconn

import (
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

// An expiry makes the commands by which reply lists expire, and handles their refusal. Any
// goroutine may call its methods.
type expiry struct {
	rdb redis.UniversalClient
	ttl time.Duration
	log *slog.Logger

	refused   atomic.Bool // Redis refuses both PEXPIRE and EXPIRE
	bySeconds atomic.Bool // Redis refuses PEXPIRE, and EXPIRE works
}

// command returns the command that sets the expiry of a reply list.
func (e *expiry) command(list string) []any {
	if e.bySeconds.Load() {
		return e.commandBySeconds(list)
	}
	return []any{"pexpire", list, e.ttl.Milliseconds()}
}

// commandBySeconds is command for a Redis without PEXPIRE. It rounds up.
func (e *expiry) commandBySeconds(list string) []any {
	seconds := (e.ttl + time.Second - 1) / time.Second
	return []any{"expire", list, int64(seconds)}
}

// check looks at the result of a group's expiry. If Redis refused PEXPIRE, check tries EXPIRE.
// It logs when Redis begins to refuse both, and when one works again.
func (e *expiry) check(g *group) {
	if g.expire.Cmd == nil {
		return
	}
	switch err := g.expire.Err(); {
	case err == nil && e.refused.Load() && e.refused.Swap(false):
		e.log.Info("reply lists expire again")
	case !isRefused(err) || e.refused.Load(): // nothing new
	case !e.bySeconds.Swap(false) && e.worksBySeconds(g.list):
		e.bySeconds.Store(true)
	case !e.refused.Swap(true):
		e.log.Error("reply lists do not expire: answers that nobody takes stay for ever", slog.Any("error", err))
	}
}

// worksBySeconds sets the expiry of a list by EXPIRE, and reports whether that worked.
func (e *expiry) worksBySeconds(list string) bool {
	var cmd unrepeated
	pipe(e.rdb, func(pipeline redis.Pipeliner) { cmd = process(pipeline, e.commandBySeconds(list)...) })
	return cmd.Err() == nil
}
