#!lua flags=allow-oom
-- Holds requests under the tokens from ARGV[2] on: ARGV[3] of them at most, and no
-- more once they have ARGV[4] bytes. It takes one suspect if ARGV[5] is 1, then what
-- is ready, then what is queued. KEYS are workers, held, queue, ready, suspects.
-- Asked for the same token again, it returns the same requests. It returns the next
-- token, the moment of the take, the count of starts if the first one is a suspect, how
-- many are ready, and the body of each token's: false if that is not held any more.
local workers, held, queue, ready, suspects = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local row = redis.call('HGET', workers, ARGV[1])
if not row or row == 'gone' then return {'gone'} end
local token, most, limit = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local marks = redis.call('HMGET', held, 'last', 'next', 'moment')
local last, following, moment = tonumber(marks[1] or 0), tonumber(marks[2] or 0), marks[3]

if token < following then
  local taken = {'taken', tostring(following), moment, false, redis.call('LLEN', ready)}
  for i = token, token == last and following - 1 or 0 do
    taken[#taken+1] = redis.call('HGET', held, i .. '.' .. moment)
  end
  local first = 's' .. last .. '.' .. moment
  local count = token == last and redis.call('HGET', held, 'n' .. first)
  if count then taken[4], taken[6] = count, redis.call('HGET', held, first) end
  return taken
end

local time = redis.call('TIME')
moment = time[1] .. '.' .. time[2]
local taken = {'taken', '', moment, false, 0}
local fields, bytes, i = {}, 0, token

local function hold(field, body)
  fields[#fields+1], fields[#fields+2], taken[#taken+1] = field, body, body
  bytes, i = bytes + #body, i + 1
end

local suspect = ARGV[5] == '1' and redis.call('LPOP', suspects)
if suspect then
  local space = string.find(suspect, ' ', 1, true)
  local field, count = 's' .. i .. '.' .. moment, string.sub(suspect, 1, space - 1)
  fields[1], fields[2], taken[4] = 'n' .. field, count, count
  hold(field, string.sub(suspect, space + 1))
end
local refused -- by a list that is none: what was taken before must be held
for _, list in ipairs({ready, queue}) do
  while i - token < most and bytes < limit do
    local body = redis.pcall('RPOP', list)
    if type(body) == 'table' then refused, body = body, false end
    if not body then break end
    hold(i .. '.' .. moment, body)
  end
end
if refused and i == token then return refused end
if i > token then
  redis.call('HSET', held, 'last', token, 'next', i, 'moment', moment, unpack(fields))
end
taken[2], taken[5] = tostring(i), redis.call('LLEN', ready)
return taken
