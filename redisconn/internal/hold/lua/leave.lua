#!lua flags=allow-oom
-- Ends a generation: what it holds and what is ready goes back, but for the fields
-- whose answers could not be sent. Where there are such, the row stays, for others to
-- take them over. KEYS are workers, held, queue, ready, suspects; ARGV the generation,
-- how many bytes go back at most, but for the last request's, then those fields. It
-- returns whether there is more to go back, and how many of the fields are left.
local workers, held, queue, ready, suspects = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local row = redis.call('HGET', workers, ARGV[1])
if not row or row == 'gone' then return {0, 0} end
-- What can't be pushed must not be removed: lists that are none are found before.
redis.call('LLEN', queue)
redis.call('LLEN', suspects)
local limit, unsent = tonumber(ARGV[2]), {}
for i = 3, #ARGV do unsent[ARGV[i]] = true end
local fields, left, bytes, enough = {}, 0, 0, 1000 -- to sort many more takes long
for _, field in ipairs(redis.call('HKEYS', held)) do
  local token = tonumber((string.match(field, '^s?(%d+)%.')))
  if token and unsent[field] then left = left + 1
  elseif token then fields[#fields+1] = {token, field} end
  if #fields == enough then break end
end
table.sort(fields, function(a, b) return a[1] > b[1] end)
for _, entry in ipairs(fields) do
  if bytes >= limit then return {1, left} end
  local field = entry[2]
  local body = redis.call('HGET', held, field)
  local count = redis.call('HGET', held, 'n' .. field)
  redis.call('HDEL', held, field, 'n' .. field)
  if count then redis.call('LPUSH', suspects, count .. ' ' .. body)
  else redis.call('RPUSH', queue, body) end
  bytes = bytes + #body
end
if #fields == enough then return {1, left} end
while true do
  if bytes >= limit then return {1, left} end
  local body = redis.call('LPOP', ready)
  if not body then break end
  redis.call('RPUSH', queue, body)
  bytes = bytes + #body
end
if left == 0 then
  redis.call('DEL', held)
  redis.call('HDEL', workers, ARGV[1])
  if redis.call('HLEN', workers) == 1 then redis.call('DEL', workers) end
end
return {0, left}
