#!lua flags=allow-oom
-- Changes the generation's row, and returns the field and value of each row, how many
-- requests and suspects wait, and the fields that are held. KEYS are workers, held,
-- queue, ready, suspects; ARGV the generation.
local row = redis.call('HGET', KEYS[1], ARGV[1])
if not row or row == 'gone' then return {'gone'} end
local space = string.find(row, ' ', 1, true)
redis.call('HSET', KEYS[1], ARGV[1], (string.sub(row, 1, space - 1) + 1) .. string.sub(row, space))
local waiting = redis.call('LLEN', KEYS[3]) + redis.call('LLEN', KEYS[4])
return {'beat', redis.call('HGETALL', KEYS[1]), waiting, redis.call('LLEN', KEYS[5]), redis.call('HKEYS', KEYS[2])}
