#!lua flags=allow-oom
-- Ends a generation. All that it holds and all that is ready goes back, except the
-- unsettled fields: requests that were begun, and whose answers could not be sent. If
-- there are such fields, the row stays, and others take them over. Returns 1 if there is
-- more to give back, else 0, and how many unsettled fields are left.
-- KEYS: workers, held, queue, ready, suspects. ARGV: the generation, how many bytes go
-- back at most, not counting the last request, then the unsettled fields.
local workers, held, queue, ready, suspects = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local row = redis.call('HGET', workers, ARGV[1])
if not row or row == 'gone' then return {0, 0} end
-- What can't be pushed must not be removed: LLEN fails first if a key is no list.
redis.call('LLEN', queue)
redis.call('LLEN', suspects)
local limit, unsent = tonumber(ARGV[2]), {}
for i = 3, #ARGV do unsent[ARGV[i]] = true end
local fields, left, bytes, enough = {}, 0, 0, 1000 -- sorting many more would take long
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
