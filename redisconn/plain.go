package redisconn

import (
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

// A plainPusher pushes by plain commands what a script pushes otherwise. It is for a Redis
// that runs no scripts. Any goroutine may call its methods.
type plainPusher struct {
	rdb    redis.UniversalClient
	expiry *expiry

	noScripts atomic.Int64 // until when scripts are not tried, in Unix nanoseconds; 0: they are
}

// scriptTime is how long scripts are not tried after Redis has refused to run one.
const scriptTime = time.Minute

// note notes that Redis runs no scripts, if plain commands worked for groups whose scripts it
// refused. If they did not, the fault lies elsewhere.
func (p *plainPusher) note(groups []*group) {
	for _, g := range groups {
		if g.cmd.Err() == nil {
			p.noScripts.Store(time.Now().Add(scriptTime).UnixNano())
		}
	}
}

// split returns the groups to be pushed without a script, and the others.
func (p *plainPusher) split(groups []*group) (plain, others []*group) {
	until := p.noScripts.Load()
	if until == 0 || time.Now().UnixNano() > until {
		return nil, groups
	}
	for _, g := range groups {
		if g.canBePlain() {
			plain = append(plain, g)
		} else {
			others = append(others, g)
		}
	}
	return plain, others
}

// push does by plain commands what replyScript does. Between them a new list has no expiry yet,
// and others may push onto it.
func (p *plainPusher) push(groups []*group) {
	pipe(p.rdb, func(pipeline redis.Pipeliner) {
		for _, g := range groups {
			for _, p := range g.pushes {
				if p.resent {
					process(pipeline, "lrem", g.list, 0, p.body)
				}
			}
			g.ttl = process(pipeline, "pttl", g.list)
			g.cmd = process(pipeline, appendAll([]any{"rpush", g.list}, g.pushes)...)
		}
	})
	pipe(p.rdb, func(pipeline redis.Pipeliner) {
		for _, g := range groups {
			length, err := g.cmd.Int64()
			ttl, refused := g.ttl.Int64()
			if err == nil && (length == int64(len(g.pushes)) || refused == nil && ttl >= 0) {
				g.expire = process(pipeline, p.expiry.command(g.list)...)
			}
		}
	})
}
