package redisconn

import (
	"context"
	"crypto/sha1"
	"encoding/hex"
	"fmt"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/micromessaging/jsonrpc2/internal/link"
)

// A replier is a server's one writer: all that waits goes out in one pipeline,
// with one push for each list.
type replier struct {
	rdb    redis.UniversalClient
	server *server
	out    *link.Outbox[push]
	woke   bool // the wake list may have to be removed

	replies, givenBack, expired, undelivered atomic.Int64
}

// A push is a value on its way to a list.
type push struct {
	kind  pushKind
	list  string
	body  []byte
	until time.Time // an answer is tried for so long
	again bool      // it may have got there before
}

type pushKind int

const (
	pushReply pushKind = iota
	pushBack           // a request that is given back
	pushWake           // the value that ends a blocked pop
)

// replyScript pushes answers and lets the list expire: only where this push
// made it or it expires anyway, for a reply address may name somebody else's
// list. Answers that may have got there before, ARGV[2] of them, are removed
// first. A key of another type is left as it is; pcall has it reported as plain
// WRONGTYPE, where call would wrap it up before Redis 7.0.
const replyScript = `
for i = 1, tonumber(ARGV[2]) do redis.pcall('LREM', KEYS[1], 0, ARGV[2+i]) end
local ttl = redis.call('PTTL', KEYS[1])
local pushed = redis.pcall('RPUSH', KEYS[1], unpack(ARGV, 3))
if type(pushed) == 'table' then return pushed end
if ttl ~= -1 then redis.call('PEXPIRE', KEYS[1], ARGV[1]) end
return 0`

var replyScriptSHA = func() string {
	sum := sha1.Sum([]byte(replyScript))
	return hex.EncodeToString(sum[:])
}()

const (
	maxPush       = 1000            // values in one push: a script's stack is limited
	maxReplyPause = 5 * time.Second // between two tries
)

func newReplier(rdb redis.UniversalClient, s *server) *replier {
	return &replier{
		rdb:    rdb,
		server: s,
		out:    link.NewOutbox[push](false), // the places limit it
	}
}

func (r *replier) reply(list string, body []byte) error {
	until := time.Now().Add(r.server.opts.ReplyTTL)
	err := r.out.Put(push{kind: pushReply, list: list, body: append([]byte(nil), body...), until: until}, 0)
	if err != nil {
		r.server.places.Free(1)
	}
	return err
}

// giveBack pushes requests, oldest first, onto the end they came from.
func (r *replier) giveBack(requests []string) {
	for _, request := range slices.Backward(requests) {
		_ = r.out.Put(push{kind: pushBack, list: r.server.queue, body: []byte(request)}, 0)
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
	if len(unsent) > 0 {
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
	cmd    once
}

// send sends all pushes and returns those to send again.
func (r *replier) send(work []push) (failed []push) {
	groups := r.group(work)
	r.exec(groups, (*replier).command)
	if missing := withoutScript(groups); len(missing) > 0 {
		r.exec(missing, (*replier).scriptCommand)
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
	for _, p := range work {
		if p.kind == pushReply && now.After(p.until) {
			r.expired.Add(1)
			r.drop(p, fmt.Errorf("redisconn: answer to %q not delivered within %v", p.list, r.server.opts.ReplyTTL))
			continue
		}
		g := last[p.list]
		if g == nil || len(g.pushes) == maxPush {
			g = &group{kind: p.kind, list: p.list}
			last[p.list] = g
			groups = append(groups, g)
		}
		g.pushes = append(g.pushes, p)
	}
	return groups
}

// exec sends a command for each group, all in one go.
func (r *replier) exec(groups []*group, command func(*replier, *group) once) {
	ctx, cancel := context.WithTimeout(context.Background(), sendPatience)
	defer cancel()
	pipeline := r.rdb.Pipeline()
	for _, g := range groups {
		g.cmd = command(r, g)
		_ = pipeline.Process(ctx, g.cmd)
	}
	_, _ = pipeline.Exec(ctx) // each command has its own error
}

func (r *replier) command(g *group) once {
	ctx := context.Background()
	if g.kind == pushBack {
		return newOnce(ctx, appendBodies([]any{"rpush", g.list}, g.pushes, false)...)
	}
	return newOnce(ctx, append([]any{"evalsha", replyScriptSHA}, r.scriptArgs(g)...)...)
}

// scriptCommand is for a Redis that has not seen the script yet.
func (r *replier) scriptCommand(g *group) once {
	return newOnce(context.Background(), append([]any{"eval", replyScript}, r.scriptArgs(g)...)...)
}

func (r *replier) scriptArgs(g *group) []any {
	args := append(make([]any, 0, len(g.pushes)+4), 1, g.list, r.server.opts.ReplyTTL.Milliseconds())
	again := appendBodies(nil, g.pushes, true)
	args = append(append(args, len(again)), again...)
	return appendBodies(args, g.pushes, false)
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
		switch g.kind {
		case pushReply:
			r.replies.Add(int64(len(g.pushes)))
			r.server.places.Free(len(g.pushes))
		case pushBack:
			r.givenBack.Add(int64(len(g.pushes)))
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
	r.server.state.Failed("answering", err)
	switch {
	case g.kind == pushWake && !r.server.isPopping(): // by itself, meanwhile
		return nil
	case certainlyNotRun(err, false):
		return g.pushes
	case g.kind == pushBack: // given back twice, it would run twice
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

// drop gives up an answer.
func (r *replier) drop(p push, why error) {
	r.server.notes.Add(p.body, why)
	r.server.places.Free(1)
}
