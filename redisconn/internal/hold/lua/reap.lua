#!lua flags=allow-oom
-- Takes over what a silent generation holds, if its row is still as it was seen. A
-- request that was started as often as allowed is dead, the others become suspects.
-- Returns 1 if more is left, else 0; how many became suspects; how many dead requests
-- were dropped; and the count of starts and the body of each that is dead now.
-- KEYS: workers, held, suspects, dead. ARGV: the generation, its row, how many starts
-- are allowed, how many requests to take over at most, how many bytes at most, not
-- counting the last request, how many dead requests to keep, why they are dead.
local workers, held, suspects, dead = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local row = redis.call('HGET', workers, ARGV[1])
if not row then return {0, 0, 0} end
if row ~= 'gone' then
  if row ~= ARGV[2] then return {0, 0, 0} end
  redis.call('HSET', workers, ARGV[1], 'gone')
end
-- What can't be pushed must not be removed: LLEN fails first if a key is no list.
redis.call('LLEN', suspects)
redis.call('LLEN', dead)
local most, number, limit = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local fields, enough = {}, 1000 -- sorting many more would take long, and more bites follow
for _, field in ipairs(redis.call('HKEYS', held)) do
  local token = tonumber((string.match(field, '^s?(%d+)%.')))
  if token then fields[#fields+1] = {token, field} end
  if #fields == enough then break end
end
table.sort(fields, function(a, b) return a[1] < b[1] end)
local bytes, result = 0, {0, 0, 0}
for i, entry in ipairs(fields) do
  if i > number or bytes >= limit then
    result[1] = 1
    return result
  end
  local field = entry[2]
  local body = redis.call('HGET', held, field)
  local count = 1
  if string.sub(field, 1, 1) == 's' then count = tonumber(redis.call('HGET', held, 'n' .. field)) end
  redis.call('HDEL', held, field, 'n' .. field)
  if count < most then
    redis.call('RPUSH', suspects, count .. ' ' .. body)
    result[2] = result[2] + 1
  else
    local time = redis.call('TIME')
    local header = cjson.encode({time = time[1] * 1000 + math.floor(time[2] / 1000), attempts = count, reason = ARGV[7]})
    local length = redis.call('LPUSH', dead, header .. '\n' .. body)
    for _ = 1, math.min(length - tonumber(ARGV[6]), enough) do -- more than one if the limit was higher before
      redis.call('RPOP', dead)
      result[3] = result[3] + 1
    end
    result[#result+1], result[#result+2] = count, body
  end
  bytes = bytes + #body
end
if #fields == enough then
  result[1] = 1
  return result
end
redis.call('DEL', held)
redis.call('HDEL', workers, ARGV[1])
if redis.call('HLEN', workers) == 1 then redis.call('DEL', workers) end
return result
