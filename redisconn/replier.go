package redisconn

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/micromessaging/jsonrpc2/internal/link"
)

// A replier is a server's one writer: all that waits goes out in one pipeline,
// with one push for each list.
type replier struct {
	rdb     redis.UniversalClient
	server  *server
	out     *link.Outbox[push]
	woke    bool // the wake list may have to be removed
	apart   bool // requests are held on one node and answered on others
	unsent  bool // something was left when the outbox was closed
	lasting bool // Redis won't let reply lists expire

	replies, givenBack, expired, undelivered atomic.Int64
}

// A push is a value on its way to a list.
type push struct {
	kind  pushKind
	list  string
	body  []byte
	token int64     // that its request is held under; 0: it is not
	until time.Time // an answer is tried for so long
	again bool      // it may have got there before

	claimed bool // its request is settled
}

type pushKind int

const (
	pushReply  pushKind = iota
	pushBack            // a request that is given back
	pushWake            // the value that ends a blocked pop
	pushSettle          // none: its request needs no answer, or no other
)

// replyScript pushes answers and lets the list expire: only where this push
// made it or it expires anyway, for a reply address may name somebody else's
// list. A list that is by its name a reply list needs no such care: see group.
// Answers that may have got there before, ARGV[2] of them, are removed
// first. A key of another type is left as it is; pcall has it reported as plain
// WRONGTYPE, where call would wrap it up before Redis 7.0.
var replyScript = newScript(`
for i = 1, tonumber(ARGV[2]) do redis.pcall('LREM', KEYS[1], 0, ARGV[2+i]) end
local ttl = redis.call('PTTL', KEYS[1])
local pushed = redis.pcall('RPUSH', KEYS[1], unpack(ARGV, 3))
if type(pushed) == 'table' then return pushed end
if ttl ~= -1 then redis.call('PEXPIRE', KEYS[1], ARGV[1]) end
return 0`)

// settleScript is replyScript for requests that are held: ARGV are the time to
// live, and a token for each answer. It settles the requests and pushes the
// answers, both or none, but for those that are no longer ours: it returns which
// these are.
var settleScript = newScript(`#!lua flags=allow-oom
local list, wip = KEYS[1], KEYS[2]
local answers, lost = {}, {}
for i = 2, #ARGV, 2 do
  if ARGV[i] == '0' or redis.call('HDEL', wip, ARGV[i]) == 1 then
    answers[#answers+1] = ARGV[i+1]
  else
    lost[#lost+1] = i / 2
  end
end
if #answers == 0 then return lost end
local ttl = redis.call('PTTL', list)
local pushed = redis.pcall('RPUSH', list, unpack(answers))
if type(pushed) == 'table' then return pushed end
if ttl ~= -1 then redis.call('PEXPIRE', list, ARGV[1]) end
return lost`)

// claimScript settles requests whose answers go to other nodes of a Cluster. The
// token stays, with nothing under it, until the answer is there: asked again, it
// is still known whose the request was.
var claimScript = newScript(`#!lua flags=allow-oom
local lost = {}
for i, token in ipairs(ARGV) do
  if redis.call('HEXISTS', KEYS[1], token) == 1 then
    redis.call('HSET', KEYS[1], token, '')
  else
    lost[#lost+1] = i
  end
end
return lost`)

// backScript gives back requests that are held.
var backScript = newScript(`#!lua flags=allow-oom
for _, token in ipairs(ARGV) do
  local request = redis.call('HGET', KEYS[2], token)
  if request and redis.call('HDEL', KEYS[2], token) == 1 then redis.call('RPUSH', KEYS[1], request) end
end
return 0`)

const (
	maxPush       = 1000            // values in one push: a script's stack is limited
	maxReplyPause = 5 * time.Second // between two tries
)

func newReplier(rdb redis.UniversalClient, s *server) *replier {
	_, cluster := rdb.(*redis.ClusterClient)
	return &replier{
		rdb:    rdb,
		server: s,
		out:    link.NewOutbox[push](false), // the places limit it
		apart:  cluster && s.lease != nil,
	}
}

func (r *replier) reply(token int64, list string, body []byte) error {
	until := time.Now().Add(r.server.opts.ReplyTTL)
	err := r.out.Put(push{kind: pushReply, list: list, body: append([]byte(nil), body...), token: token, until: until}, 0)
	if err != nil {
		r.server.places.Free(1)
	}
	return err
}

// settled settles a request that needs no answer, or no other.
func (r *replier) settled(token int64) {
	if token != 0 {
		_ = r.out.Put(push{kind: pushSettle, token: token}, 0) // else it is taken over
	}
}

// giveBack pushes requests, oldest first, onto the end they came from.
func (r *replier) giveBack(requests []delivery) {
	for _, d := range slices.Backward(requests) {
		_ = r.out.Put(push{kind: pushBack, list: r.server.queue, body: []byte(d.body), token: d.token}, 0)
	}
}

