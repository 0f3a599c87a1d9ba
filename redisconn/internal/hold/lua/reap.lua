#!lua flags=allow-oom
-- Takes over what a silent generation holds, if its row is as it was seen: ARGV[4]
-- requests at most, and no more once they have ARGV[5] bytes. Those that were started
-- ARGV[3] times are dead. KEYS are workers, held, suspects, dead; ARGV the generation,
-- its row, the most starts, the bounds, the limit of dead, the reason. It returns
-- whether more is left, how many became suspects, how many dead ones were dropped, and
-- the count and the body of each that is dead now.
local workers, held, suspects, dead = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local row = redis.call('HGET', workers, ARGV[1])
if not row then return {0, 0, 0} end
if row ~= 'gone' then
  if row ~= ARGV[2] then return {0, 0, 0} end
  redis.call('HSET', workers, ARGV[1], 'gone')
end
-- What can't be pushed must not be removed: lists that are none are found before.
redis.call('LLEN', suspects)
redis.call('LLEN', dead)
local most, number, limit = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local fields, enough = {}, 1000 -- to sort many more takes long, and there are more bites
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
    for _ = 1, math.min(length - tonumber(ARGV[6]), enough) do -- more than one if the limit is lower than before
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
