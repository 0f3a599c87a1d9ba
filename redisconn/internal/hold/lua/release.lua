#!lua flags=allow-oom
-- Gives requests back: KEYS are held, queue, suspects; ARGV how many bytes at most, but
-- for the last request's, then a field and its count of starts each, in the order in
-- which they are to be pushed: ? for one that may have been started as often as is
-- noted. Those that never started are queued, to be taken next. It returns how many it
-- has seen to, and how many of them were held.
-- What can't be pushed must not be removed: lists that are none are found before.
redis.call('LLEN', KEYS[2])
redis.call('LLEN', KEYS[3])
local limit, bytes, released, i = tonumber(ARGV[1]), 0, 0, 2
while i < #ARGV and bytes < limit do
  local field, count = ARGV[i], ARGV[i+1]
  local body = redis.call('HGET', KEYS[1], field)
  if body then
    if count == '?' then count = redis.call('HGET', KEYS[1], 'n' .. field) or '1' end
    redis.call('HDEL', KEYS[1], field, 'n' .. field)
    if count == '0' then
      redis.call('RPUSH', KEYS[2], body)
    else
      redis.call('LPUSH', KEYS[3], count .. ' ' .. body)
    end
    bytes, released = bytes + #body, released + 1
  end
  i = i + 2
end
return {i / 2 - 1, released}
