#!lua flags=allow-oom
-- Gives requests back. Those that never started are queued, to be taken next; the others
-- become suspects. Returns how many of the requests it has handled, and how many of these
-- were held. KEYS: held, queue, suspects. ARGV: how many bytes go back at most, not
-- counting the last request, then the field and the count of starts of each request, in
-- the order in which to push them. The count ? stands for the one that is noted.
-- What can't be pushed must not be removed: LLEN fails first if a key is no list.
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
