#!lua flags=allow-oom
-- Notes how often a suspect has been started, with this time. Returns 1, or 0 if it is
-- not held any more. KEYS: workers, held. ARGV: the generation, the field, the count.
local row = redis.call('HGET', KEYS[1], ARGV[1])
if not row or row == 'gone' or redis.call('HEXISTS', KEYS[2], ARGV[2]) == 0 then return 0 end
redis.call('HSET', KEYS[2], 'n' .. ARGV[2], ARGV[3])
return 1
