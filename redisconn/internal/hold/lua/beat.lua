#!lua flags=allow-oom
-- Changes the generation's row. Returns the fields and values of workers, how many
-- requests wait, how many suspects wait, and the fields of held; or "gone".
-- KEYS: workers, held, queue, ready, suspects. ARGV: the generation.
local row = redis.call('HGET', KEYS[1], ARGV[1])
if not row or row == 'gone' then return {'gone'} end
local space = string.find(row, ' ', 1, true)
redis.call('HSET', KEYS[1], ARGV[1], (string.sub(row, 1, space - 1) + 1) .. string.sub(row, space))
local waiting = redis.call('LLEN', KEYS[3]) + redis.call('LLEN', KEYS[4])
return {'beat', redis.call('HGETALL', KEYS[1]), waiting, redis.call('LLEN', KEYS[5]), redis.call('HKEYS', KEYS[2])}
