package redisconn

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/micromessaging/jsonrpc2/internal/link"
)

// A lease is how a server with AtLeastOnce holds the requests that it has
// taken. All keys of a queue's servers lie in the queue's slot:
//
//	{calc}:wip:<worker>      hash, token to request: taken and not settled
//	{calc}:staging:<worker>  list: what a blocking move took, until wip has it
//	{calc}:workers           sorted set: workers by the end of their leases
//	{calc}:dead              list: requests that were taken too often
//
// A worker renews its lease by the clock of Redis. One whose lease ran out has
// its requests put back into the queue by any other, and can settle none of
// them any more, since settling is to delete a token that is there.
//
// A request that was under way when its worker died has a member "attempt" from
// then on. Such suspects are run one at a time by each worker, and each start
// is noted before it: what dies again and again is counted, and not what
// happened to run beside it.
type lease struct {
	rdb         redis.UniversalClient
	queue       string
	own         string // prefix of our own keys
	worker      string
	term        time.Duration
	maxAttempts int
	state       *link.State
	stop        <-chan struct{} // ends the waits

	// The fetcher's own.
	token     int64 // of the next request; changed with mu locked
	dry       bool  // nothing waited when last asked
	moved     bool  // something may be staged
	conn      *redis.Conn
	connected bool // there was a conn

	mu      sync.Mutex // protects following
	node    *redis.Client
	id      int64              // of conn, on node
	renewal time.Time          // of the lease, as far as we have heard; zero: there is none
	held    map[int64]struct{} // tokens that are not settled, as far as we know

	takenOver, dead, lost atomic.Int64
}

const (
	minLease = 100 * time.Millisecond

	// dryPause is between two looks into the queue of a Redis that has no
	// memory left for a blocking move.
	dryPause = 100 * time.Millisecond
)

func newLease(rdb redis.UniversalClient, queue string, opts ListenOptions, state *link.State, stop <-chan struct{}) *lease {
	return &lease{
		rdb:         rdb,
		queue:       queue,
		own:         ownPrefix(queue),
		worker:      link.NewName(),
		term:        opts.Lease,
		maxAttempts: opts.MaxAttempts,
		state:       state,
		stop:        stop,
		token:       1,
		held:        make(map[int64]struct{}),
	}
}

func (l *lease) wip() string     { return l.own + "wip:" + l.worker }
func (l *lease) staging() string { return l.own + "staging:" + l.worker }
func (l *lease) workers() string { return l.own + "workers" }

// A delivery is a request that was taken.
type delivery struct {
	body    string
	token   int64 // under which it is held; 0: it is not
	attempt int   // of a suspect: how often it was started
	dead    bool  // it was started too often
}

func (d delivery) isSuspect() bool { return d.attempt > 0 && !d.dead }

// takeScript takes up to ARGV[1] requests and holds them under the tokens from
// ARGV[4] on. Asked for the same token again, since the answer got lost, it
// returns what it took then. It renews the lease, and returns whether there was
// none to renew.
var takeScript = newScript(`#!lua flags=allow-oom
local queue, workers, wip, staging = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local n, worker, term, token = tonumber(ARGV[1]), ARGV[2], ARGV[3], tonumber(ARGV[4])
local time = redis.call('TIME')
local new = redis.call('ZADD', workers, time[1] * 1000 + math.floor(time[2] / 1000) + term, worker)
local taken = {}
if redis.call('HEXISTS', wip, token) == 1 then
  repeat
    local request = redis.call('HGET', wip, token + #taken)
    if request then taken[#taken+1] = request end
  until not request
  return {new, taken}
end
taken = redis.call('RPOP', staging, n) or {}
if #taken < n then
  for _, request in ipairs(redis.call('RPOP', queue, n - #taken) or {}) do taken[#taken+1] = request end
end
for i, request in ipairs(taken) do redis.call('HSET', wip, token + i - 1, request) end
return {new, taken}`)

// errOld is what a Redis before 7.0 gets.
var errOld = errors.New("AtLeastOnce needs Redis 7.0 or newer")

// errNoClient is what a user without these rights gets.
var errNoClient = errors.New("AtLeastOnce needs the rights to CLIENT ID and CLIENT UNBLOCK")

