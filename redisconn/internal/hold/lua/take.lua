#!lua flags=allow-oom
-- Holds requests under the tokens from ARGV[2] on: ARGV[3] of them at most, and no
-- more once they have ARGV[4] bytes. It takes one suspect if ARGV[5] is 1, then what
-- is ready, then what is queued. KEYS are workers, held, queue, ready, suspects.
-- Asked for the same token again, it returns the same requests. It returns the next
-- token, then the field, the count of starts and the body of each request.
local workers, held, queue, ready, suspects = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local row = redis.call('HGET', workers, ARGV[1])
if not row or row == 'gone' then return {'gone'} end
local token, most, limit = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local marks = redis.call('HMGET', held, 'last', 'next', 'moment')
local last, following = tonumber(marks[1] or 0), tonumber(marks[2] or 0)
local taken = {'taken', tostring(math.max(token, following))}

local function add(field, count, body)
  taken[#taken+1], taken[#taken+2], taken[#taken+3] = field, count, body
end

if token < following then
  for i = token, token == last and following - 1 or 0 do
    for _, field in ipairs({'s' .. i .. '.' .. marks[3], i .. '.' .. marks[3]}) do
      local body = redis.call('HGET', held, field)
      if body then add(field, redis.call('HGET', held, 'n' .. field) or '0', body) end
    end
  end
  return taken
end

local time = redis.call('TIME')
local moment = time[1] .. '.' .. time[2]
local bytes, i = 0, token

local function hold(prefix, count, body)
  local field = prefix .. i .. '.' .. moment
  redis.call('HSET', held, field, body)
  if count ~= '0' then redis.call('HSET', held, 'n' .. field, count) end
  add(field, count, body)
  bytes, i = bytes + #body, i + 1
end

local suspect = ARGV[5] == '1' and redis.call('LPOP', suspects)
if suspect then
  local space = string.find(suspect, ' ', 1, true)
  hold('s', string.sub(suspect, 1, space - 1), string.sub(suspect, space + 1))
end
for _, list in ipairs({ready, queue}) do
  while i - token < most and bytes < limit do
    local body = redis.call('RPOP', list)
    if not body then break end
    hold('', '0', body)
  end
end
if i > token then redis.call('HSET', held, 'last', token, 'next', i, 'moment', moment) end
taken[2] = tostring(i)
return taken