func (r *replier) wake() {
	_ = r.out.Put(push{kind: pushWake, list: r.server.wakeList}, 0)
}

// run sends until the outbox is closed and all is sent, or closeGrace is over.
func (r *replier) run() {
	r.finish(r.out.Run(link.Writer[push]{Send: r.send, MaxPause: maxReplyPause, Grace: closeGrace}))
}

// finish tells what could not be sent, and removes the wake list.
func (r *replier) finish(unsent []push) {
	if r.unsent = len(unsent) > 0; r.unsent {
		r.server.state.Logger.Error("closed with messages unsent", slog.Int("messages", len(unsent)))
	}
	if r.woke {
		_ = r.rdb.Process(context.Background(), newOnce(context.Background(), "del", r.server.wakeList))
	}
}

// A group is the pushes that one command makes.
type group struct {
	kind   pushKind
	list   string
	pushes []push
	again  bool // some may have got there before
	cmd    once

	// A list that is by its name a reply list is let expire by a command, in place
	// of a script that looks first whether it may, which takes longer.
	expires bool
	expire  once
}

// send sends all pushes and returns those to send again.
func (r *replier) send(work []push) (failed []push) {
	if r.apart {
		if work, failed = r.claim(work); failed != nil {
			return failed
		}
	}
	groups := r.group(work)
	r.exec(groups, true)
	if missing := withoutScript(groups); len(missing) > 0 {
		r.exec(missing, false)
	}
	failed = work[:0]
	for _, g := range groups {
		failed = append(failed, r.settle(g)...)
	}
	clear(work[len(failed):])
	return failed
}

// group groups what goes to the same list, and drops what took too long.
func (r *replier) group(work []push) []*group {
	now := time.Now()
	var groups []*group
	last := make(map[string]*group)
	for i, p := range work {
		if p.kind == pushReply && now.After(p.until) {
			r.expired.Add(1)
			r.drop(p, fmt.Errorf("redisconn: answer to %q not delivered within %v", p.list, r.server.opts.ReplyTTL))
			continue
		}
		g := last[p.list]
		if g == nil || len(g.pushes) == maxPush {
			g = &group{kind: p.kind, list: p.list, expires: r.expires(p), pushes: make([]push, 0, runLength(work[i:]))}
			last[p.list] = g
			groups = append(groups, g)
		}
		g.pushes = append(g.pushes, p)
		g.again = g.again || p.again
	}
	return groups
}

// runLength returns how many pushes go to the first one's list in a row: all,
// most often.
func runLength(work []push) int {
	n := 1
	for n < min(len(work), maxPush) && work[n].list == work[0].list {
		n++
	}
	return n
}

func (r *replier) expires(p push) bool {
	return p.kind == pushReply && (r.server.lease == nil || r.apart) && strings.HasPrefix(p.list, DefaultReplyPrefix)
}

// exec sends a command for each group, all in one go.
func (r *replier) exec(groups []*group, bySHA bool) {
	ctx, cancel := context.WithTimeout(context.Background(), sendPatience)
	defer cancel()
	pipeline := r.rdb.Pipeline()
	for _, g := range groups {
		g.cmd = newOnce(context.Background(), r.command(g, bySHA)...)
		_ = pipeline.Process(ctx, g.cmd)
		if g.expires {
			g.expire = newOnce(context.Background(), "pexpire", g.list, r.server.opts.ReplyTTL.Milliseconds())
			_ = pipeline.Process(ctx, g.expire)
		}
	}
	_, _ = pipeline.Exec(ctx) // each command has its own error
}

func (r *replier) command(g *group, bySHA bool) []any {
	lease := r.server.lease
	switch {
	case g.kind == pushSettle:
		return appendTokens([]any{"hdel", lease.wip()}, g.pushes)
	case g.kind == pushBack && lease != nil:
		return backScript.args(bySHA, []string{g.list, lease.wip()}, appendTokens(nil, g.pushes))
	case g.kind == pushBack || g.expires && !g.again:
		return appendBodies([]any{"rpush", g.list}, g.pushes, false)
	case g.kind == pushReply && lease != nil && !r.apart:
		args := append(make([]any, 0, 2*len(g.pushes)+1), r.server.opts.ReplyTTL.Milliseconds())
		for _, p := range g.pushes {
			args = append(args, p.token, p.body)
		}
		return settleScript.args(bySHA, []string{g.list, lease.wip()}, args)
	}
	args := append(make([]any, 0, len(g.pushes)+2), r.server.opts.ReplyTTL.Milliseconds())
	again := appendBodies(nil, g.pushes, true)
	args = append(append(args, len(again)), again...)
	return replyScript.args(bySHA, []string{g.list}, appendBodies(args, g.pushes, false))
}

