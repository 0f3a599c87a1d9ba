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
