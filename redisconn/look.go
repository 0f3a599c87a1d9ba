package redisconn

import (
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// A looker looks at lists that are about to expire: a list with entries other than answers
// must not expire. The watch's goroutine alone looks.
type looker struct {
	rdb    redis.UniversalClient
	ttl    time.Duration                             // of a list after an answer
	margin time.Duration                             // from the look to the expiry
	again  func(found *watched, after time.Duration) // schedules another look; the watch's
}

// A watched is a list that expires.
type watched struct {
	list string
	due  time.Time // for a look
	sums []any     // SHA-1 of our answers on it, at most maxSums of them
}

// maxLooks is how many lists are looked at in one pipeline.
const maxLooks = 100

// untilLook returns how long after an answer the looker looks at its list.
func (l *looker) untilLook() time.Duration { return l.ttl - l.margin }

// look looks at lists, all in one pipeline. The last look, when the server is closed, comes long
// before some lists expire. So it looks at these, too, and deletes no list.
func (l *looker) look(lists []*watched, last bool) {
	l.exec(lists, last, true)
}

// exec runs lookScript for each of the lists: by its hash, if bySHA is set, and then by its text
// for those for which Redis has not seen the script.
func (l *looker) exec(lists []*watched, last, bySHA bool) {
	most, mode := 2*l.margin, "delete"
	if last {
		most, mode = 2*l.ttl, "keep"
	}
	cmds := make([]unrepeated, len(lists))
	pipe(l.rdb, func(pipeline redis.Pipeliner) {
		for i, found := range lists {
			args := append([]any{most.Milliseconds(), mode}, found.sums...)
			cmds[i] = process(pipeline, lookScript.args(bySHA, []string{found.list}, args)...)
		}
	})
	var unseen, refused []*watched
	for i, cmd := range cmds {
		ttl, err := cmd.Int64()
		switch {
		case err == nil && ttl > 0:
			l.again(lists[i], max(time.Duration(ttl)*time.Millisecond-l.margin, l.margin/4))
		case err == nil:
		case bySHA && isRefusal(err, "NOSCRIPT"):
			unseen = append(unseen, lists[i])
		case isRefused(err):
			refused = append(refused, lists[i])
		case time.Since(lists[i].due) < l.margin: // another error, and the list is still there
			l.again(lists[i], l.margin/4)
		}
	}
	if len(unseen) > 0 {
		l.exec(unseen, last, false)
	}
	if len(refused) > 0 {
		l.lookPlain(refused)
	}
}

// lookPlain does what is possible without a script. It removes the expiry of a list with
// entries other than answers. Any other list expires, and with it what is pushed onto it after
// this look.
func (l *looker) lookPlain(lists []*watched) {
	entries := make([]unrepeated, len(lists))
	pipe(l.rdb, func(pipeline redis.Pipeliner) {
		for i, found := range lists {
			entries[i] = process(pipeline, "lrange", found.list, 0, maxLooks-1)
		}
	})
	pipe(l.rdb, func(pipeline redis.Pipeliner) {
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

// isAnswer reports whether an entry looks like an answer. It is the same function as lookScript's
// isAnswer.
func isAnswer(entry string) bool {
	head := entry[:min(len(entry), 1024)]
	tail := entry[max(0, len(entry)-64):]
	return (strings.HasPrefix(head, "{") || strings.HasPrefix(head, "[")) &&
		(strings.Contains(head, `"jsonrpc"`) || strings.Contains(tail, `"jsonrpc"`)) &&
		(strings.Contains(head, `"result"`) || strings.Contains(head, `"error"`)) &&
		!strings.Contains(head, `"method"`)
}

// lookScript looks at a list that expires in at most ARGV[1] milliseconds. The other ARGV are
// the sums of our answers. The script knows our answers by their sums, and those of others by
// isAnswer. If the list has other entries, the script removes the expiry and our answers. If the
// list has only answers and ARGV[2] is "delete", the script deletes the list: what is pushed
// from then on is in a new list, which does not expire. The script looks at 1,000 entries and
// some megabytes at most. It returns the time to live of a list that expires later, else 0.
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