func appendTokens(args []any, pushes []push) []any {
	for _, p := range pushes {
		args = append(args, p.token)
	}
	return args
}

// appendBodies appends the bodies of those pushes that are sent again, or of
// those that are not.
func appendBodies(args []any, pushes []push, again bool) []any {
	for _, p := range pushes {
		if p.again == again {
			args = append(args, p.body)
		}
	}
	return args
}

func withoutScript(groups []*group) (missing []*group) {
	for _, g := range groups {
		if isRefusal(g.cmd.Err(), "NOSCRIPT") {
			missing = append(missing, g)
		}
	}
	return missing
}

// settle sees to what became of a group, and returns what to send again.
func (r *replier) settle(g *group) (failed []push) {
	err := g.cmd.Err()
	r.woke = r.woke || g.kind == pushWake && !certainlyNotRun(err, false)
	if err == nil {
		r.server.state.Worked("answering")
		r.noteExpiry(g)
		switch g.kind {
		case pushReply:
			r.answered(g)
		case pushBack:
			r.givenBack.Add(int64(len(g.pushes)))
		}
		if r.server.lease != nil && !(r.apart && g.kind == pushReply) {
			for _, p := range g.pushes {
				r.server.lease.settled(p.token)
			}
		}
		return nil
	}
	if g.kind == pushReply && isListsFault(err) { // the list's fault, not ours
		r.undelivered.Add(int64(len(g.pushes)))
		for _, p := range g.pushes {
			r.drop(p, fmt.Errorf("redisconn: answer to %q: %w", p.list, err))
		}
		return nil
	}
	impaired(r.server.state, r.rdb, "answering", err)
	switch {
	case g.kind == pushWake && !r.server.isPopping(): // by itself, meanwhile
		return nil
	case certainlyNotRun(err, false):
		return g.pushes
	case g.kind == pushBack && r.server.lease == nil: // given back twice, it would run twice
		for _, p := range g.pushes {
			r.server.notes.Add(p.body, fmt.Errorf("redisconn: request may be lost, not known to be given back: %w", err))
		}
		return nil
	}
	for i := range g.pushes {
		g.pushes[i].again = true
	}
	return g.pushes
}

// noteExpiry logs when Redis begins to refuse to let reply lists expire, and when
// it does so no more.
func (r *replier) noteExpiry(g *group) {
	if !g.expires {
		return
	}
	err := g.expire.Err()
	switch log := r.server.state.Logger; {
	case !r.lasting && isRefusal(err, "NOPERM"):
		r.lasting = true
		log.Error("reply lists do not expire: answers that nobody takes stay for ever", slog.Any("error", err))
	case r.lasting && err == nil:
		r.lasting = false
		log.Info("reply lists expire again")
	}
}

// answered notes that the answers of a group are there, but for those to requests
// that were no longer ours.
func (r *replier) answered(g *group) {
	lost := 0
	if r.server.lease != nil && !r.apart {
		indices, _ := g.cmd.Int64Slice()
		for _, i := range indices {
			if p := g.pushes[i-1]; !p.again { // else it was settled the time before
				r.lose(p)
				lost++
			}
		}
	}
	if r.apart {
		for _, p := range g.pushes {
			r.settled(p.token)
		}
	}
	r.replies.Add(int64(len(g.pushes) - lost))
	r.server.places.Free(len(g.pushes) - lost)
}

// claim settles the requests of answers that go to other nodes. It returns the
// pushes less the answers to requests that are no longer ours, and those to try
// again first.
func (r *replier) claim(work []push) (claimed, failed []push) {
	var tokens []any
	for _, p := range work {
		if p.mustClaim() {
			tokens = append(tokens, p.token)
		}
	}
	if len(tokens) == 0 {
		return work, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), sendPatience)
	defer cancel()
	lost, err := claimScript.run(ctx, r.rdb, []string{r.server.lease.wip()}, tokens...).Int64Slice()
	if err != nil {
		impaired(r.server.state, r.rdb, "answering", err)
		return nil, work
	}
	claimed = work[:0]
	n := int64(0)
	for _, p := range work {
		if p.mustClaim() {
			n++
			p.claimed = true
			if slices.Contains(lost, n) {
				r.lose(p)
				continue
			}
		}
		claimed = append(claimed, p)
	}
	return claimed, nil
}

func (p push) mustClaim() bool { return p.kind == pushReply && p.token != 0 && !p.claimed }

var errLeaseLost = errors.New("redisconn: answer dropped: the lease ran out, another server has the request")

// lose gives up the answer to a request that is no longer ours.
func (r *replier) lose(p push) {
	r.server.lease.lost.Add(1)
	r.drop(p, errLeaseLost)
}

// drop gives up an answer.
func (r *replier) drop(p push, why error) {
	r.server.notes.Add(p.body, why)
	r.server.places.Free(1)
	r.settled(p.token)
}
