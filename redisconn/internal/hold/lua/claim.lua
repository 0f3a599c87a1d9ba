#!lua flags=allow-oom
-- Settles requests whose answers go to other nodes of a Cluster. The field c.. of a
-- request that is claimed stays until the answer is there: so a second claim succeeds,
-- too. Returns the numbers, from 1 on, of the requests that were not held.
-- KEYS: held. ARGV: the fields.
local lost = {}
for i, field in ipairs(ARGV) do
  if redis.call('HDEL', KEYS[1], field) == 1 then
    redis.call('HDEL', KEYS[1], 'n' .. field)
    redis.call('HSET', KEYS[1], 'c' .. field, '')
  elseif redis.call('HEXISTS', KEYS[1], 'c' .. field) == 0 then
    lost[#lost+1] = i
  end
end
return lost
