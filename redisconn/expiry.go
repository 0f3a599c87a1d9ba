package redisconn

import (
	"context"
	"log/slog"
	"time"

	"github.com/redis/go-redis/v9"
)

// expireCmd returns the command that lets a reply list expire.
func (r *replier) expireCmd(list string) once {
	if r.bySeconds.Load() {
		return r.expireBySeconds(list)
	}
	return newOnce(context.Background(), "pexpire", list, r.opts.ReplyTTL.Milliseconds())
}

func (r *replier) expireBySeconds(list string) once {
	seconds := (r.opts.ReplyTTL + time.Second - 1) / time.Second
	return newOnce(context.Background(), "expire", list, int64(seconds))
}

// noteExpiry sees to a list that Redis refused to let expire. It logs when Redis
// begins to refuse that, and when it does so no more.
func (l *lane) noteExpiry(g *group) {
	if g.expire.Cmd == nil {
		return
	}
	err := g.expire.Err()
	switch log := l.state.Logger; {
	case err == nil && l.lasting.Load() && l.lasting.Swap(false):
		log.Info("reply lists expire again")
	case !isRefused(err) || l.lasting.Load():
	case !l.bySeconds.Swap(false) && l.letsExpire(g.list):
		l.bySeconds.Store(true)
	case !l.lasting.Swap(true):
		log.Error("reply lists do not expire: answers that nobody takes stay for ever", slog.Any("error", err))
	}
}

// letsExpire reports whether Redis lets a list expire by EXPIRE.
func (l *lane) letsExpire(list string) bool {
	cmd := l.expireBySeconds(list)
	l.pipe(func(pipeline redis.Pipeliner) { _ = pipeline.Process(context.Background(), cmd) })
	return cmd.Err() == nil
}