// take waits for requests, for blockTime at most, and takes up to n.
func (l *lease) take(n int) ([]delivery, error) {
	if l.dry {
		if moved, err := l.wait(); !moved || err != nil {
			return nil, err
		}
	}
	before := l.lastRenewal()
	ctx := context.Background()
	cmd := takeScript.run(ctx, l.rdb, []string{l.queue, l.workers(), l.wip(), l.staging()},
		n, l.worker, l.term.Milliseconds(), l.token)
	result, err := cmd.Slice()
	if isRefusal(err, "ERR Error compiling script") {
		return nil, fmt.Errorf("redisconn: queue %q: %w: %w", l.queue, errOld, err)
	}
	if err != nil {
		return nil, err
	}
	l.renewed(before, result[0])
	requests, _ := result[1].([]any)
	l.dry, l.moved = len(requests) == 0, false
	taken := make([]delivery, len(requests))
	for i := range requests {
		request, _ := requests[i].(string)
		taken[i] = delivery{body: request, token: l.token + int64(i), attempt: attemptOf(request)}
	}
	l.hold(len(taken))
	return taken, nil
}

// hold notes that the next n tokens are held.
func (l *lease) hold(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for range n {
		l.held[l.token] = struct{}{}
		l.token++
	}
}

// settled notes that a token is held no more.
func (l *lease) settled(token int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.held, token)
}

// orphans returns those of the tokens that are settled. Redis has them again if
// its replica took over that had not heard of it. The tokens held before Redis
// was asked, and the one that was next, are known from lookAhead.
func orphans(tokens []any, held map[int64]struct{}, next int64) (orphaned []any) {
	for i := range tokens {
		text, _ := tokens[i].(string)
		token, err := strconv.ParseInt(text, 10, 64)
		if _, ok := held[token]; err == nil && token < next && !ok {
			orphaned = append(orphaned, token)
		}
	}
	return orphaned
}

// lookAhead returns the tokens that are held, and the one that is next.
func (l *lease) lookAhead() (held map[int64]struct{}, next int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return maps.Clone(l.held), l.token
}

// wait waits until there is a request, and stages it.
func (l *lease) wait() (moved bool, err error) {
	ctx := context.Background()
	if l.conn == nil {
		if err := l.connect(ctx); err != nil {
			return false, err
		}
	}
	cmd := moveCmd{l.conn.Pipeline().BLMove(ctx, l.queue, l.staging(), "right", "left", blockTime)}
	_ = l.conn.Process(ctx, cmd)
	err = cmd.Err()
	l.moved = err == nil || !errors.Is(err, redis.Nil) && !certainlyNotRun(err, false)
	switch {
	case err == nil:
		return true, nil
	case errors.Is(err, redis.Nil):
		return false, nil
	case isRefusal(err, "OOM"): // which a script may be run in spite of
		return link.Wait(dryPause, l.stop), nil
	}
	l.dry = false // look for what was staged first
	l.disconnect()
	return false, err
}

type moveCmd struct{ *redis.StringCmd }

func (moveCmd) NoRetry() bool { return true }

// connect gets a connection that we know by its id, so that it can be unblocked.
func (l *lease) connect(ctx context.Context) (err error) {
	var node *redis.Client
	switch rdb := l.rdb.(type) {
	case *redis.Client:
		node = rdb
	case *redis.ClusterClient:
		if node, err = rdb.MasterForKey(ctx, l.queue); err != nil {
			return err
		}
	}
	conn := node.Conn()
	id, err := conn.ClientID(ctx).Result()
	if err == nil { // of nobody, to see whether it is allowed
		err = conn.ClientUnblock(ctx, 0).Err()
	}
	if err != nil {
		_ = conn.Close()
		if isRefused(err) && !l.connected { // else it was allowed before, and may be again
			return fmt.Errorf("redisconn: queue %q: %w: %w", l.queue, errNoClient, err)
		}
		return err
	}
	l.conn, l.connected = conn, true
	l.mu.Lock()
	defer l.mu.Unlock()
	l.node, l.id = node, id
	return nil
}

func (l *lease) disconnect() {
	if l.conn == nil {
		return
	}
	_ = l.conn.Close()
	l.conn = nil
	l.mu.Lock()
	defer l.mu.Unlock()
	l.node, l.id = nil, 0
}

