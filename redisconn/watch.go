package redisconn

import (
	"container/list"
	"context"
	"crypto/sha1"
	"encoding/hex"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/micromessaging/jsonrpc2/internal/link"
)

// A watch looks again at lists that are no reply lists by their names and that our
// answers let expire: a reply address may name another service's queue, and what
// was pushed there since would vanish with the answer. Shortly before its time a
// list that holds nothing but answers is deleted, and one that holds something
// else lasts. It has one goroutine, from the first such list on until it is closed.
type watch struct {
	rdb     redis.UniversalClient
	state   *link.State
	prefix  string        // of the reply lists, besides the default
	ttl     time.Duration // of a list that is answered on
	margin  time.Duration // between the look and the expiry
	closing chan struct{}
	looking sync.WaitGroup

	mu      sync.Mutex // protects following
	lists   map[string]*list.Element
	order   list.List // of *watched, the first due first
	started bool
	closed  bool
}

// A watched is a list that expires.
type watched struct {
	list string
	due  time.Time
	sums []any // of our answers, as far as we know
}

const (
	maxWatched  = 10_000 // lists; of more the oldest are forgotten, and expire
	maxSums     = 16     // answers known of one list
	maxSummed   = 64 << 10
	maxLooks    = 100 // lists in one pipeline
	maxMargin   = 2 * time.Second
	closingLook = time.Second // for how long Close looks
)

func newWatch(s *shared) *watch {
	return &watch{
		rdb:     s.rdb,
		state:   s.state,
		prefix:  s.opts.ReplyPrefix,
		ttl:     s.opts.ReplyTTL,
		margin:  min(maxMargin, s.opts.ReplyTTL/4),
		closing: make(chan struct{}),
		lists:   make(map[string]*list.Element),
	}
}

// isForeign reports whether a list is no reply list by its name.
func (w *watch) isForeign(list string) bool {
	return !strings.HasPrefix(list, DefaultReplyPrefix) && (w.prefix == "" || !strings.HasPrefix(list, w.prefix))
}

// add notes that a group's answers let their list expire.
func (w *watch) add(g *group) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return
	}
	e := w.lists[g.list]
	if e == nil {
		e = w.order.PushBack(&watched{list: g.list})
		w.lists[g.list] = e
	}
	found := e.Value.(*watched)
	for _, p := range g.pushes[max(0, len(g.pushes)-maxSums):] {
		if len(p.body) <= maxSummed {
			sum := sha1.Sum(p.body)
			found.sums = append(found.sums, hex.EncodeToString(sum[:]))
		}
	}
	found.sums = found.sums[max(0, len(found.sums)-maxSums):]
	found.due = time.Now().Add(w.ttl - w.margin)
	w.order.MoveToBack(e)
	if len(w.lists) > maxWatched {
		w.remove(w.order.Front())
	}
	if !w.started {
		w.started = true
		w.looking.Go(w.run)
	}
}

// remove is called with w.mu locked.
func (w *watch) remove(e *list.Element) *watched {
	found := w.order.Remove(e).(*watched)
	delete(w.lists, found.list)
	return found
}

// again notes that a list is to be looked at once more.
func (w *watch) again(found *watched, after time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.lists[found.list] != nil || w.closed { // answered again meanwhile
		return
	}
	found.due = time.Now().Add(after)
	at := w.order.Back()
	for at != nil && at.Value.(*watched).due.After(found.due) {
		at = at.Prev()
	}
	if at == nil {
		w.lists[found.list] = w.order.PushFront(found)
	} else {
		w.lists[found.list] = w.order.InsertAfter(found, at)
	}
}

// run looks at lists shortly before they expire, until the watch is closed. Then it
// looks at all a last time.
func (w *watch) run() {
	for {
		due, pause := w.due(time.Now())
		if len(due) > 0 {
			w.look(due, false)
			continue
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-w.closing:
			timer.Stop()
			w.lookAtAll()
			return
		}
	}
}

// lookAtAll lets last what others have pushed onto meanwhile. The other lists keep
// their expiry.
func (w *watch) lookAtAll() {
	end := time.Now().Add(closingLook)
	for time.Now().Before(end) && w.state.Cause() == nil {
		due, _ := w.due(time.Now().Add(time.Hour * 24 * 365))
		if len(due) == 0 {
			return
		}
		w.look(due, true)
	}
}

// due takes the lists that are due at a time, maxLooks at most. If there are none,
// pause says how long to wait.
func (w *watch) due(now time.Time) (due []*watched, pause time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for len(due) < maxLooks && w.order.Len() > 0 {
		e := w.order.Front()
		if wait := e.Value.(*watched).due.Sub(now); wait > 0 {
			return due, wait
		}
		due = append(due, w.remove(e))
	}
	return due, w.ttl - w.margin
}

func (w *watch) close() {
	w.mu.Lock()
	w.closed = true
	w.mu.Unlock()
	close(w.closing)
	w.looking.Wait()
}

