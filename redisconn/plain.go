package redisconn

import (
	"context"
	"time"

	"github.com/redis/go-redis/v9"
)

// noteScripts notes that Redis runs no scripts, if what it refused worked without.
func (l *lane) noteScripts(groups []*group) {
	for _, g := range groups {
		if g.cmd.Err() == nil {
			l.noScripts.Store(time.Now().Add(scriptTime).UnixNano())
		}
	}
}

// split returns the groups to be pushed without a script, and the others.
func (l *lane) split(groups []*group) (plain, others []*group) {
	until := l.noScripts.Load()
	if until == 0 || time.Now().UnixNano() > until {
		return nil, groups
	}
	for _, g := range groups {
		if l.canBePlain(g) {
			plain = append(plain, g)
		} else {
			others = append(others, g)
		}
	}
	return plain, others
}

// canBePlain reports whether a group that is pushed by a script can be pushed
// without. One that settles requests can't.
func (l *lane) canBePlain(g *group) bool {
	return l.hasScript(g) && (g.kind == pushReply || g.kind == pushWake) && !l.byScript
}

// pushPlain does without a script what replyScript does: for a moment a new list
// may be there without its expiry, or with another's entry in it.
func (l *lane) pushPlain(groups []*group) {
	l.pipe(func(pipeline redis.Pipeliner) {
		for _, g := range groups {
			for _, p := range g.pushes {
				if p.again {
					process(pipeline, "lrem", g.list, 0, p.body)
				}
			}
			g.ttl = process(pipeline, "pttl", g.list)
			g.cmd = process(pipeline, appendAll([]any{"rpush", g.list}, g.pushes)...)
		}
	})
	l.pipe(func(pipeline redis.Pipeliner) {
		for _, g := range groups {
			length, err := g.cmd.Int64()
			ttl, refused := g.ttl.Int64()
			if err == nil && (length == int64(len(g.pushes)) || refused == nil && ttl >= 0) {
				g.expire = l.expireCmd(g.list)
				_ = pipeline.Process(context.Background(), g.expire)
			}
		}
	})
}

// pipe sends the commands that add adds, in one go.
func (r *replier) pipe(add func(redis.Pipeliner)) {
	ctx, cancel := context.WithTimeout(context.Background(), sendPatience)
	defer cancel()
	pipeline := r.rdb.Pipeline()
	add(pipeline)
	if pipeline.Len() > 0 {
		_, _ = pipeline.Exec(ctx) // each command has its own error
	}
}

func process(pipeline redis.Pipeliner, args ...any) once {
	cmd := newOnce(context.Background(), args...)
	_ = pipeline.Process(context.Background(), cmd)
	return cmd
}

func appendAll(args []any, pushes []push) []any {
	for _, p := range pushes {
		args = append(args, p.body)
	}
	return args
}
