package redisconn

// replyScript pushes answers and lets the list expire: only where this push
// made it or it expires anyway, for a reply address may name somebody else's
// list. A list that is by its name a reply list needs no such care: see group.
// Answers that may have got there before, ARGV[2] of them, are removed
// first. It returns 1 if the list expires now.
//
// A key of another type is left as it is; pcall has it reported as plain
// WRONGTYPE, where call would wrap it up before Redis 7.0. It also keeps a user
// without the right to PTTL or PEXPIRE from having the answer pushed twice.
var replyScript = newScript(`
for i = 1, tonumber(ARGV[2]) do redis.pcall('LREM', KEYS[1], 0, ARGV[2+i]) end
local ttl = redis.pcall('PTTL', KEYS[1])
local pushed = redis.pcall('RPUSH', KEYS[1], unpack(ARGV, 3))
if type(pushed) == 'table' then return pushed end
if pushed > #ARGV - 2 and (type(ttl) == 'table' or ttl == -1) then return 0 end
local set = redis.pcall('PEXPIRE', KEYS[1], ARGV[1])
if type(set) == 'table' then set = redis.pcall('EXPIRE', KEYS[1], math.ceil(ARGV[1] / 1000)) end
return type(set) == 'table' and 0 or set`)

// settleScript is replyScript for requests that are held: ARGV are the time to
// live, and a token for each answer. It settles the requests and pushes the
// answers, both or none, but for those that are no longer ours: it returns which
// these are, and 0 if the list expires now.
var settleScript = newScript(`#!lua flags=allow-oom
local list, wip = KEYS[1], KEYS[2]
local answers, tokens, lost = {}, {}, {}
for i = 2, #ARGV, 2 do
  local token = ARGV[i]
  if token == '0' or not tokens[token] and redis.call('HEXISTS', wip, token) == 1 then
    answers[#answers+1] = ARGV[i+1]
    tokens[token] = true
  else
    lost[#lost+1] = i / 2
  end
end
if #answers == 0 then return lost end
local ttl = redis.pcall('PTTL', list)
local pushed = redis.pcall('RPUSH', list, unpack(answers))
if type(pushed) == 'table' then return pushed end
for token in pairs(tokens) do
  if token ~= '0' then redis.call('HDEL', wip, token) end
end
if pushed == #answers or type(ttl) ~= 'table' and ttl >= 0 then
  if redis.pcall('PEXPIRE', list, ARGV[1]) == 1 then lost[#lost+1] = 0 end
end
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
