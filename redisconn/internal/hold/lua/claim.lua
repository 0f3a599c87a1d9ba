#!lua flags=allow-oom
-- Settles requests whose answers go to other nodes of a Cluster: KEYS are held; ARGV
-- the fields. What is claimed stays known by its name until the answer is there:
-- asked again, it is still ours. It returns which were not held.
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
