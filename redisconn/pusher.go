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

// push pushes groups. The results are in the commands of each group. Some groups need a script:
// push calls it by its hash, then by its text if Redis has not seen it, and replaces it by plain
// commands if Redis runs no scripts.
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
		return appendBodies(append(make([]any, 0, len(g.pushes)+2), "rpush", g.list), g.pushes, false)
	}
	args := append(make([]any, 0, len(g.pushes)+2), p.ttl.Milliseconds())
	again := appendBodies(nil, g.pushes, true)
	args = append(append(args, len(again)), again...)
	return replyScript.args(bySHA, []string{g.list}, appendBodies(args, g.pushes, false))
}

// letExpire reports whether the push of a group, which worked, also set the expiry of its list.
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

// replyScript pushes answers. It sets the expiry of the list if this push has created the list
// or the list expires anyway: a reply address may name the list of somebody else. A list that
// is a reply list by its name needs no script, see group. ARGV are the time to live, how many of
// the answers may have arrived before, then the answers, these first: the script removes them
// from the list before it pushes all. It returns 1 if it has set the expiry, else 0.
//
// The script leaves a key of another type as it is. pcall reports that as plain WRONGTYPE;
// before Redis 7.0 call would wrap the error. pcall also lets the script go on if the user
// has no right to PTTL or PEXPIRE: if it failed after the push, the answer would be pushed
// twice.
var replyScript = newScript(`
for i = 1, tonumber(ARGV[2]) do redis.pcall('LREM', KEYS[1], 0, ARGV[2+i]) end
local ttl = redis.pcall('PTTL', KEYS[1])
local pushed = redis.pcall('RPUSH', KEYS[1], unpack(ARGV, 3))
if type(pushed) == 'table' then return pushed end
if pushed > #ARGV - 2 and (type(ttl) == 'table' or ttl == -1) then return 0 end
local set = redis.pcall('PEXPIRE', KEYS[1], ARGV[1])
if type(set) == 'table' then set = redis.pcall('EXPIRE', KEYS[1], math.ceil(ARGV[1] / 1000)) end
return type(set) == 'table' and 0 or set`)
