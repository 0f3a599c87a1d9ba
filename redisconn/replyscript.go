package redisconn

// replyScript pushes answers, and sets the expiry of the list if this push has created the
// list or the list expires anyway: a reply address may name the list of somebody else. A
// list that is a reply list by its name needs no such care, see group. The script first
// removes ARGV[2] answers that may have arrived before. It returns 1 if it has set the
// expiry.
//
// The script leaves a key of another type as it is. pcall reports that as plain WRONGTYPE;
// before Redis 7.0 call would wrap the error. pcall also lets the script go on if the user
// has no right to PTTL or PEXPIRE: an error after the push would have the answer pushed
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
