#!lua flags=allow-oom
-- Notes that a suspect is started for the ARGV[3]th time, and returns 1 if it is
-- still held. KEYS are workers, held; ARGV the generation, the field, the count.
local row = redis.call('HGET', KEYS[1], ARGV[1])
if not row or row == 'gone' or redis.call('HEXISTS', KEYS[2], ARGV[2]) == 0 then return 0 end
redis.call('HSET', KEYS[2], 'n' .. ARGV[2], ARGV[3])
return 1