// interrupt ends the waits of the fetcher from stop on, until it has ended.
func (l *lease) interrupt(ended <-chan struct{}) {
	<-l.stop
	for pause := time.Millisecond; ; pause = min(2*pause, dryPause) {
		l.mu.Lock()
		node, id := l.node, l.id
		l.mu.Unlock()
		if node != nil {
			_ = node.ClientUnblock(context.Background(), id).Err() // again, unless it has ended
		}
		if !link.Wait(pause, ended) {
			return
		}
	}
}

// startScript notes that a suspect is started for the ARGV[2]th time. It is 0 if
// the request is no longer ours.
var startScript = newScript(`#!lua flags=allow-oom
local request = redis.call('HGET', KEYS[1], ARGV[1])
if not request then return 0 end
local before, rest = string.match(request, '^(%s*%[?%s*{"attempt":)%d+(.*)$')
if before then redis.call('HSET', KEYS[1], ARGV[1], before .. ARGV[2] .. rest) end
return 1`)

// begin notes that a suspect is started, and reports whether it is still ours.
func (l *lease) begin(d delivery) (bool, error) {
	held, err := startScript.run(context.Background(), l.rdb, []string{l.wip()}, d.token, d.attempt+1).Int()
	return held == 1, err
}

// lastRenewal returns when the lease was last renewed, as far as we have heard;
// zero if there is none to renew.
func (l *lease) lastRenewal() time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.renewal
}

// renewed notes that the lease was renewed, or begun if new is 1. It had run out
// if there was one before we asked: two who renew it at first may both begin it.
func (l *lease) renewed(before time.Time, new any) {
	l.mu.Lock()
	lapsed := !before.IsZero() && !l.renewal.IsZero() && new == int64(1)
	silent := time.Since(before)
	l.renewal = time.Now()
	l.mu.Unlock()
	switch log := l.state.Logger.With(slog.Duration("lease", l.term), slog.Duration("renewed_before", silent)); {
	case !lapsed:
	case silent < l.term:
		log.Error("Redis does not know the lease, which had not run out: it lost data, or its clock was set")
	default:
		log.Error("the lease was not renewed in time: other servers may run what this one had taken")
	}
}

// beatScript renews the lease, and moves what workers without one held back into
// the queue, or to the dead. It returns whether there was no lease to renew, how
// many requests were put back, the dead ones with their attempts, and the tokens
// that are held.
var beatScript = newScript(`#!lua flags=allow-oom
local queue, workers, dead = KEYS[1], KEYS[2], KEYS[3]
local worker, term, most, own = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local new = redis.call('ZADD', workers, now + term, worker)
local back, buried = 0, {}

local function bury(request, attempts, reason)
  redis.call('LPUSH', dead, cjson.encode({time = now, attempts = attempts, reason = reason, request = request}))
  buried[#buried+1] = request
  buried[#buried+1] = attempts
end

local function put(request)
  local before, attempts, rest = string.match(request, '^(%s*%[?%s*{)"attempt":(%d+),?(.*)$')
  if not before then
    attempts = 1
    before, rest = string.match(request, '^(%s*%[?%s*{)(.*)$')
  end
  if not before then return bury(request, attempts, 'it is no object, and its server died') end
  attempts = tonumber(attempts)
  if attempts >= most then return bury(before .. rest, attempts, 'its server died each time') end
  local comma = string.find(rest, '^%s*}') and '' or ','
  redis.call('RPUSH', queue, before .. '"attempt":' .. attempts .. comma .. rest)
  back = back + 1
end

for _, gone in ipairs(redis.call('ZRANGEBYSCORE', workers, '-inf', now, 'LIMIT', 0, 10)) do
  local wip, staging = own .. 'wip:' .. gone, own .. 'staging:' .. gone
  for _, request in ipairs(redis.call('LRANGE', staging, 0, -1)) do
    redis.call('RPUSH', queue, request)
    back = back + 1
  end
  local fields, tokens, requests = redis.call('HGETALL', wip), {}, {}
  for i = 1, #fields, 2 do
    local token = tonumber(fields[i])
    tokens[#tokens+1], requests[token] = token, fields[i+1]
  end
  table.sort(tokens, function(a, b) return a > b end)
  for _, token in ipairs(tokens) do
    if requests[token] ~= '' then put(requests[token]) end
  end
  redis.call('DEL', wip, staging)
  redis.call('ZREM', workers, gone)
end
return {new, back, buried, redis.call('HKEYS', own .. 'wip:' .. worker)}`)

