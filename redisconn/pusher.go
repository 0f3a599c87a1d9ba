package redisconn

import (
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/micromessaging/jsonrpc2/redisconn/internal/hold"
)

// A pusher pushes groups onto their lists, and sets the expiry of reply lists.
type pusher struct {
	rdb     redis.UniversalClient
	ttl     time.Duration // of a reply list
	settler settler
	expiry  *expiry
	plain   *plainPusher
}

func newPusher(s *shared, settler settler) *pusher {
	expiry := &expiry{rdb: s.rdb, ttl: s.opts.ReplyTTL, log: s.state.Logger}
	return &pusher{
		rdb:     s.rdb,
		ttl:     s.opts.ReplyTTL,
		settler: settler,
		expiry:  expiry,
		plain:   &plainPusher{rdb: s.rdb, expiry: expiry},
	}
}

// push pushes groups. Some need a script: push calls it by its hash, by its text if Redis
// has not seen it, and replaces it by plain commands if Redis runs no scripts. The result
// is in the commands of each group.
func (p *pusher) push(groups []*group) {
	if plain, scripted := p.plain.split(groups); len(plain) > 0 {
		p.plain.push(plain)
		groups = scripted
	}
	p.exec(groups, true)
	var unseen, refused []*group
	for _, g := range groups {
		if isRefusal(g.cmd.Err(), "NOSCRIPT") {
			unseen = append(unseen, g)
		}
	}
	p.exec(unseen, false)
	for _, g := range groups {
		if err := g.cmd.Err(); g.canBePlain() && faultOf(err) == listFault && !isListsFault(err) {
			refused = append(refused, g)
		}
	}
	if len(refused) > 0 {
		p.plain.push(refused)
		p.plain.note(refused)
	}
}

// exec sends the commands of all groups in one pipeline.
func (p *pusher) exec(groups []*group, bySHA bool) {
	if len(groups) == 0 {
		return
	}
	pipe(p.rdb, func(pipeline redis.Pipeliner) {
		for _, g := range groups {
			g.cmd = process(pipeline, p.command(g, bySHA)...)
			if g.expires {
				g.expire = process(pipeline, p.expiry.command(g.list)...)
			}
		}
	})
}

// command returns the command that makes a group's pushes.
func (p *pusher) command(g *group, bySHA bool) []any {
	switch {
	case g.kind == pushSettle:
		return p.settler.dropping(g.pushes)
	case g.settles:
		c := p.settler.settling(g.list, g.pushes)
		return scriptOf(c).args(bySHA, c.Keys, c.Args)
	case !g.hasScript():
		return appendBodies([]any{"rpush", g.list}, g.pushes, false)
	}
	args := append(make([]any, 0, len(g.pushes)+2), p.ttl.Milliseconds())
	again := appendBodies(nil, g.pushes, true)
	args = append(append(args, len(again)), again...)
	return replyScript.args(bySHA, []string{g.list}, appendBodies(args, g.pushes, false))
}

// letExpire reports whether the push of a group set the expiry of its list.
func (p *pusher) letExpire(g *group) bool {
	switch {
	case g.expire.Cmd != nil:
		return g.expire.Err() == nil
	case g.settles:
		_, expires := hold.NotHeld(g.cmd.Val())
		return expires
	}
	set, _ := g.cmd.Int64()
	return set == 1
}