// look looks at lists, all in one pipeline.
func (w *watch) look(lists []*watched, last bool) {
	w.exec(lists, last, true)
}

// exec runs lookScript for each of the lists.
func (w *watch) exec(lists []*watched, last, bySHA bool) {
	most, mode := 2*w.margin, "delete"
	if last {
		most, mode = 2*w.ttl, "keep"
	}
	cmds := make([]once, len(lists))
	pipe(w.rdb, func(pipeline redis.Pipeliner) {
		for i, found := range lists {
			args := append([]any{most.Milliseconds(), mode}, found.sums...)
			cmds[i] = newOnce(context.Background(), lookScript.args(bySHA, []string{found.list}, args)...)
			_ = pipeline.Process(context.Background(), cmds[i])
		}
	})
	var unseen, refused []*watched
	for i, cmd := range cmds {
		ttl, err := cmd.Int64()
		switch {
		case err == nil && ttl > 0:
			w.again(lists[i], max(time.Duration(ttl)*time.Millisecond-w.margin, w.margin/4))
		case err == nil:
		case bySHA && isRefusal(err, "NOSCRIPT"):
			unseen = append(unseen, lists[i])
		case isRefused(err):
			refused = append(refused, lists[i])
		case time.Since(lists[i].due) < w.margin: // not expired yet
			w.again(lists[i], w.margin/4)
		}
	}
	if len(unseen) > 0 {
		w.exec(unseen, last, false)
	}
	if len(refused) > 0 {
		w.lookPlain(refused)
	}
}

// lookPlain does what it can without a script: a list that holds something but
// answers lasts, and others expire, with what is pushed in their last moments.
func (w *watch) lookPlain(lists []*watched) {
	entries := make([]once, len(lists))
	pipe(w.rdb, func(pipeline redis.Pipeliner) {
		for i, found := range lists {
			entries[i] = process(pipeline, "lrange", found.list, 0, maxLooks-1)
		}
	})
	pipe(w.rdb, func(pipeline redis.Pipeliner) {
		for i, found := range lists {
			values, _ := entries[i].StringSlice()
			for _, value := range values {
				if !isAnswer(value) {
					process(pipeline, "persist", found.list)
					break
				}
			}
		}
	})
}

// isAnswer is lookScript's isAnswer.
func isAnswer(entry string) bool {
	head := entry[:min(len(entry), 1024)]
	tail := entry[max(0, len(entry)-64):]
	return (strings.HasPrefix(head, "{") || strings.HasPrefix(head, "[")) &&
		(strings.Contains(head, `"jsonrpc"`) || strings.Contains(tail, `"jsonrpc"`)) &&
		(strings.Contains(head, `"result"`) || strings.Contains(head, `"error"`)) &&
		!strings.Contains(head, `"method"`)
}

// lookScript looks at a list that expires in less than ARGV[1] milliseconds. One
// that holds something but answers, ours by their sums or others by their looks,
// lasts, and ours are removed from it. One of answers alone is deleted if ARGV[2]
// is "delete": if it expired a moment later, what was pushed in between would
// vanish. It looks at no more than 1,000 entries and some megabytes. It returns
// the time to live of a list that expires later, else 0.
var lookScript = newScript(`
local list, most, delete = KEYS[1], tonumber(ARGV[1]), ARGV[2] == 'delete'
local ttl = redis.call('PTTL', list)
if ttl < 0 then return 0 end
if ttl > most then return ttl end
local n = redis.pcall('LLEN', list)
if type(n) == 'table' then return 0 end
local sums, ours, others, bytes = {}, {}, false, 0
for i = 3, #ARGV do sums[ARGV[i]] = true end

local function has(text, word) return string.find(text, word, 1, true) end

local function isAnswer(entry)
  local head, tail = string.sub(entry, 1, 1024), string.sub(entry, -64)
  local first = string.sub(head, 1, 1)
  return (first == '{' or first == '[') and (has(head, '"jsonrpc"') or has(tail, '"jsonrpc"')) and
    (has(head, '"result"') or has(head, '"error"')) and not has(head, '"method"')
end

local function look(first, last)
  for _, entry in ipairs(redis.call('LRANGE', list, first, last)) do
    bytes = bytes + #entry
    if #entry <= 65536 and sums[redis.sha1hex(entry)] then
      ours[entry] = true
    elseif not isAnswer(entry) then
      others = true
    end
  end
end

local seen = 0
while seen < math.min(n, 500) and bytes < 4194304 do
  look(seen, seen + 9)
  if n > 500 then look(-seen - 10, -seen - 1) end
  seen = seen + 10
end
if others then
  redis.call('PERSIST', list)
  if n <= 1000 then
    for entry in pairs(ours) do redis.call('LREM', list, 0, entry) end
  end
elseif delete and seen >= n then
  redis.call('DEL', list)
end
return 0`)
