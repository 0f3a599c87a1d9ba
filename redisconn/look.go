package redisconn

import (
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// A looker looks at lists that are about to expire: a list with entries other than answers
// must not expire.
type looker struct {
	rdb    redis.UniversalClient
	ttl    time.Duration                             // of a list that is answered on
	margin time.Duration                             // between the look and the expiry
	again  func(found *watched, after time.Duration) // schedules another look at a list
}

// A watched is a list that expires.
type watched struct {
	list string
	due  time.Time
	sums []any // of our answers, as far as we know
}

// maxLooks is how many lists are looked at in one pipeline.
const maxLooks = 100

// untilLook returns how long after an answer its list is looked at.
func (l *looker) untilLook() time.Duration { return l.ttl - l.margin }

// look looks at lists, all in one pipeline. The last look deletes no list.
func (l *looker) look(lists []*watched, last bool) {
	l.exec(lists, last, true)
}

// exec runs lookScript for each of the lists.
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
		case time.Since(lists[i].due) < l.margin: // not expired yet
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

// lookPlain does what it can without a script. It removes the expiry of a list with entries
// other than answers. The others expire, with what is pushed in their last moments.
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

// isAnswer is lookScript's isAnswer.
func isAnswer(entry string) bool {
	head := entry[:min(len(entry), 1024)]
	tail := entry[max(0, len(entry)-64):]
	return (strings.HasPrefix(head, "{") || strings.HasPrefix(head, "[")) &&
		(strings.Contains(head, `"jsonrpc"`) || strings.Contains(tail, `"jsonrpc"`)) &&
		(strings.Contains(head, `"result"`) || strings.Contains(head, `"error"`)) &&
		!strings.Contains(head, `"method"`)
}

// lookScript looks at a list that expires in less than ARGV[1] milliseconds. It knows our
// answers by their sums, and those of others by isAnswer. If the list has other entries,
// the script removes the expiry and our answers. If the list has answers alone, the script
// deletes it, if ARGV[2] is "delete": if the list expired a moment later, what was pushed in
// between would vanish. The script looks at 1,000 entries and some megabytes at most. It
// returns the time to live of a list that expires later, else 0.
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