// beat renews the lease until ctx is done. It hands over the requests that died.
func (l *lease) beat(ctx context.Context, bury func(request string, attempts int)) {
	for {
		before := l.lastRenewal()
		held, next := l.lookAhead()
		cmd := beatScript.run(ctx, l.rdb, []string{l.queue, l.workers(), l.own + "dead"},
			l.worker, l.term.Milliseconds(), l.maxAttempts, l.own)
		result, err := cmd.Slice()
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			impaired(l.state, l.rdb, "renewing the lease", err)
		default:
			l.state.Worked("renewing the lease")
			l.renewed(before, result[0])
			l.note(result, bury)
			tokens, _ := result[3].([]any)
			l.giveBack(ctx, orphans(tokens, held, next))
		}
		if !link.Wait(l.term/3, ctx.Done()) {
			return
		}
	}
}

// note notes what a beat returned.
func (l *lease) note(result []any, bury func(string, int)) {
	if back, _ := result[1].(int64); back > 0 {
		l.takenOver.Add(back)
		l.state.Logger.Warn("requests of a server whose lease ran out put back into the queue", slog.Int64("requests", back))
	}
	dead, _ := result[2].([]any)
	for ; len(dead) >= 2; dead = dead[2:] {
		request, _ := dead[0].(string)
		attempts, _ := dead[1].(int64)
		l.dead.Add(1)
		l.state.Logger.Error("request is dead: each server's lease ran out while it ran", slog.Int64("attempts", attempts))
		bury(request, int(attempts))
	}
}

// giveBack puts requests back into the queue whose settling was undone.
func (l *lease) giveBack(ctx context.Context, tokens []any) {
	if len(tokens) == 0 {
		return
	}
	l.state.Logger.Warn("requests whose answers may have been lost with a master put back into the queue", slog.Int("requests", len(tokens)))
	if err := backScript.run(ctx, l.rdb, []string{l.queue, l.wip()}, tokens...).Err(); err != nil {
		impaired(l.state, l.rdb, "renewing the lease", err) // the next beat finds them again
		return
	}
	l.takenOver.Add(int64(len(tokens)))
}

// leaveScript gives back what is staged. It ends the lease, unless something is
// left that has to wait for another server to take it over.
var leaveScript = newScript(`#!lua flags=allow-oom
local queue, workers, wip, staging, worker = KEYS[1], KEYS[2], KEYS[3], KEYS[4], ARGV[1]
local staged = redis.call('LRANGE', staging, 0, -1)
for _, request in ipairs(staged) do redis.call('RPUSH', queue, request) end
redis.call('DEL', staging)
for _, request in ipairs(redis.call('HVALS', wip)) do
  if request ~= '' then return #staged end
end
redis.call('DEL', wip)
redis.call('ZREM', workers, worker)
return #staged`)

// unstage gives back what was staged and not taken, when the fetcher ends. Else
// leave does, or who takes over.
func (l *lease) unstage() {
	if l.moved {
		_ = l.leave()
	}
}

var errUnsent = errors.New("redisconn: answers are unsent")

// leave gives back what is staged and ends the lease, if nothing is held.
func (l *lease) leave() error {
	ctx, cancel := context.WithTimeout(context.Background(), closeGrace)
	defer cancel()
	l.mu.Lock()
	l.renewal = time.Time{}
	l.mu.Unlock()
	return leaveScript.run(ctx, l.rdb, []string{l.queue, l.workers(), l.wip(), l.staging()}, l.worker).Err()
}

// attemptOf returns how often a request was started that was under way when its
// server died, 0 of any other. That is written in front of all else.
func attemptOf(request string) int {
	const member = `{"attempt":`
	head := request[:min(len(request), 64)]
	for i := range len(head) {
		switch head[i] {
		case ' ', '\t', '\r', '\n', '[':
			continue
		}
		if len(head)-i < len(member) || head[i:i+len(member)] != member {
			return 0
		}
		digits := head[i+len(member):]
		end := 0
		for end < len(digits) && '0' <= digits[end] && digits[end] <= '9' {
			end++
		}
		attempt, _ := strconv.Atoi(digits[:end])
		return attempt
	}
	return 0
}
